//! Debian's cloud kernel for images that are put together here: fetched as a package, unpacked without being
//! installed, and given a small initial RAM disk that loads what a virtual PC needs and mounts the root.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{SeedError, run, while_doing};

/// The package that always depends on the newest one.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// What such a machine has: disks, network, randomness, power button. What these need is found in the modules.
const MODULES: [&str; 8] =
    ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "virtio_net", "virtio-rng", "button", "evdev"];
const INITRD_INIT: &str = include_str!("initrd-init.sh");
const APPLETS: [&str; 7] = ["sh", "mount", "umount", "insmod", "switch_root", "sleep", "cat"];

/// An unpacked kernel package.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Its folder, called after the package.
    folder: PathBuf,
}

impl Kernel {
    /// Answers the one that is in the cache, or fetches the newest.
    pub fn get(cache_dir: &Path) -> Result<Self, SeedError> {
        fs::create_dir_all(cache_dir).map_err(while_doing(format!("make {}", cache_dir.display())))?;
        match cached_kernel(cache_dir) {
            Some(folder) => Ok(Self { folder }),
            None => fetch(cache_dir),
        }
    }

    /// What of it decides about an image's content.
    pub fn recipe(&self) -> String {
        format!("{} {MODULES:?} {INITRD_INIT}", self.folder.file_name().unwrap_or_default().display())
    }

    /// The file that a boot loader starts.
    pub fn image(&self) -> Result<PathBuf, SeedError> {
        find(&self.folder.join("boot"), &|name| name.starts_with("vmlinuz-"))
            .map_err(while_doing("look for the kernel"))
    }

    /// Writes the initial RAM disk. `busybox` is the one program in it.
    pub fn make_initrd(&self, busybox: &Path, to: &Path) -> Result<(), SeedError> {
        let folder = tempfile::tempdir().map_err(while_doing("make a temporary folder"))?;
        self.lay_out_initrd(busybox, folder.path()).map_err(while_doing("lay out an initial RAM disk"))?;
        let file = fs::File::create(to).map_err(while_doing(format!("write {}", to.display())))?;
        // Uncompressed: unpacking would take the emulated machine longer than reading.
        let list = "find . | cpio -o -H newc 2>/dev/null";
        let status = Command::new(busybox)
            .args(["sh", "-c", list])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(file)
            .status()
            .map_err(while_doing("run busybox"))?;
        match status.success() {
            true => Ok(()),
            false => Err(SeedError::Failed {
                program: "cpio".to_owned(),
                status: status.to_string(),
                output: String::new(),
            }),
        }
    }

    fn lay_out_initrd(&self, busybox: &Path, root: &Path) -> io::Result<()> {
        for name in ["bin", "dev", "modules", "new", "proc", "sys"] {
            fs::create_dir(root.join(name))?;
        }
        fs::copy(busybox, root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        for (index, module) in self.modules()?.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            fs::copy(module, root.join("modules").join(format!("{index:02}-{name}")))?;
        }
        fs::write(root.join("init"), INITRD_INIT)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))
    }

    /// The modules in an order in which each finds what it needs.
    fn modules(&self) -> io::Result<Vec<PathBuf>> {
        let mut all = BTreeMap::new();
        let mut folders = vec![self.folder.join("lib/modules")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "ko") {
                    let name = path.file_stem().unwrap_or_default().to_string_lossy().replace('-', "_");
                    all.insert(name, path);
                }
            }
        }
        let mut ordered = Vec::new();
        for module in MODULES {
            add_module(&module.replace('-', "_"), &all, &mut ordered)?;
        }
        Ok(ordered)
    }
}

/// Adds what a module needs, and then it. One that is no module is part of the kernel itself.
fn add_module(name: &str, all: &BTreeMap<String, PathBuf>, ordered: &mut Vec<PathBuf>) -> io::Result<()> {
    let Some(path) = all.get(name) else { return Ok(()) };
    if ordered.contains(path) {
        return Ok(());
    }
    for needed in depends(&fs::read(path)?) {
        add_module(&needed.replace('-', "_"), all, ordered)?;
    }
    ordered.push(path.clone());
    Ok(())
}

/// What a module's file says that it needs: `depends=scsi_mod,scsi_common`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[start + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let names = value.split(|byte| *byte == b',').filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

fn cached_kernel(cache_dir: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(cache_dir).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    let is_kernel = |path: &PathBuf| {
        path.is_dir()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-image-"))
    };
    entries.filter(is_kernel).max()
}

fn fetch(cache_dir: &Path) -> Result<Kernel, SeedError> {
    let dependencies = run(Command::new("apt-cache").args(["depends", PACKAGE]), "apt")?;
    let package = dependencies
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
        .ok_or_else(|| SeedError::Failed {
            program: "apt-cache".to_owned(),
            status: "no answer".to_owned(),
            output: format!("{PACKAGE} is unknown here; apt-get update may help"),
        })?;
    let folder = tempfile::Builder::new()
        .prefix(".kernel-")
        .tempdir_in(cache_dir)
        .map_err(while_doing(format!("write to {}", cache_dir.display())))?;
    // apt would otherwise become a user who may not write to the folder.
    let download = ["-o", "APT::Sandbox::User=root", "--quiet", "download", package];
    run(Command::new("apt-get").args(download).current_dir(folder.path()), "apt")?;
    let archive = find(folder.path(), &|name| name.ends_with(".deb"))
        .map_err(while_doing("look for the package of the kernel"))?;
    let unpacked = folder.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&unpacked), "dpkg")?;
    let kept = cache_dir.join(package);
    match fs::rename(&unpacked, &kept) {
        // Another sandbox was faster.
        Err(_) if kept.is_dir() => {}
        renamed => renamed.map_err(while_doing(format!("write {}", kept.display())))?,
    }
    Ok(Kernel { folder: kept })
}

fn find(folder: &Path, is_it: &dyn Fn(&str) -> bool) -> io::Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_it(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("it is not in {}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(
            depends(b"\0license=GPL\0depends=scsi_mod,scsi_common\0name=sd\0"),
            ["scsi_mod", "scsi_common"]
        );
        assert_eq!(depends(b"\0depends=\0x"), Vec::<String>::new());
        assert_eq!(depends(b"no module"), Vec::<String>::new());
    }
}
