//! A raw file as a block device, for as long as somebody holds it: the kernel frees it by itself when the last
//! user is gone, also when the sandbox is killed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use super::{
    partitions::{self, Extent},
    sys,
};

/// What /sys counts in, whatever the sectors of a device are.
const SECTOR: u64 = 512;

/// How often another process may be faster in taking the free device that the kernel named.
const ATTEMPTS: usize = 256;
/// After how many of them a missing node is made here: in a container nobody else does.
const NODE_ATTEMPTS: usize = 32;
/// How long whoever else holds a device may take to let it go.
const RELEASE_PATIENCE: Duration = Duration::from_secs(10);

/// An attached loop device. All calls block for some milliseconds.
#[derive(Debug)]
pub struct LoopDevice {
    file: File,
    number: u32,
    device: u64,
}

/// A partition of a loop device, as the kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// 1 for the first one.
    pub number: u32,
    /// Its device number, as in `st_rdev`.
    pub device: u64,
}

impl LoopDevice {
    /// Attaches a file, with the partitions that its partition table names.
    pub fn attach(path: &Path) -> io::Result<Self> {
        Self::attach_disk(path, false)
    }

    /// Attaches a file as a disk whose partitions users may change. With `scans` programs can have the kernel read the table
    /// anew; one that [cannot](Self::kernel_reads_tables) would only forget all partitions.
    pub fn attach_disk(path: &Path, scans: bool) -> io::Result<Self> {
        let attached = Self::bind(path, scans)?;
        attached.update_partitions()?;
        Ok(attached)
    }

    /// Whether this kernel can read partition tables of loop devices by itself; tried with a file in this folder.
    pub fn kernel_reads_tables(folder: &Path) -> io::Result<bool> {
        let file = tempfile::NamedTempFile::new_in(folder)?;
        file.as_file().set_len(1 << 20)?;
        let mut entry = [0; 16];
        (entry[4], entry[8], entry[12]) = (0x83, 8, 8);
        file.as_file().write_all_at(&entry, 446)?;
        file.as_file().write_all_at(&[0x55, 0xAA], 510)?;
        let attached = Self::bind(file.path(), true)?;
        Ok(!attached.partitions().is_empty())
    }

    fn bind(path: &Path, scans: bool) -> io::Result<Self> {
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        let backing = OpenOptions::new().read(true).write(true).open(path)?;
        for attempt in 0..ATTEMPTS {
            let number = sys::loop_get_free(&control)?;
            let file = match OpenOptions::new().read(true).write(true).open(format!("/dev/loop{number}")) {
                Ok(file) => file,
                // The node of a device that was made just now may take a moment to appear.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if attempt >= NODE_ATTEMPTS {
                        make_node(number)?;
                    }
                    std::thread::yield_now();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match sys::loop_configure(&file, &backing, scans) {
                Ok(()) => {
                    let device = file.metadata()?.rdev();
                    let attached = Self { file, number, device };
                    if !scans {
                        attached.drop_partitions();
                    }
                    return Ok(attached);
                }
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "no loop device stayed free for long enough to take it",
        ))
    }

    /// 3 for `/dev/loop3`.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its device number, as in `st_rdev`.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// `/dev/loop3`.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.number))
    }

    /// The partitions that the kernel knows at this moment.
    pub fn partitions(&self) -> Vec<Partition> {
        partitions_of(self.number)
    }

    /// Writes what is cached of the device to the file below.
    pub fn flush(&self) -> io::Result<()> {
        sys::flush_block_device(&self.file)
    }

    /// Writes what is cached of the device and its partitions, and of file systems that are mounted from them anywhere, to
    /// the file below.
    pub fn flush_all(&self) -> io::Result<()> {
        for partition in self.partitions() {
            let path = format!("{}p{}", self.path().display(), partition.number);
            match File::open(path) {
                Ok(partition) => sys::flush_block_device(&partition)?,
                // It was removed meanwhile, and written when that happened.
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    /// The first bytes of the device, as users of it see them.
    pub fn read_start(&self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut start = vec![0; bytes];
        self.file.read_exact_at(&mut start, 0)?;
        Ok(start)
    }

    /// Whether somebody uses it, or a partition of it, for themselves: a mount in whatever namespace, swap, a RAID.
    pub fn is_in_use(&self) -> io::Result<bool> {
        match OpenOptions::new().read(true).custom_flags(libc::O_EXCL).open(self.path()) {
            Ok(_) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Makes the kernel's partitions what the device's table says at this moment: there are kernels that cannot read one.
    /// Partitions that are in use stay.
    pub fn update_partitions(&self) -> io::Result<()> {
        let wanted = partitions::read(&self.file)?;
        let known = extents_of(self.number);
        for old in known.iter().filter(|old| !wanted.contains(old)) {
            self.report("forget", old.number, sys::delete_partition(&self.file, old.number));
        }
        for new in wanted.iter().filter(|new| !known.contains(new)) {
            self.report("add", new.number, sys::add_partition(&self.file, new.number, new.start, new.length));
        }
        Ok(())
    }

    /// Detaches it, and waits until nothing can write to the file through it any more: a mount that is just being
    /// ended, or another thread's child that has not executed its program yet, still holds the device for a moment.
    pub fn release(self) -> io::Result<()> {
        self.flush()?;
        let departure = self.let_go();
        let deadline = Instant::now() + RELEASE_PATIENCE;
        while !departure.is_over() {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the loop device is still in use"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Detaches it without waiting for others who still have it open.
    pub fn let_go(self) -> Departure {
        let backing_file = PathBuf::from(format!("/sys/block/loop{}/loop/backing_file", self.number));
        // Another file may be attached to it as soon as it is free.
        let bound_to = fs::read(&backing_file).ok();
        drop(self);
        Departure { backing_file, bound_to }
    }

    /// Partitions that stay behind would be seen by the device's next user.
    fn drop_partitions(&self) {
        for partition in self.partitions() {
            self.report("forget", partition.number, sys::delete_partition(&self.file, partition.number));
        }
    }

    /// A table can say what is not possible, and users can hold on to what it does not say any more.
    fn report(&self, what: &str, number: u32, result: io::Result<()>) {
        match result {
            // The kernel did it by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => {
                tracing::warn!(%error, "could not {what} partition {number} of {}", self.path().display());
            }
            Ok(()) => {}
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.drop_partitions();
    }
}

/// A loop device that was let go: the kernel frees it when its last user is gone.
#[derive(Debug)]
pub struct Departure {
    backing_file: PathBuf,
    bound_to: Option<Vec<u8>>,
}

impl Departure {
    /// Whether nothing can write to the file through it any more.
    pub fn is_over(&self) -> bool {
        self.bound_to.is_none() || fs::read(&self.backing_file).ok() != self.bound_to
    }
}

/// The file that `/dev/loop{number}` is attached to; the kernel writes `(deleted)` behind one that is gone.
pub fn file_of(number: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/sys/block/loop{number}/loop/backing_file")).ok()?;
    let text = text.trim_end_matches('\n');
    Some(PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(text)))
}

fn make_node(number: u32) -> io::Result<()> {
    let Some(device) = device_number(Path::new(&format!("/sys/block/loop{number}"))) else { return Ok(()) };
    make_block_node(Path::new(&format!("/dev/loop{number}")), device)
}

/// Makes a node of a block device, for root alone, if it is not there.
pub fn make_block_node(path: &Path, device: u64) -> io::Result<()> {
    match mknod(path, SFlag::S_IFBLK, Mode::from_bits_truncate(0o600), device) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What `dev` says in a device's folder of /sys.
fn device_number(folder: &Path) -> Option<u64> {
    let text = fs::read_to_string(folder.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENXIO)
}

/// The partitions of `/dev/loop{number}` that the kernel knows at this moment.
pub fn partitions_of(number: u32) -> Vec<Partition> {
    let mut partitions: Vec<Partition> = partition_folders(number)
        .filter_map(|folder| {
            Some(Partition { number: number_in(&folder, "partition")?, device: device_number(&folder)? })
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    partitions
}

/// Where they are on the device.
fn extents_of(number: u32) -> Vec<Extent> {
    let extent = |folder: PathBuf| {
        let bytes = |name: &str| Some(number_in::<u64>(&folder, name)? * SECTOR);
        Some(Extent {
            number: number_in(&folder, "partition")?,
            start: bytes("start")?,
            length: bytes("size")?,
        })
    };
    partition_folders(number).filter_map(extent).collect()
}

/// The partitions' folders in /sys.
fn partition_folders(number: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/sys/block/loop{number}")).into_iter().flatten();
    let start = format!("loop{number}p");
    let entries = entries.filter_map(Result::ok);
    entries
        .filter(move |entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
}

fn number_in<T: std::str::FromStr>(folder: &Path, name: &str) -> Option<T> {
    fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok()
}
