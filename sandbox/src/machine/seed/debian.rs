//! The `debian` image: a real Debian 12 by `mmdebstrap`, with the same key logic as `tiny`. It is the only slow one,
//! so it is cached by its list of packages and built where memory is the disk, if there is enough of it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{FIRST_BOOT, INIT, SSHD_CONFIG, SeedError, cached, make_image, run, while_doing};

/// What a volume made of the image has at least; most of it is a hole in the file.
const BYTES: u64 = 4 << 30;
/// What unpacking takes, generously.
const WORKING_SPACE: u64 = 3 << 30;
const PACKAGES: &str =
    "openssh-server,sudo,python3-minimal,ca-certificates,curl,iproute2,procps,e2fsprogs,parted";
const SUITE: &str = "bookworm";
/// Documentation is half of a small Debian.
const LEFT_OUT: [&str; 4] =
    ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"];
/// Run inside the new tree by `chroot`.
const SET_UP: &str = "\
useradd --create-home --shell /bin/bash --uid 1000 --groups sudo outscale
usermod --password '*' outscale
rm -f /etc/ssh/ssh_host_* /etc/machine-id
ln -sf init.ns /usr/sbin/init
apt-get clean
";
/// Debian's own poweroff and reboot belong to systemd; process 1 is `init.ns` here, and listens to signals.
const POWER: &str = "\
#!/bin/sh
# poweroff, reboot, halt, shutdown: asks process 1, or with -f makes the call.
name=$(basename \"$0\")
if [ \"$name\" = shutdown ]; then
    name=poweroff
    case \" $* \" in *\" -r \"*) name=reboot ;; esac
fi
case \" $* \" in
*\" -f \"*)
    # Perl is in every Debian; 169 is reboot(2) on x86-64.
    command=0x4321fedc
    [ \"$name\" = reboot ] && command=0x01234567
    exec perl -e \"syscall(169, 0xfee1dead, 0x28121969, $command, 0)\"
    ;;
esac
case $name in
reboot) kill -TERM 1 ;;
halt) kill -USR1 1 ;;
*) kill -USR2 1 ;;
esac
";

/// Builds the image, if it is not there yet, and answers where it is.
pub(super) fn build(cache_dir: &Path) -> Result<PathBuf, SeedError> {
    fs::create_dir_all(cache_dir).map_err(while_doing(format!("make {}", cache_dir.display())))?;
    let recipe =
        format!("{BYTES} {SUITE} {PACKAGES} {LEFT_OUT:?} {SET_UP} {POWER} {FIRST_BOOT} {INIT} {SSHD_CONFIG}");
    let image = cached(cache_dir, "debian", &recipe);
    if image.exists() {
        return Ok(image);
    }
    let folder = working_folder().map_err(while_doing("make a temporary folder"))?;
    let root = folder.path().join("root");
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap.env("TMPDIR", folder.path()).arg("--variant=minbase").arg(format!("--include={PACKAGES}"));
    for pattern in LEFT_OUT {
        bootstrap.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    run(bootstrap.args(["--quiet", SUITE]).arg(&root), "mmdebstrap")?;
    add_files(&root).map_err(while_doing("complete the debian image"))?;
    run(Command::new("chroot").arg(&root).args(["/bin/sh", "-ec", SET_UP]), "coreutils")?;
    make_image(&root, &image, BYTES, |_unfinished| Ok(()))?;
    Ok(image)
}

/// In memory where there is room: unpacking is three times as fast there.
fn working_folder() -> io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let free = nix::sys::statvfs::statvfs(memory)
        .map(|status| status.blocks_available() * status.fragment_size())
        .unwrap_or(0);
    let folder = if free >= WORKING_SPACE { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }?;
    // apt unpacks as a user of its own, who must be able to pass.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

fn add_files(root: &Path) -> io::Result<()> {
    let files = [
        ("usr/lib/sandbox/first-boot", FIRST_BOOT, 0o755),
        ("usr/sbin/init.ns", INIT, 0o755),
        ("etc/ssh/sshd_config", SSHD_CONFIG, 0o644),
        ("etc/sudoers.d/outscale", "outscale ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
        ("usr/sbin/poweroff", POWER, 0o755),
        ("usr/sbin/reboot", POWER, 0o755),
        ("usr/sbin/halt", POWER, 0o755),
        ("usr/sbin/shutdown", POWER, 0o755),
    ];
    for (path, content, mode) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}
