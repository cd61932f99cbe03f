//! A raw file as a block device, for as long as somebody holds it: the kernel frees it by itself when the last
//! user is gone, also when the sandbox is killed.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::sys;

/// How often another process may be faster in taking the free device that the kernel named.
const ATTEMPTS: usize = 256;
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
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        let backing = OpenOptions::new().read(true).write(true).open(path)?;
        for _ in 0..ATTEMPTS {
            let number = sys::loop_get_free(&control)?;
            let file = match OpenOptions::new().read(true).write(true).open(format!("/dev/loop{number}")) {
                Ok(file) => file,
                // The node of a device that was made just now may take a moment to appear.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    std::thread::yield_now();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match sys::loop_configure(&file, &backing) {
                Ok(()) => {
                    let device = file.metadata()?.rdev();
                    let attached = Self { file, number, device };
                    attached.drop_partitions();
                    if has_partition_table(path)? {
                        attached.partx("--add");
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

    /// Detaches it, and waits until nothing can write to the file through it any more: a mount that is just being
    /// ended, or another thread's child that has not executed its program yet, still holds the device for a moment.
    pub fn release(self) -> io::Result<()> {
        let backing_file = PathBuf::from(format!("/sys/block/loop{}/loop/backing_file", self.number));
        // Another file may be attached to it as soon as it is free.
        let bound_to = fs::read(&backing_file).ok();
        self.flush()?;
        drop(self);
        let deadline = Instant::now() + RELEASE_PATIENCE;
        while bound_to.is_some() && fs::read(&backing_file).ok() == bound_to {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the loop device is still in use"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Partitions that stay behind would be seen by the device's next user.
    fn drop_partitions(&self) {
        if !self.partitions().is_empty() {
            self.partx("--delete");
        }
    }

    /// `losetup -P` does nothing on kernels without partition parsers; `partx` reads the table itself.
    fn partx(&self, operation: &str) {
        let status = Command::new("partx")
            .arg(operation)
            .arg(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            tracing::warn!(device = %self.path().display(), ?status, "partx {operation} failed");
        }
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        self.drop_partitions();
    }
}

/// The partitions of `/dev/loop{number}` that the kernel knows at this moment.
pub fn partitions_of(number: u32) -> Vec<Partition> {
    let name = format!("loop{number}");
    let Ok(entries) = fs::read_dir(format!("/sys/block/{name}")) else { return Vec::new() };
    let mut partitions: Vec<Partition> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}p")))
        .filter_map(|entry| {
            let number = fs::read_to_string(entry.path().join("partition")).ok()?.trim().parse().ok()?;
            let text = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            let device = nix::sys::stat::makedev(major.parse().ok()?, minor.parse().ok()?);
            Some(Partition { number, device })
        })
        .collect();
    partitions.sort_by_key(|partition| partition.number);
    partitions
}

/// Whether the file starts with an MBR (protective for GPT) that is not just the boot block of a file system.
fn has_partition_table(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut sector = [0u8; 512];
    match File::open(path)?.read_exact_at(&mut sector, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    }
    let signed = sector[510..] == [0x55, 0xAA];
    // The type byte of the four entries; a file system's boot block has no entry with a type and a length.
    let entries = (0..4).map(|entry| &sector[446 + 16 * entry..462 + 16 * entry]);
    Ok(signed && entries.into_iter().any(|entry| entry[4] != 0 && entry[12..16] != [0; 4]))
}
