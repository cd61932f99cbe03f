//! Block devices of the VM that the worker runs on: which names are free, and which device the kernel shows for a volume
//! that was linked. It is found by what the kernel tells, never by what an image or a guess says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

/// The letters that Packer takes, in this order; the first ones belong to the VM's own volumes.
const LETTERS: std::ops::RangeInclusive<char> = 'f'..='p';

/// The ways in which a kernel or udev may call a device that was linked as `/dev/xvdf`.
const PREFIXES: [&str; 3] = ["xvd", "sd", "vd"];

/// Of `size` in sysfs, whatever the device's own blocks are.
const SECTOR: u64 = 512;

/// Where the kernel shows its devices.
#[derive(Debug, Clone)]
pub struct Devices {
    dev: PathBuf,
    sys_block: PathBuf,
}

/// A block device that was found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BlockDevice {
    /// The path under which it was found, such as `/dev/xvdf`.
    pub path: PathBuf,
    /// The kernel's own name of it, such as `sda`.
    pub kernel: String,
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The volume.
    Found(BlockDevice),
    /// Nothing yet.
    Nothing,
    /// Only by its size: the one device of that size that was not there before.
    BySize(BlockDevice),
    /// Several new devices have that size.
    Several(Vec<String>),
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The name under which it was linked.
    pub linked_as: &'a str,
    /// Where the template says that the kernel shows it.
    pub shown_at: Option<&'a str>,
    /// `vol-…`.
    pub volume: &'a str,
    /// In bytes.
    pub size: u64,
    /// What was there before it was linked.
    pub before: &'a Sizes,
}

/// The kernel's devices with their sizes in bytes.
pub type Sizes = BTreeMap<String, u64>;

impl Devices {
    /// Those of this machine.
    #[must_use]
    pub fn of_host() -> Self {
        Self { dev: "/dev".into(), sys_block: "/sys/block".into() }
    }

    /// All that there are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let entries = fs::read_dir(&self.sys_block).into_iter().flatten().flatten();
        let with_size = |name: String| {
            let size = read(&self.sys_block.join(&name).join("size"))?.parse::<u64>().ok()?;
            Some((name, size * SECTOR))
        };
        entries.filter_map(|entry| with_size(entry.file_name().into_string().ok()?)).collect()
    }

    /// The first name that neither the VM's volumes nor anything in `/dev` has.
    #[must_use]
    pub fn free_name(&self, taken: &BTreeSet<String>) -> Option<String> {
        let names = LETTERS.map(|letter| format!("/dev/xvd{letter}"));
        names.into_iter().find(|name| self.is_free(name, taken))
    }

    /// Whether nobody has this name. `/dev/xvdf`, `/dev/sdf` and `/dev/vdf` are the same to the cloud.
    #[must_use]
    pub fn is_free(&self, name: &str, taken: &BTreeSet<String>) -> bool {
        let Some(letters) = letters(name) else { return false };
        let is_taken = taken.iter().any(|other| self::letters(other) == Some(letters));
        !is_taken
            && PREFIXES.iter().all(|prefix| {
                let path = self.dev.join(format!("{prefix}{letters}"));
                let first = self.dev.join(format!("{prefix}{letters}1"));
                // A link that leads nowhere is a name too.
                [path, first].iter().all(|path| fs::symlink_metadata(path).is_err())
            })
    }

    /// Looks for a volume that was linked.
    #[must_use]
    pub fn look(&self, wanted: Wanted<'_>) -> Look {
        let now = self.sizes();
        let is_new = |kernel: &str| {
            let before = wanted.before.get(kernel).copied().unwrap_or_default();
            now.get(kernel).is_some_and(|size| *size == wanted.size) && before != wanted.size
        };
        if let Some(path) = wanted.shown_at {
            let device = self.block_device(Path::new(path));
            return device.filter(|found| is_new(&found.kernel)).map_or(Look::Nothing, Look::Found);
        }
        // By the name that was asked for: udev's rules of OUTSCALE's images, or the kernel's own choice.
        let letters = letters(wanted.linked_as).unwrap_or_default();
        for prefix in PREFIXES {
            let device = self.block_device(&self.dev.join(format!("{prefix}{letters}")));
            if let Some(found) = device.filter(|found| is_new(&found.kernel)) {
                return Look::Found(found);
            }
        }
        let newcomers: Vec<&String> = now.keys().filter(|kernel| is_new(kernel)).collect();
        let at = |kernel: &str| self.block_device(&self.dev.join(kernel));
        if let Some(found) = newcomers.iter().find(|kernel| self.tells(kernel, wanted.volume)) {
            return at(found).map_or(Look::Nothing, Look::Found);
        }
        match newcomers.as_slice() {
            [] => Look::Nothing,
            [only] => at(only).map_or(Look::Nothing, Look::BySize),
            several => Look::Several(several.iter().map(ToString::to_string).collect()),
        }
    }

    /// Whether the device itself says that it is this volume: hypervisors give it the volume's id as its serial number.
    fn tells(&self, kernel: &str, volume: &str) -> bool {
        let digits = volume.trim_start_matches("vol-");
        let places = ["serial", "device/serial", "device/wwid", "wwid"];
        let told = places.iter().filter_map(|place| read(&self.sys_block.join(kernel).join(place)));
        digits.len() >= 8 && told.into_iter().any(|text| text.contains(digits))
    }

    /// The block device behind a path, with the kernel's name of it.
    fn block_device(&self, path: &Path) -> Option<BlockDevice> {
        let real = fs::canonicalize(path).ok()?;
        let is_device = fs::metadata(&real).is_ok_and(|found| found.file_type().is_block_device());
        let kernel = real.file_name()?.to_str()?.to_owned();
        (is_device && self.sys_block.join(&kernel).exists())
            .then(|| BlockDevice { path: path.to_owned(), kernel })
    }

    /// The partitions of a device: their numbers and the kernel's names.
    #[must_use]
    pub fn partitions(&self, device: &BlockDevice) -> BTreeMap<u32, String> {
        let entries = fs::read_dir(self.sys_block.join(&device.kernel)).into_iter().flatten().flatten();
        let number = |entry: &fs::DirEntry| read(&entry.path().join("partition"))?.parse().ok();
        entries.filter_map(|entry| Some((number(&entry)?, entry.file_name().into_string().ok()?))).collect()
    }

    /// Where a partition can be opened, once it can.
    #[must_use]
    pub fn partition(&self, device: &BlockDevice, number: u32) -> Option<PathBuf> {
        let kernel = self.partitions(device).remove(&number)?;
        let path = self.dev.join(kernel);
        path.exists().then_some(path)
    }

    /// Whether each partition that the kernel knows has its names: that of the kernel, and where the device was found by
    /// another one, a name beside that, as udev makes it.
    #[must_use]
    pub fn is_settled(&self, device: &BlockDevice) -> bool {
        let is_linked = device.path.file_name().is_some_and(|name| *name != *device.kernel);
        self.partitions(device).iter().all(|(number, kernel)| {
            let beside = format!("{}{number}", device.path.display());
            self.dev.join(kernel).exists() && (!is_linked || Path::new(&beside).exists())
        })
    }
}

/// `f` of `/dev/xvdf`, `/dev/sdf` or `/dev/vdf`.
fn letters(name: &str) -> Option<&str> {
    let name = name.strip_prefix("/dev/").unwrap_or(name);
    let letters = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix))?;
    let letters = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    (!letters.is_empty() && letters.bytes().all(|letter| letter.is_ascii_lowercase())).then_some(letters)
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
