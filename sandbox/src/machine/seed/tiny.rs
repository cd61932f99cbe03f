//! The `tiny` image: a machine that answers on SSH a tenth of a second after it was started, made of programs that
//! are installed here. Files are collected in a folder, `mke2fs -d` makes the file system of it, and `debugfs`
//! sets owners and modes inside, so that neither root nor a mount is needed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    DISK_NAMES, FIRST_BOOT, GROW_ROOT, INIT, SSHD_CONFIG, SeedError, bootable, cached, kernel::Kernel,
    make_image, while_doing,
};

/// What a volume made of the image has at least; most of it is a hole in the file.
const BYTES: u64 = 1 << 30;

/// Programs without which the image would be no machine, with their package.
const REQUIRED: [(&str, &str); 11] = [
    ("/usr/bin/busybox", "busybox-static"),
    ("/usr/bin/bash", "bash"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("/usr/bin/ssh-keygen", "openssh-client"),
    ("/usr/bin/scp", "openssh-client"),
    ("/usr/lib/openssh/sftp-server", "openssh-sftp-server"),
    ("/usr/bin/sudo", "sudo"),
    ("/usr/libexec/sudo/sudoers.so", "sudo"),
    ("/usr/lib/x86_64-linux-gnu/security/pam_permit.so", "libpam-modules"),
    ("/usr/sbin/mke2fs", "e2fsprogs"),
    ("/usr/sbin/e2fsck", "e2fsprogs"),
];

/// Programs that recipes like to find, taken along where they are installed.
const OPTIONAL: [&str; 10] = [
    "/usr/sbin/resize2fs",
    "/usr/sbin/tune2fs",
    "/usr/sbin/parted",
    "/usr/sbin/partprobe",
    "/usr/sbin/sfdisk",
    "/usr/bin/partx",
    "/usr/bin/lsblk",
    "/usr/sbin/blkid",
    "/usr/bin/setpriv",
    "/usr/sbin/wipefs",
];

const FOLDERS: [&str; 22] = [
    "dev",
    "etc/pam.d",
    "etc/ssh",
    "etc/sudoers.d",
    "home/outscale/.ssh",
    "mnt",
    "opt",
    "proc",
    "root/.ssh",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/lib/sandbox",
    "usr/lib64",
    "usr/local/bin",
    "usr/local/sbin",
    "usr/sbin",
    "var/lib/sudo",
    "var/log",
    "var/tmp",
    "usr/share",
];

const FILES: [(&str, &str); 15] = [
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\noutscale:x:1000:1000:OUTSCALE:/home/outscale:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "etc/group",
        "root:x:0:\ntty:x:5:\ndisk:x:6:\nadm:x:4:\nsudo:x:27:outscale\noutscale:x:1000:\nnogroup:x:65534:\n",
    ),
    // `*` is no password, and not a locked account: sshd accepts keys.
    (
        "etc/shadow",
        "root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\noutscale:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    ),
    ("etc/shells", "/bin/sh\n/bin/bash\n"),
    ("etc/hostname", "tiny\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
    (
        "etc/os-release",
        "NAME=\"tiny\"\nID=tiny\nVERSION_ID=\"1.0\"\nPRETTY_NAME=\"tiny 1.0 (OUTSCALE sandbox)\"\n",
    ),
    ("etc/profile", "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\numask 022\n"),
    (
        "etc/sudoers",
        "Defaults env_reset\nDefaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"\nroot ALL=(ALL:ALL) ALL\noutscale ALL=(ALL:ALL) NOPASSWD: ALL\n@includedir /etc/sudoers.d\n",
    ),
    (
        "etc/pam.d/other",
        "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
    ),
    ("etc/ssh/sshd_config", SSHD_CONFIG),
    ("usr/lib/sandbox/first-boot", FIRST_BOOT),
    ("usr/sbin/init.ns", INIT),
    (
        "usr/sbin/shutdown",
        "#!/bin/sh\n# shutdown [-h|-P|-r|-H] [TIME] [MESSAGE]: at once, whatever the time says.\ncase \" $* \" in *\" -r \"*) exec reboot ;; *\" -H \"*) exec halt ;; *) exec poweroff ;; esac\n",
    ),
];

/// What the variant has that is a PC of its own.
const BOOT_FILES: [(&str, &str); 6] = [
    ("usr/sbin/init.boot", include_str!("init-boot.sh")),
    ("usr/lib/sandbox/dhcp", include_str!("dhcp.sh")),
    ("usr/lib/sandbox/disk-names", DISK_NAMES),
    ("usr/lib/sandbox/grow-root", GROW_ROOT),
    // The power button.
    ("etc/acpi/PWRF/00000080", "#!/bin/sh\nkill -PWR 1\n"),
    ("etc/acpid.conf", "PWRF PWRF/00000080\n"),
];
/// The root file system's own number; in the cloud too, all VMs of an image have the same.
const UUID: &str = "6f75726e-696c-4000-8000-74696e790001";
const BUSYBOX: &str = "/usr/bin/busybox";

/// What is not `root:root` with its usual mode: path, owner, mode with type.
const OWNERS: [(&str, u32, u32); 12] = [
    ("/etc/shadow", 0, 0o100_600),
    ("/etc/sudoers", 0, 0o100_440),
    ("/etc/sudoers.d", 0, 0o040_750),
    ("/home/outscale", 1000, 0o040_755),
    ("/home/outscale/.ssh", 1000, 0o040_700),
    ("/root", 0, 0o040_700),
    ("/root/.ssh", 0, 0o040_700),
    ("/tmp", 0, 0o041_777),
    ("/var/tmp", 0, 0o041_777),
    ("/var/lib/sudo", 0, 0o040_700),
    ("/usr/bin/sudo", 0, 0o104_755),
    ("/usr/lib/sandbox", 0, 0o040_755),
];

/// Builds the image, if it is not there yet, and answers where it is. The variant with a kernel boots by itself.
pub(super) fn build(cache_dir: &Path, has_kernel: bool) -> Result<PathBuf, SeedError> {
    fs::create_dir_all(cache_dir).map_err(while_doing(format!("make {}", cache_dir.display())))?;
    let programs = programs()?;
    let kernel = has_kernel.then(|| Kernel::get(cache_dir)).transpose()?;
    let recipe = recipe(&programs, kernel.as_ref())?;
    let image = cached(cache_dir, if has_kernel { "tiny-boot" } else { "tiny" }, &recipe);
    if image.exists() {
        return Ok(image);
    }
    let folder = tempfile::tempdir().map_err(while_doing("make a temporary folder"))?;
    let root = folder.path().join("root");
    lay_out(&root, &programs).map_err(while_doing("lay out the tiny image"))?;
    let Some(kernel) = kernel else {
        make_image(&root, &image, BYTES, false, |unfinished| set_owners(&root, unfinished))?;
        return Ok(image);
    };
    add_boot_files(&root, &kernel.image()?).map_err(while_doing("lay out the tiny image"))?;
    kernel.make_initrd(Path::new(BUSYBOX), &root.join("boot/initrd.img"))?;
    let boot =
        bootable::Boot { kernel: "/boot/vmlinuz", initrd: "/boot/initrd.img", root: "/dev/vda1", uuid: UUID };
    bootable::make_disk(&root, &image, BYTES, &boot, |unfinished| {
        set_owners(&root, &bootable::root_of(unfinished))
    })?;
    Ok(image)
}

/// Builds the partitioned image without a kernel.
pub(super) fn build_disk(cache_dir: &Path) -> Result<PathBuf, SeedError> {
    fs::create_dir_all(cache_dir).map_err(while_doing(format!("make {}", cache_dir.display())))?;
    let programs = programs()?;
    let image = cached(cache_dir, "tiny-disk", &recipe(&programs, None)?);
    if image.exists() {
        return Ok(image);
    }
    let folder = tempfile::tempdir().map_err(while_doing("make a temporary folder"))?;
    let root = folder.path().join("root");
    lay_out(&root, &programs).map_err(while_doing("lay out the tiny image"))?;
    make_image(&root, &image, BYTES, true, |unfinished| set_owners(&root, unfinished))?;
    Ok(image)
}

fn add_boot_files(root: &Path, kernel: &Path) -> io::Result<()> {
    write_files(root, &BOOT_FILES)?;
    fs::create_dir_all(root.join("boot"))?;
    fs::copy(kernel, root.join("boot/vmlinuz"))?;
    fs::remove_file(root.join("usr/sbin/init"))?;
    symlink("init.boot", root.join("usr/sbin/init"))
}

fn write_files(root: &Path, files: &[(&str, &str)]) -> io::Result<()> {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, content)?;
        let mode = if content.starts_with("#!") { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The programs that go into the image, with their shared libraries.
fn programs() -> Result<BTreeSet<PathBuf>, SeedError> {
    for (program, package) in REQUIRED {
        if !Path::new(program).exists() {
            return Err(SeedError::Missing { program: program.to_owned(), package });
        }
    }
    let programs: Vec<&str> = REQUIRED
        .iter()
        .map(|(program, _package)| *program)
        .chain(OPTIONAL.into_iter().filter(|program| Path::new(program).exists()))
        .collect();
    // ldd fails for static programs among others, and names the libraries of the others all the same.
    let output = Command::new("ldd").args(&programs).output().map_err(while_doing("run ldd"))?;
    let mut files: BTreeSet<PathBuf> = programs.into_iter().map(PathBuf::from).collect();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // `libc.so.6 => /lib/… (0x…)`, `/lib64/ld-linux… (0x…)`, and `/usr/bin/bash:` as a heading.
        let path = line.split_whitespace().find(|word| word.starts_with('/') && !word.ends_with(':'));
        files.extend(path.map(PathBuf::from));
    }
    Ok(files)
}

/// Everything that decides what the image contains, for the cache.
fn recipe(programs: &BTreeSet<PathBuf>, kernel: Option<&Kernel>) -> Result<String, SeedError> {
    let mut recipe = format!("{BYTES} {FOLDERS:?} {FILES:?} {OWNERS:?}");
    for program in programs {
        let metadata = fs::metadata(program).map_err(while_doing(format!("read {}", program.display())))?;
        let _ = write!(recipe, " {} {} {}", program.display(), metadata.len(), metadata.mtime());
    }
    if let Some(kernel) = kernel {
        let _ = write!(recipe, " {} {BOOT_FILES:?} {}", kernel.recipe(), bootable::recipe());
    }
    Ok(recipe)
}

fn lay_out(root: &Path, programs: &BTreeSet<PathBuf>) -> io::Result<()> {
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(format!("usr/{name}"), root.join(name))?;
    }
    write_files(root, &FILES)?;
    for program in programs {
        let target = root.join(merged_usr(program));
        fs::create_dir_all(target.parent().unwrap_or(root))?;
        fs::copy(program, &target)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
    }
    for config in ["/etc/mke2fs.conf"] {
        if Path::new(config).exists() {
            fs::copy(config, root.join(&config[1..]))?;
        }
    }
    for (name, target) in [("mkfs.ext4", "mke2fs"), ("mkfs.ext3", "mke2fs"), ("fsck.ext4", "e2fsck")] {
        symlink(target, root.join("usr/sbin").join(name))?;
    }
    symlink("init.ns", root.join("usr/sbin/init"))?;
    add_applets(root)
}

/// A name for everything that busybox can do and no real program in the image does.
fn add_applets(root: &Path) -> io::Result<()> {
    let output = Command::new(BUSYBOX).arg("--list-full").output()?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        let relative = merged_usr(&Path::new("/").join(applet));
        let Some(name) = relative.file_name() else { continue };
        let taken =
            ["usr/bin", "usr/sbin"].iter().any(|dir| root.join(dir).join(name).symlink_metadata().is_ok());
        // Without a setuid bit `su` would only ask for a password that nobody has.
        if !taken && name != "su" && relative.components().count() == 3 {
            symlink(BUSYBOX, root.join(relative))?;
        }
    }
    Ok(())
}

/// `/lib/x/y` → `usr/lib/x/y`: Debian 12 reaches the same file under both names, the image has one.
fn merged_usr(path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    if relative.starts_with("usr") { relative.to_owned() } else { Path::new("usr").join(relative) }
}

/// Sets owners and modes inside the image.
fn set_owners(root: &Path, image: &Path) -> Result<(), SeedError> {
    let mut script = String::new();
    let built_by = fs::metadata(root).map_err(while_doing("read the laid out image"))?;
    if (built_by.uid(), built_by.gid()) != (0, 0) {
        let mut paths = Vec::new();
        list(root, &mut paths).map_err(while_doing("list the laid out image"))?;
        for path in paths {
            let inside = Path::new("/").join(path.strip_prefix(root).unwrap_or(&path));
            let _ =
                writeln!(script, "set_inode_field {0} uid 0\nset_inode_field {0} gid 0", inside.display());
        }
    }
    for (path, owner, mode) in OWNERS {
        let _ = writeln!(script, "set_inode_field {path} uid {owner}\nset_inode_field {path} gid {owner}");
        let _ = writeln!(script, "set_inode_field {path} mode 0{mode:o}");
    }
    let file = root.with_extension("debugfs");
    fs::write(&file, script).map_err(while_doing("write a debugfs script"))?;
    // debugfs ends with 0 whatever happened; what it could not do is on its standard error.
    let output = Command::new("debugfs")
        .args(["-w", "-f"])
        .arg(&file)
        .arg(image)
        .output()
        .map_err(while_doing("run debugfs"))?;
    let complaints: Vec<String> = String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| !line.starts_with("debugfs "))
        .map(str::to_owned)
        .collect();
    if !output.status.success() || !complaints.is_empty() {
        return Err(SeedError::Failed {
            program: "debugfs".to_owned(),
            status: output.status.to_string(),
            output: complaints.join("\n"),
        });
    }
    Ok(())
}

fn list(folder: &Path, paths: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        paths.push(entry.path());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), paths)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::{super::run, *};
    use crate::machine::partitions::{self, Extent};

    fn debugfs(image: &Path, request: &str) -> String {
        run(Command::new("debugfs").arg("-R").arg(request).arg(image), "e2fsprogs").expect("debugfs")
    }

    #[test]
    fn the_image_is_built_once_and_its_owners_are_right() {
        if let Err(error) = programs() {
            println!("skipped: {error}");
            return;
        }
        let cache = tempfile::tempdir().expect("a temporary folder");
        let image = build(cache.path(), false).expect("an image");
        let built = fs::metadata(&image).expect("the image").ino();
        assert_eq!(build(cache.path(), false).expect("the same image"), image);
        assert_eq!(fs::metadata(&image).expect("the image").ino(), built, "it was built again");
        assert_eq!(fs::read_dir(cache.path()).expect("the cache").count(), 1, "something was left behind");

        let sudo = debugfs(&image, "stat /usr/bin/sudo");
        assert!(sudo.contains("Mode:  04755") && sudo.contains("User:     0"), "{sudo}");
        let home = debugfs(&image, "stat /home/outscale/.ssh");
        assert!(home.contains("Mode:  0700") && home.contains("User:  1000"), "{home}");
        assert!(debugfs(&image, "cat /etc/os-release").contains("ID=tiny"));
        run(Command::new("e2fsck").arg("-fn").arg(&image), "e2fsprogs").expect("a clean file system");

        let disk = build_disk(cache.path()).expect("a disk");
        let partitions = File::open(&disk).and_then(|disk| partitions::read(&disk)).expect("its partitions");
        assert_eq!(partitions, [Extent { number: 1, start: 1 << 20, length: BYTES - (1 << 20) }]);
        let inside = PathBuf::from(format!("{}?offset=1048576", disk.display()));
        assert!(debugfs(&inside, "cat /etc/os-release").contains("ID=tiny"));
        assert!(debugfs(&inside, "stat /usr/bin/sudo").contains("Mode:  04755"));
    }
}
