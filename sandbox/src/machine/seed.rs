//! The images that a fresh sandbox offers, built from Debian packages: `tiny`, in a second, from programs installed
//! on this machine, and `debian`, a real Debian, in half a minute, on request. What makes a machine the
//! customer's (keys, host keys, user data) is in the image, as in the cloud: an image that lost it boots without a key.

mod bootable;
mod debian;
mod host;
mod kernel;
mod tiny;

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

/// Run at each boot: fetches keys and user data from the metadata service when the instance is a new one.
const FIRST_BOOT: &str = include_str!("seed/first-boot.sh");
/// The first process of a namespace VM.
const INIT: &str = include_str!("seed/init.sh");
/// Links as OUTSCALE's udev rules make them.
const DISK_NAMES: &str = include_str!("seed/disk-names.sh");
const GROW_ROOT: &str = include_str!("seed/grow-root.sh");
const SSHD_CONFIG: &str = "\
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
X11Forwarding no
PrintMotd no
AcceptEnv LANG LC_*
MaxStartups 100:30:200
HostKey /etc/ssh/ssh_host_ed25519_key
Subsystem sftp /usr/lib/openssh/sftp-server
";

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A program that belongs into the image, or that builds it, is not installed.
    #[error("{program} is not installed: apt-get install {package}")]
    Missing {
        /// Its path or name.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program that builds the image failed.
    #[error("{program} failed ({status}): {output}")]
    Failed {
        /// What was run.
        program: String,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// Files could not be read or written.
    #[error("could not {what}")]
    Io {
        /// What was being done.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Builds the `tiny` image into `cache_dir`, or answers the one that is there: busybox, bash, OpenSSH, sudo and disk
/// tools on an ext4 without partitions, users `outscale` and `root`. With a kernel, it is a disk that a PC boots from.
/// Needs no root.
pub async fn build_tiny(cache_dir: &Path, has_kernel: bool) -> Result<PathBuf, SeedError> {
    let cache_dir = cache_dir.to_owned();
    blocking(move || tiny::build(&cache_dir, has_kernel)).await
}

/// Builds the `tiny` image as a disk with an MBR and one partition, as OUTSCALE's images are, but without a boot loader.
pub async fn build_tiny_disk(cache_dir: &Path) -> Result<PathBuf, SeedError> {
    let cache_dir = cache_dir.to_owned();
    blocking(move || tiny::build_disk(&cache_dir)).await
}

/// A kernel with which can be tried what an accelerator of virtual machines is good for.
pub async fn trial_kernel(cache_dir: &Path) -> Result<PathBuf, SeedError> {
    let cache_dir = cache_dir.to_owned();
    blocking(move || kernel::Kernel::get(&cache_dir)?.image()).await
}

/// Variants of the `debian` image.
#[derive(Debug, Clone, Copy, Default)]
pub struct DebianOptions {
    /// With a kernel and systemd, on a disk that a PC boots from.
    pub has_kernel: bool,
    /// With this machine's certificate authorities, proxies and pip configuration.
    pub takes_host_settings: bool,
}

/// Builds the `debian` image into `cache_dir`, or answers the one that is there: Debian 12 with OpenSSH, sudo, Python,
/// curl and apt. Needs root, a Debian mirror and about 30 seconds.
pub async fn build_debian(cache_dir: &Path, options: DebianOptions) -> Result<PathBuf, SeedError> {
    let cache_dir = cache_dir.to_owned();
    blocking(move || debian::build(&cache_dir, options)).await
}

async fn blocking(
    build: impl FnOnce() -> Result<PathBuf, SeedError> + Send + 'static,
) -> Result<PathBuf, SeedError> {
    tokio::task::spawn_blocking(build).await.unwrap_or_else(|error| {
        Err(SeedError::Io { what: "finish building an image".to_owned(), source: io::Error::other(error) })
    })
}

/// For `map_err`: says what was being done.
fn while_doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> SeedError {
    move |source| SeedError::Io { what: what.into(), source }
}

/// Runs a program to its end.
fn run(command: &mut Command, package: &'static str) -> Result<String, SeedError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SeedError::Missing { program: program.clone(), package },
        _ => SeedError::Io { what: format!("run {program}"), source },
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let written = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = written.trim().lines().rev().take(20).collect();
    let output_end = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
    Err(SeedError::Failed { program, status: output.status.to_string(), output: output_end })
}

/// Where an image of this content is cached.
fn cached(cache_dir: &Path, name: &str, content: &str) -> PathBuf {
    let digest = hex::encode(Sha256::digest(content.as_bytes()));
    cache_dir.join(format!("{name}-{}.raw", &digest[..16]))
}

/// Where the partition of a partitioned image begins, in bytes.
const PARTITION_START: u64 = 1 << 20;

/// Makes an ext4 image of a folder, in a partition or without any; `file` appears only when `finish` is done with it, which
/// gets it as programs for ext4 find the file system in it.
fn make_image(
    folder: &Path,
    file: &Path,
    bytes: u64,
    is_partitioned: bool,
    finish: impl FnOnce(&Path) -> Result<(), SeedError>,
) -> Result<(), SeedError> {
    // In the same folder, so that the rename is one; of our own, so that two sandboxes may build at once.
    let parent = file.parent().unwrap_or(Path::new("."));
    let unfinished = tempfile::Builder::new()
        .prefix(".building-")
        .tempfile_in(parent)
        .map_err(while_doing(format!("write to {}", parent.display())))?;
    unfinished.as_file().set_len(bytes).map_err(while_doing("make room for an image"))?;
    let start = if is_partitioned { PARTITION_START } else { 0 };
    run(
        Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-m", "0", "-L", "cloudimg", "-J", "size=4", "-E"])
            .arg(format!("offset={start},root_owner=0:0,lazy_itable_init=1,lazy_journal_init=1"))
            .arg("-d")
            .arg(folder)
            .arg(unfinished.path())
            .arg(format!("{}k", (bytes - start) / 1024)),
        "e2fsprogs",
    )?;
    if is_partitioned {
        write_mbr(unfinished.as_file(), bytes).map_err(while_doing("write a partition table"))?;
        finish(&PathBuf::from(format!("{}?offset={start}", unfinished.path().display())))?;
    } else {
        finish(unfinished.path())?;
    }
    unfinished
        .persist(file)
        .map_err(|error| while_doing(format!("write {}", file.display()))(error.error))?;
    Ok(())
}

/// One bootable Linux partition up to the end of the disk.
fn write_mbr(disk: &File, bytes: u64) -> io::Result<()> {
    let sectors = |bytes: u64| u32::try_from(bytes / 512).map_err(io::Error::other);
    let mut entry = [0x80, 0xFE, 0xFF, 0xFF, 0x83, 0xFE, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
    entry[8..12].copy_from_slice(&sectors(PARTITION_START)?.to_le_bytes());
    entry[12..].copy_from_slice(&sectors(bytes - PARTITION_START)?.to_le_bytes());
    disk.write_all_at(&entry, 446)?;
    disk.write_all_at(&[0x55, 0xAA], 510)
}
