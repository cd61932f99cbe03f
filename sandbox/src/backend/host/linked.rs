//! A volume as a block device of this machine: its loop device, the nodes of its partitions, and the links that lead
//! there. Users partition it as they like; nodes and links follow what its table says.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use nix::sys::inotify::WatchDescriptor;

use super::{DeviceLinks, claims::Claim, record::remove_dead_nodes};
use crate::{
    backend::Disk,
    machine::loop_device::{Departure, LoopDevice, Partition, make_block_node},
};

/// The MBR, the header of a GPT, and its 128 entries.
const TABLE: usize = 34 * 512;

/// A volume that is linked to this machine.
#[derive(Debug)]
pub(super) struct Linked {
    pub disk: Disk,
    pub claim: Claim,
    pub loop_device: LoopDevice,
    /// Tells when somebody closes it.
    pub watch: Option<WatchDescriptor>,
    names: Names,
    /// As it was when the kernel's partitions were last brought up to date.
    seen: Option<Seen>,
    /// As it was when it was last looked at without a reason.
    noticed: Option<Seen>,
    /// The partitions that nodes and links were last made for.
    followed: Option<Vec<Partition>>,
}

/// What decides about partitions.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    table: Vec<u8>,
    partitions: Vec<Partition>,
}

impl Linked {
    /// Makes a loop device, without links yet.
    pub fn attach(disk: Disk, claim: Claim, links: DeviceLinks, scans: bool) -> io::Result<Self> {
        if disk.file.as_os_str().is_empty() {
            return Err(io::Error::new(ErrorKind::NotFound, "the volume has no file"));
        }
        let loop_device = LoopDevice::attach_disk(&disk.file, scans)?;
        let names = Names::new(&claim.letters, links);
        Ok(Self { disk, claim, loop_device, watch: None, names, seen: None, noticed: None, followed: None })
    }

    /// Makes the links to the whole device, and what its partitions need.
    pub fn make_links(&mut self, dev: &Path) -> io::Result<()> {
        let device = format!("loop{}", self.loop_device.number());
        for name in &self.names.0 {
            make_link(dev, name, &device)?;
        }
        self.follow_table(dev)
    }

    /// Somebody has just closed the device: makes the kernel's partitions what the table says now, and follows them.
    pub fn follow_table(&mut self, dev: &Path) -> io::Result<()> {
        if self.seen.as_ref() != Some(&self.look()?) {
            self.loop_device.update_partitions()?;
            self.seen = Some(self.look()?);
        }
        self.follow_partitions(dev)
    }

    /// Nobody has told anything: the table is followed if it has stayed as it is since the last such look. Who is about to
    /// tell the kernel of a new table is not disturbed.
    pub fn follow_quiet_table(&mut self, dev: &Path) -> io::Result<()> {
        let now = Some(self.look()?);
        if now == self.seen || now == self.noticed {
            return self.follow_table(dev);
        }
        self.noticed = now;
        self.follow_partitions(dev)
    }

    fn look(&self) -> io::Result<Seen> {
        Ok(Seen { table: self.loop_device.read_start(TABLE)?, partitions: self.loop_device.partitions() })
    }

    /// Makes nodes and links what the kernel's partitions are.
    pub fn follow_partitions(&mut self, dev: &Path) -> io::Result<()> {
        let partitions = self.loop_device.partitions();
        if self.followed.as_ref() == Some(&partitions) {
            return Ok(());
        }
        // Whatever fails now is not tried again until something changes.
        self.followed = Some(partitions.clone());
        let number = self.loop_device.number();
        for partition in &partitions {
            let node = format!("loop{number}p{}", partition.number);
            make_node(&dev.join(&node), partition.device)?;
            for name in &self.names.0 {
                make_link(dev, &partition_name(name, partition.number), &node)?;
            }
        }
        remove_dead_nodes(dev, number)?;
        let is_gone = |partition: u32| partitions.iter().all(|known| known.number != partition);
        self.names.remove_links(dev, number, |partition| partition.is_some_and(is_gone))
    }

    /// Removes the links and lets the device go; the name stays claimed until it is gone.
    pub fn let_go(self, dev: &Path) -> (Departure, Claim) {
        let number = self.loop_device.number();
        let removed = self.names.remove(dev, number);
        let departure = self.loop_device.let_go();
        if let Err(error) = removed.and_then(|()| remove_dead_nodes(dev, number)) {
            tracing::warn!(%error, volume.id = self.disk.volume_id, "links to {} could not be removed", self.disk.volume_id);
        }
        (departure, self.claim)
    }
}

/// The links of a device, relative to `/dev`.
#[derive(Debug)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// Those that this kind of VM has.
    fn new(letters: &str, links: DeviceLinks) -> Self {
        let mut names = Self::all(letters);
        names.0.drain(match links {
            DeviceLinks::AskedName => 0..0,
            DeviceLinks::ById => 0..1,
            DeviceLinks::None => 0..2,
        });
        names
    }

    /// All that there may be.
    pub fn all(letters: &str) -> Self {
        Self(vec![format!("xvd{letters}"), format!("disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sd{letters}")])
    }

    /// Removes all links that lead to a loop device.
    pub fn remove(&self, dev: &Path, number: u32) -> io::Result<()> {
        self.remove_links(dev, number, |_| true)
    }

    /// Removes links that lead to a loop device (nothing is given) or one of its partitions, as far as they are wanted to go.
    fn remove_links(&self, dev: &Path, number: u32, goes: impl Fn(Option<u32>) -> bool) -> io::Result<()> {
        for name in &self.0 {
            let path = dev.join(name);
            let Some(folder) = path.parent() else { continue };
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let is_ours = path.file_name().is_some_and(|name| {
                    entry.file_name().to_string_lossy().starts_with(&*name.to_string_lossy())
                });
                let leads_to = target.file_name().and_then(|target| which(target.to_str()?, number));
                if is_ours && leads_to.is_some_and(&goes) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }
}

/// `loop3` → the device itself, `loop3p1` → its first partition, all others → nothing.
fn which(target: &str, number: u32) -> Option<Option<u32>> {
    match target.strip_prefix(&format!("loop{number}"))? {
        "" => Some(None),
        partition => Some(Some(partition.strip_prefix('p')?.parse().ok()?)),
    }
}

/// `xvdf` → `xvdf1`, `disk/by-id/x` → `disk/by-id/x-part1`.
fn partition_name(name: &str, number: u32) -> String {
    if name.contains('/') { format!("{name}-part{number}") } else { format!("{name}{number}") }
}

/// Makes a link to a node in `/dev`, unless it is there.
fn make_link(dev: &Path, name: &str, node: &str) -> io::Result<()> {
    let target = PathBuf::from("../".repeat(name.matches('/').count())).join(node);
    let path = dev.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match symlink(&target, &path) {
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists && fs::read_link(&path).ok() == Some(target) =>
        {
            Ok(())
        }
        made => made,
    }
}

/// Makes a node, where the kernel does not.
fn make_node(path: &Path, device: u64) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.rdev() == device => return Ok(()),
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    make_block_node(path, device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links_in(dev: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for folder in [dev.to_owned(), dev.join("disk/by-id")] {
            let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
            let links = entries.filter(|entry| entry.file_type().unwrap().is_symlink());
            names.extend(links.map(|entry| entry.file_name().into_string().unwrap()));
        }
        names.sort();
        names
    }

    #[test]
    fn links_are_made_and_only_those_to_the_device_go() {
        let dev = tempfile::tempdir().unwrap();
        let names = Names::new("f", DeviceLinks::AskedName);
        for name in &names.0 {
            make_link(dev.path(), name, "loop3").unwrap();
            make_link(dev.path(), name, "loop3").unwrap();
            make_link(dev.path(), &partition_name(name, 1), "loop3p1").unwrap();
            make_link(dev.path(), &partition_name(name, 12), "loop3p12").unwrap();
        }
        assert_eq!(
            fs::read_link(dev.path().join("disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sdf-part1")).unwrap(),
            PathBuf::from("../../loop3p1")
        );
        assert!(make_link(dev.path(), "xvdf", "loop4").is_err());
        make_link(dev.path(), "xvdfa", "loop33").unwrap();
        make_link(dev.path(), "xvdg", "loop3").unwrap();
        names.remove_links(dev.path(), 3, |partition| partition == Some(12)).unwrap();
        assert_eq!(links_in(dev.path()).len(), 6);
        names.remove(dev.path(), 3).unwrap();
        assert_eq!(links_in(dev.path()), ["xvdfa", "xvdg"]);
    }

    #[test]
    fn a_vm_without_rules_has_fewer_links() {
        assert_eq!(Names::new("f", DeviceLinks::ById).0, ["disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sdf"]);
        assert!(Names::new("f", DeviceLinks::None).0.is_empty());
        assert_eq!((which("loop3", 3), which("loop3p2", 3)), (Some(None), Some(Some(2))));
        assert_eq!((which("loop33", 3), which("loop3px", 3), which("sda", 3)), (None, None, None));
    }
}
