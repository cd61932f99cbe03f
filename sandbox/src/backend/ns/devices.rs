//! Volumes as block devices of a VM: the loop device, the names under which the VM sees it and its partitions, and
//! the partitions that a recipe makes while the VM runs. There is no udev inside; the sandbox makes the nodes.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Seek, SeekFrom},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use nix::unistd::Pid;
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::AbortHandle,
};

use super::{dev_of, init::Node};
use crate::{
    backend::{Disk, names::letters},
    machine::{
        loop_device::{LoopDevice, Partition, partitions_of},
        partitions::has_root_file_system,
        sys,
    },
};

/// What the root volume is called inside, whatever the template calls it, as in the cloud.
const ROOT_NAME: &str = "vda";
/// Another name for it, for recipes that were written for older VMs.
const ROOT_LINK: &str = "xvda";
/// A root file system is grown if at least this is free behind it.
const GROWN_FROM: u64 = 1 << 20;

/// A volume that is plugged into a VM.
#[derive(Debug)]
pub(super) struct Plugged {
    pub disk: Disk,
    pub loop_device: LoopDevice,
    /// `sda`.
    name: String,
    /// `xvdf`: what the template calls it.
    link: String,
    is_root: bool,
}

impl Plugged {
    /// Makes a block device of the root volume. Blocks for some milliseconds.
    pub fn attach_root(disk: Disk) -> io::Result<Self> {
        let loop_device = LoopDevice::attach(&disk.file)?;
        Ok(Self { disk, loop_device, name: ROOT_NAME.to_owned(), link: ROOT_LINK.to_owned(), is_root: true })
    }

    /// Makes a block device of another volume. Blocks for some milliseconds.
    pub fn attach(disk: Disk, name: String) -> io::Result<Self> {
        let asked = node_name(&disk.device_name)?;
        let link = letters(&asked).map_or_else(|| asked.clone(), |letters| format!("xvd{letters}"));
        let loop_device = LoopDevice::attach(&disk.file)?;
        Ok(Self { disk, loop_device, name, link, is_root: false })
    }

    /// The first name of a disk that is free beside others.
    pub fn free_name(others: &[Self]) -> String {
        let names = disk_names();
        let is_free = |name: &String| others.iter().all(|other| other.name != *name);
        names.into_iter().find(is_free).unwrap_or_default()
    }

    /// All that belongs into the VM's /dev for it.
    pub fn nodes(&self) -> Vec<Node> {
        let partitions = self.loop_device.partitions();
        let mut nodes = vec![Node::Block { name: self.name.clone(), device: self.loop_device.device() }];
        let names = std::iter::once((self.name.clone(), self.link.clone()));
        let numbers = partitions.iter().map(|partition| partition.number);
        let parts =
            numbers.map(|number| (partition_name(&self.name, number), partition_name(&self.link, number)));
        nodes.extend(partitions.iter().map(|partition| partition_node(&self.name, *partition)));
        nodes.extend(names.chain(parts).map(|(target, name)| Node::Link { name, target }));
        if let Some(letters) = letters(&self.disk.device_name).filter(|_| !self.is_root) {
            nodes.push(Node::Link {
                name: format!("disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sd{letters}"),
                target: format!("../../{}", self.name),
            });
        }
        nodes
    }

    /// The host's name of the device with the root file system.
    pub fn root_device(&self) -> PathBuf {
        match self.root_partition(&self.loop_device.partitions()) {
            Some(partition) => host_partition(&self.loop_device, partition),
            None => self.loop_device.path(),
        }
    }

    /// The first partition with a file system that a root can be on; boot loaders have small ones before it.
    fn root_partition(&self, partitions: &[Partition]) -> Option<Partition> {
        partitions
            .iter()
            .find(|partition| {
                let device = File::open(host_partition(&self.loop_device, **partition));
                device.is_ok_and(|device| has_root_file_system(&device, 0))
            })
            .or(partitions.first())
            .copied()
    }

    /// Makes the root file system as large as its device, as cloud-init would; one that cannot be grown stays small.
    /// Partitions are left as they are. Blocks.
    pub fn grow_root(&self) {
        let device = self.root_device();
        let grow = || -> io::Result<()> {
            let mut file = File::open(&device)?;
            let size = file.seek(SeekFrom::End(0))?;
            if size < ext4_size(&file)?.saturating_add(GROWN_FROM) {
                return Ok(());
            }
            let output = Command::new("resize2fs").arg("-f").arg(&device).stdin(Stdio::null()).output()?;
            match output.status.success() {
                true => Ok(()),
                false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
            }
        };
        if let Err(error) = grow() {
            tracing::debug!(%error, volume.id = self.disk.volume_id, "the root file system was not grown");
        }
    }

    /// The device numbers of it and its partitions.
    pub fn device_numbers(&self) -> Vec<u64> {
        let partitions = self.loop_device.partitions();
        let partitions = partitions.iter().map(|partition| partition.device);
        std::iter::once(self.loop_device.device()).chain(partitions).collect()
    }

    /// Where it is mounted inside the VM.
    pub fn mount_points(&self, pid: Pid) -> io::Result<Vec<PathBuf>> {
        let devices: Vec<String> = self
            .device_numbers()
            .into_iter()
            .map(|device| format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device)))
            .collect();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        Ok(fields
            .filter(|fields| fields.len() > 4 && devices.iter().any(|device| device == fields[2]))
            .map(|fields| PathBuf::from(unescape(fields[4])))
            .collect())
    }

    /// Writes all that is in memory of it to its file. Blocks.
    pub fn flush(&self, pid: Pid) -> io::Result<()> {
        for mount_point in self.mount_points(pid)? {
            let inside = mount_point.strip_prefix("/").unwrap_or(&mount_point);
            let folder = File::open(Path::new("/proc").join(pid.to_string()).join("root").join(inside))?;
            nix::unistd::syncfs(folder)?;
        }
        self.loop_device.flush()
    }

    /// Makes its nodes in a running VM.
    pub fn make_nodes(&self, pid: Pid) -> io::Result<()> {
        self.nodes().iter().try_for_each(|node| node.make(&dev_of(pid)))
    }

    /// Removes its nodes from a running VM.
    pub fn remove_nodes(&self, pid: Pid) -> io::Result<()> {
        for node in self.nodes() {
            let _ = fs::remove_file(dev_of(pid).join(node.name()));
        }
        Ok(())
    }
}

fn host_partition(device: &LoopDevice, partition: Partition) -> PathBuf {
    PathBuf::from(format!("{}p{}", device.path().display(), partition.number))
}

/// What the superblock says of its file system's size in bytes.
fn ext4_size(device: &File) -> io::Result<u64> {
    let mut superblock = [0; 1024];
    device.read_exact_at(&mut superblock, 1024)?;
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([
            superblock[at],
            superblock[at + 1],
            superblock[at + 2],
            superblock[at + 3],
        ]))
    };
    if superblock[56..58] != [0x53, 0xEF] {
        return Err(io::Error::other("it is no ext4"));
    }
    // The upper half of the block count means something only with the feature 64bit.
    let upper = if number(0x60) & 0x80 != 0 { number(0x150) } else { 0 };
    Ok((upper << 32 | number(4)).saturating_mul(1024 << number(0x18).min(6)))
}

/// `/dev/xvdb` → `xvdb`.
fn node_name(device_name: &str) -> io::Result<String> {
    let name = device_name.strip_prefix("/dev/").unwrap_or(device_name);
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let message = format!("{device_name:?} is no name of a device, such as /dev/xvdb");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(name.to_owned())
}

/// `sda` to `sdz`, `sdaa` to `sdzz`.
fn disk_names() -> Vec<String> {
    let one = ('a'..='z').map(|letter| format!("sd{letter}"));
    let two = ('a'..='z').flat_map(|first| ('a'..='z').map(move |second| format!("sd{first}{second}")));
    one.chain(two).collect()
}

/// `xvdb` → `xvdb1`, `nvme0` → `nvme0p1`.
fn partition_name(name: &str, number: u32) -> String {
    let separator = if name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{name}{separator}{number}")
}

fn partition_node(name: &str, partition: Partition) -> Node {
    Node::Block { name: partition_name(name, partition.number), device: partition.device }
}

/// mountinfo writes a space as `\040`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.extend([char::from(byte)].iter().chain(part[3..].chars().collect::<Vec<_>>().iter()))
            }
            None => path.push_str(part),
        }
    }
    path
}

/// A device of a running VM.
#[derive(Debug)]
struct InVm {
    pid: Pid,
    name: String,
    link: String,
}

/// Which loop device is which device of which running VM, for partitions that come and go.
#[derive(Debug, Clone, Default)]
pub(super) struct Registry {
    plugged: Arc<Mutex<HashMap<u32, InVm>>>,
}

impl Registry {
    pub fn insert(&self, pid: Pid, plugged: &Plugged) {
        let device = InVm { pid, name: plugged.name.clone(), link: plugged.link.clone() };
        self.lock().insert(plugged.loop_device.number(), device);
    }

    pub fn remove(&self, plugged: &Plugged) {
        self.lock().remove(&plugged.loop_device.number());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, InVm>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a VM's partition nodes what the kernel's partitions are.
    fn reconcile(&self, number: u32) {
        // The lock is held, so that the VM cannot be taken out of the registry, and its pid reused, meanwhile.
        let plugged = self.lock();
        let Some(device) = plugged.get(&number) else { return };
        if let Err(error) = reconcile(&dev_of(device.pid), device, &partitions_of(number)) {
            tracing::debug!(%error, device = device.name, "partitions of a VM's device were not updated");
        }
    }
}

fn reconcile(dev: &Path, device: &InVm, partitions: &[Partition]) -> io::Result<()> {
    let wanted: HashMap<String, u64> = partitions
        .iter()
        .map(|partition| (partition_name(&device.name, partition.number), partition.device))
        .collect();
    let links: HashMap<String, String> = partitions
        .iter()
        .map(|partition| {
            (partition_name(&device.link, partition.number), partition_name(&device.name, partition.number))
        })
        .collect();
    for entry in fs::read_dir(dev)? {
        let entry = entry?;
        let found = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        let is_old_node =
            kind.is_block_device() && is_partition_of(&found, &device.name) && !wanted.contains_key(&found);
        let is_old_link =
            kind.is_symlink() && is_partition_of(&found, &device.link) && !links.contains_key(&found);
        if is_old_node || is_old_link {
            fs::remove_file(entry.path())?;
        }
    }
    for (name, device) in wanted {
        if fs::metadata(dev.join(&name)).map(|metadata| metadata.rdev()).ok() != Some(device) {
            Node::Block { name, device }.make(dev)?;
        }
    }
    for (name, target) in links {
        if fs::read_link(dev.join(&name)).ok() != Some(PathBuf::from(&target)) {
            Node::Link { name, target }.make(dev)?;
        }
    }
    Ok(())
}

/// Whether a name is that of one of a device's partitions.
fn is_partition_of(name: &str, device: &str) -> bool {
    name.strip_prefix(partition_name(device, 0).trim_end_matches('0'))
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Listens to the kernel for partitions of loop devices; ends when it is dropped.
#[derive(Debug)]
pub(super) struct PartitionWatch {
    task: AbortHandle,
}

impl PartitionWatch {
    pub fn start(registry: Registry) -> io::Result<Self> {
        let socket = sys::when_readable(sys::uevent_socket()?)?;
        let task = tokio::spawn(watch(socket, registry));
        Ok(Self { task: task.abort_handle() })
    }
}

impl Drop for PartitionWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(socket: AsyncFd<OwnedFd>, registry: Registry) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let received =
            socket.async_io(Interest::READABLE, |socket| sys::receive(socket.as_fd(), &mut buffer)).await;
        let numbers: Vec<u32> = match received {
            Ok(length) => loop_of_partition_event(&buffer[..length]).into_iter().collect(),
            // Events were lost (ENOBUFS): whatever they were, the partitions are what they are.
            Err(_) => registry.lock().keys().copied().collect(),
        };
        numbers.into_iter().for_each(|number| registry.reconcile(number));
    }
}

/// The number of the loop device of which a partition came or went: `DEVTYPE=partition`, `DEVNAME=loop3p1`.
fn loop_of_partition_event(event: &[u8]) -> Option<u32> {
    let mut values =
        event.split(|byte| *byte == 0).filter_map(|field| std::str::from_utf8(field).ok()?.split_once('='));
    let (mut is_partition, mut name) = (false, None);
    values.by_ref().for_each(|(key, value)| match key {
        "DEVTYPE" => is_partition = value == "partition",
        "DEVNAME" => name = Some(value),
        _ => {}
    });
    let (number, _partition) = name.filter(|_| is_partition)?.strip_prefix("loop")?.split_once('p')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_template_asked_for() {
        assert_eq!(node_name("/dev/xvdb").ok().as_deref(), Some("xvdb"));
        assert_eq!(node_name("xvdf").ok().as_deref(), Some("xvdf"));
        for wrong in ["", "/dev/", "/dev/../etc", "/dev/mapper/x", "../x"] {
            assert!(node_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            (disk_names().first().map(String::as_str), disk_names().len()),
            (Some("sda"), 26 + 26 * 26)
        );
        assert!(
            is_partition_of("sda12", "sda")
                && !is_partition_of("sdaa1", "sda")
                && !is_partition_of("sda", "sda")
        );
        assert_eq!(
            (partition_name("xvdb", 2), partition_name("nvme0", 1)),
            ("xvdb2".to_owned(), "nvme0p1".to_owned())
        );
    }

    #[test]
    fn a_partition_event_names_its_loop_device() {
        let event = b"add@/devices/virtual/block/loop12/loop12p1\0ACTION=add\0DEVNAME=loop12p1\0DEVTYPE=partition\0PARTN=1\0";
        assert_eq!(loop_of_partition_event(event), Some(12));
        assert_eq!(loop_of_partition_event(b"change@/x\0DEVNAME=loop12\0DEVTYPE=disk\0"), None);
        assert_eq!(loop_of_partition_event(b"add@/x\0DEVNAME=vda1\0DEVTYPE=partition\0"), None);
    }

    #[test]
    fn mount_points_with_spaces_are_read() {
        assert_eq!(unescape("/mnt/with\\040space\\011tab"), "/mnt/with space\ttab");
    }
}
