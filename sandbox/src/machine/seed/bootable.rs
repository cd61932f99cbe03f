//! Disks that a PC boots from, made of a folder: a GPT with a boot loader for a BIOS, an EFI system partition with
//! one for UEFI, and the root file system. Only files are written, so neither root nor a loop device is needed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{SeedError, run, while_doing};

const SECTOR: u64 = 512;
/// First sectors. As on Debian's own cloud images, the root is number 1 and last, so that it can grow.
const BIOS_BOOT: u64 = 2048;
const EFI_SYSTEM: u64 = 4096;
const ROOT: u64 = 12288;
/// For the second copy of the table.
const TAIL: u64 = 2048;
/// With a smaller one, a mounted file system cannot be grown.
const JOURNAL: &str = "size=32";
/// Where GRUB's first sector keeps the address of what it loads, and that keeps the address of the rest.
const NEXT_IN_BOOT: usize = 0x5C;
const NEXT_IN_CORE: usize = SECTOR as usize - 12;
/// The first sector's code ends where the old kind of partition table begins.
const BOOT_CODE: usize = 440;
const GRUB: &str = "/usr/lib/grub";
const GRUB_BIOS: &str = "i386-pc";
const GRUB_EFI: &str = "x86_64-efi";
const GRUB_MODULES: [&str; 11] = [
    "part_gpt",
    "part_msdos",
    "ext2",
    "linux",
    "normal",
    "configfile",
    "serial",
    "terminal",
    "test",
    "echo",
    "search",
];

/// How the kernel of an image is started.
pub(super) struct Boot<'a> {
    /// As the boot loader finds them in the root file system.
    pub kernel: &'a str,
    pub initrd: &'a str,
    /// What the kernel takes for its root.
    pub root: &'a str,
    /// The root file system's own number.
    pub uuid: &'a str,
}

/// What of the boot loaders decides about an image's content.
pub(super) fn recipe() -> String {
    let efi = Path::new(GRUB).join(GRUB_EFI).is_dir();
    format!(
        "{BIOS_BOOT} {EFI_SYSTEM} {ROOT} {TAIL} {JOURNAL} {GRUB_MODULES:?} efi={efi} {}",
        grub_cfg(&Boot { kernel: "", initrd: "", root: "", uuid: "" })
    )
}

/// The file system as `debugfs` and `e2fsck` find it in a disk.
pub(super) fn root_of(disk: &Path) -> PathBuf {
    PathBuf::from(format!("{}?offset={}", disk.display(), ROOT * SECTOR))
}

/// Makes a disk of a folder; `file` appears only when `finish` is done with it.
pub(super) fn make_disk(
    folder: &Path,
    file: &Path,
    bytes: u64,
    boot: &Boot<'_>,
    finish: impl FnOnce(&Path) -> Result<(), SeedError>,
) -> Result<(), SeedError> {
    let writing = || while_doing(format!("write {}", file.display()));
    let grub = folder.join("boot/grub");
    fs::create_dir_all(&grub)
        .and_then(|()| fs::write(grub.join("grub.cfg"), grub_cfg(boot)))
        .map_err(writing())?;
    // In the same folder, so that the rename is one; of our own, so that two sandboxes may build at once.
    let unfinished = tempfile::Builder::new()
        .prefix(".building-")
        .tempfile_in(file.parent().unwrap_or(Path::new(".")))
        .map_err(writing())?;
    unfinished.as_file().set_len(bytes).map_err(writing())?;
    partition(unfinished.path(), bytes)?;
    let kib = (bytes - (ROOT + TAIL) * SECTOR) / 1024;
    run(
        Command::new("mke2fs")
            .args([
                "-q", "-F", "-t", "ext4", "-m", "0", "-L", "cloudimg", "-J", JOURNAL, "-U", boot.uuid, "-E",
            ])
            .arg(format!("offset={},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1", ROOT * SECTOR))
            .arg("-d")
            .arg(folder)
            .arg(unfinished.path())
            .arg(kib.to_string()),
        "e2fsprogs",
    )?;
    finish(unfinished.path())?;
    let working = tempfile::tempdir().map_err(while_doing("make a temporary folder"))?;
    let disk = OpenOptions::new().write(true).open(unfinished.path()).map_err(writing())?;
    install_for_bios(&disk, working.path())?;
    if Path::new(GRUB).join(GRUB_EFI).is_dir() {
        install_for_uefi(&disk, working.path())?;
    }
    unfinished.persist(file).map_err(|error| writing()(error.error))?;
    Ok(())
}

/// `mitigations=off` because an emulated processor pays for them and leaks nothing.
fn grub_cfg(boot: &Boot<'_>) -> String {
    format!(
        "serial --unit=0 --speed=115200\n\
         terminal_output serial\n\
         set gfxpayload=text\n\
         linux {} root={} ro console=ttyS0 net.ifnames=0 mitigations=off loglevel=6\n\
         initrd {}\n\
         boot\n",
        boot.kernel, boot.root, boot.initrd
    )
}

fn partition(disk: &Path, bytes: u64) -> Result<(), SeedError> {
    let root_sectors = bytes / SECTOR - ROOT - TAIL;
    let table = format!(
        "label: gpt\nfirst-lba: 34\n\
         14: start={BIOS_BOOT}, size={}, type=21686148-6449-6E6F-744E-656564454649\n\
         15: start={EFI_SYSTEM}, size={}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n\
         1: start={ROOT}, size={root_sectors}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n",
        EFI_SYSTEM - BIOS_BOOT,
        ROOT - EFI_SYSTEM,
    );
    let failed = |output: String| SeedError::Failed {
        program: "sfdisk".to_owned(),
        status: "failed".to_owned(),
        output,
    };
    let mut sfdisk = Command::new("sfdisk")
        .arg("--quiet")
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => SeedError::Missing { program: "sfdisk".to_owned(), package: "fdisk" },
            _ => SeedError::Io { what: "run sfdisk".to_owned(), source },
        })?;
    if let Some(mut input) = sfdisk.stdin.take() {
        input.write_all(table.as_bytes()).map_err(while_doing("tell sfdisk the partitions"))?;
    }
    let output = sfdisk.wait_with_output().map_err(while_doing("run sfdisk"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn grub_image(platform: &str, modules: &[&str], to: &Path, package: &'static str) -> Result<(), SeedError> {
    if !Path::new(GRUB).join(platform).is_dir() {
        return Err(SeedError::Missing { program: format!("{GRUB}/{platform}"), package });
    }
    // The boot loader completes the prefix with the disk that it was started from.
    run(
        Command::new("grub-mkimage")
            .args(["-O", platform, "-p", "(,gpt1)/boot/grub", "-o"])
            .arg(to)
            .args(modules)
            .args(GRUB_MODULES),
        "grub-common",
    )
    .map(drop)
}

/// Writes GRUB's first sector and its core as `grub-install` would, which insists on a block device.
fn install_for_bios(disk: &File, working: &Path) -> Result<(), SeedError> {
    let core = working.join("core.img");
    grub_image(GRUB_BIOS, &["biosdisk"], &core, "grub-pc-bin")?;
    let install = || -> io::Result<()> {
        let mut boot = fs::read(Path::new(GRUB).join(GRUB_BIOS).join("boot.img"))?;
        let mut core = fs::read(core)?;
        let room = (EFI_SYSTEM - BIOS_BOOT) * SECTOR;
        if boot.len() < BOOT_CODE || core.len() as u64 > room || core.len() < SECTOR as usize {
            return Err(io::Error::other("GRUB is not what it used to be"));
        }
        boot[NEXT_IN_BOOT..NEXT_IN_BOOT + 8].copy_from_slice(&BIOS_BOOT.to_le_bytes());
        core[NEXT_IN_CORE..NEXT_IN_CORE + 8].copy_from_slice(&(BIOS_BOOT + 1).to_le_bytes());
        disk.write_all_at(&boot[..BOOT_CODE], 0)?;
        disk.write_all_at(&core, BIOS_BOOT * SECTOR)
    };
    install().map_err(while_doing("install the boot loader"))
}

fn install_for_uefi(disk: &File, working: &Path) -> Result<(), SeedError> {
    let loader = working.join("bootx64.efi");
    grub_image(GRUB_EFI, &["fat"], &loader, "grub-efi-amd64-bin")?;
    let partition = working.join("efi.img");
    File::create(&partition)
        .and_then(|file| file.set_len((ROOT - EFI_SYSTEM) * SECTOR))
        .map_err(while_doing("make the EFI system partition"))?;
    run(Command::new("mkfs.vfat").args(["-n", "EFI"]).arg(&partition), "dosfstools")?;
    run(Command::new("mmd").arg("-i").arg(&partition).args(["::/EFI", "::/EFI/BOOT"]), "mtools")?;
    let copy = ["::/EFI/BOOT/BOOTX64.EFI"];
    run(Command::new("mcopy").arg("-i").arg(&partition).arg(&loader).args(copy), "mtools")?;
    fs::read(&partition)
        .and_then(|content| disk.write_all_at(&content, EFI_SYSTEM * SECTOR))
        .map_err(while_doing("write the EFI system partition"))
}
