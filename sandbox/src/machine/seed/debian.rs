//! The `debian` image: a real Debian 12 by `mmdebstrap`, with the same key logic as `tiny`. It is the only slow one,
//! so it is cached by its list of packages and built where memory is the disk, if there is enough of it. The variant
//! with a kernel boots by itself, with systemd; a namespace VM starts it just as well.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    DISK_NAMES, DebianOptions, FIRST_BOOT, GROW_ROOT, INIT, SSHD_CONFIG, SeedError, bootable, cached, host,
    make_image, run, while_doing,
};

/// What a volume made of the image has at least; most of it is a hole in the file.
const BYTES: u64 = 4 << 30;
/// What unpacking takes, generously.
const WORKING_SPACE: u64 = 3 << 30;
const PACKAGES: &str =
    "openssh-server,sudo,python3-minimal,ca-certificates,curl,iproute2,procps,e2fsprogs,parted";
/// What the variant has that boots by itself. Without D-Bus, nobody hears the power button.
const BOOT_PACKAGES: &str = "linux-image-cloud-amd64,initramfs-tools,systemd-sysv,udev,dbus,fdisk";
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
/// The same for the variant that boots by itself: its `init` is systemd.
const BOOT_SET_UP: &str = "\
useradd --create-home --shell /bin/bash --uid 1000 --groups sudo outscale
usermod --password '*' outscale
rm -f /etc/ssh/ssh_host_* /etc/machine-id /var/lib/dbus/machine-id
: >/etc/machine-id
mkdir -p /usr/lib/sandbox/systemd
for name in poweroff reboot halt shutdown; do ln -s /usr/bin/systemctl /usr/lib/sandbox/systemd/$name; done
systemctl --quiet enable systemd-networkd.service ssh.service sandbox-keys.service sandbox-user-data.service
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
    systemd-networkd-wait-online.service
apt-get clean
";
/// Which drivers the initial RAM disk has. All of them would be ten times as much for an emulated machine to unpack.
const DRIVERS: &str = "virtio_pci virtio_blk virtio_scsi sd_mod virtio_net ext4";
/// Before a kernel is installed, so that its initial RAM disk is made only once.
const INITRAMFS_HOOK: &str = "\
mkdir -p \"$1/etc/initramfs-tools/conf.d\"
printf 'MODULES=list\\nCOMPRESS=gzip\\n' >\"$1/etc/initramfs-tools/conf.d/sandbox\"
printf '%s\\n' $DRIVERS >\"$1/etc/initramfs-tools/modules\"
";
const UUID: &str = "6f75726e-696c-4000-8000-646562690001";
/// Any card that there is: a PC's is eth0, that of user-mode Linux vec0.
const NETWORK: &str = "\
[Match]
Type=ether

[Network]
DHCP=ipv4
LinkLocalAddressing=no

[DHCPv4]
UseHostname=no
ClientIdentifier=mac
";
const KEYS_UNIT: &str = "\
[Unit]
Description=Keys of this instance
Wants=systemd-networkd.service
After=systemd-networkd.service local-fs.target
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/lib/sandbox/grow-root
ExecStart=/usr/lib/sandbox/first-boot keys
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
";
const USER_DATA_UNIT: &str = "\
[Unit]
Description=User data of this instance
After=sandbox-keys.service ssh.service

[Service]
Type=oneshot
ExecStart=/usr/lib/sandbox/first-boot user-data
StandardOutput=journal+console

[Install]
WantedBy=multi-user.target
";
/// As OUTSCALE's own rules name disks.
const UDEV_RULES: &str = "\
SUBSYSTEM==\"block\", ACTION!=\"remove\", KERNEL==\"sd*|ubd[b-p]*\", PROGRAM=\"/usr/lib/sandbox/disk-names link %k\", RESULT==\"?*\", SYMLINK+=\"%c\"
";
/// Debian's own poweroff and reboot belong to systemd; where process 1 is `init.ns`, that listens to signals.
const POWER: &str = "\
#!/bin/sh
# poweroff, reboot, halt, shutdown: asks systemd, or process 1, or with -f makes the call.
name=$(basename \"$0\")
if [ -d /run/systemd/system ]; then
    exec \"/usr/lib/sandbox/systemd/$name\" \"$@\"
fi
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
const FILES: [(&str, &str, u32); 9] = [
    ("usr/lib/sandbox/first-boot", FIRST_BOOT, 0o755),
    ("usr/sbin/init.ns", INIT, 0o755),
    ("etc/ssh/sshd_config", SSHD_CONFIG, 0o644),
    ("etc/sudoers.d/outscale", "outscale ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440),
    ("usr/sbin/poweroff", POWER, 0o755),
    ("usr/sbin/reboot", POWER, 0o755),
    ("usr/sbin/halt", POWER, 0o755),
    ("usr/sbin/shutdown", POWER, 0o755),
    ("usr/lib/sandbox/disk-names", DISK_NAMES, 0o755),
];
const BOOT_FILES: [(&str, &str, u32); 6] = [
    ("usr/lib/sandbox/grow-root", GROW_ROOT, 0o755),
    ("etc/systemd/network/80-sandbox.network", NETWORK, 0o644),
    ("etc/systemd/system/sandbox-keys.service", KEYS_UNIT, 0o644),
    ("etc/systemd/system/sandbox-user-data.service", USER_DATA_UNIT, 0o644),
    ("etc/udev/rules.d/96-sandbox.rules", UDEV_RULES, 0o644),
    ("etc/fstab", "LABEL=cloudimg / ext4 defaults 0 1\n", 0o644),
];

/// Builds the image, if it is not there yet, and answers where it is.
pub(super) fn build(cache_dir: &Path, options: DebianOptions) -> Result<PathBuf, SeedError> {
    let has_kernel = options.has_kernel;
    fs::create_dir_all(cache_dir).map_err(while_doing(format!("make {}", cache_dir.display())))?;
    let mut recipe = format!("{BYTES} {SUITE} {PACKAGES} {LEFT_OUT:?} {SET_UP} {FILES:?}");
    if has_kernel {
        let more = format!("{BOOT_PACKAGES} {BOOT_SET_UP} {DRIVERS} {INITRAMFS_HOOK} {BOOT_FILES:?}");
        recipe = format!("{recipe} {more} {}", bootable::recipe());
    }
    let settings = options.takes_host_settings.then(host::settings).transpose();
    let settings = settings.map_err(while_doing("read this machine's settings"))?;
    if let Some(settings) = &settings {
        recipe = format!("{recipe} {:?}", settings.files);
    }
    let image = cached(cache_dir, if has_kernel { "debian-boot" } else { "debian" }, &recipe);
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
    if has_kernel {
        bootstrap.arg(format!("--include={BOOT_PACKAGES}"));
        bootstrap.arg(format!("--essential-hook={}", INITRAMFS_HOOK.replace("$DRIVERS", DRIVERS)));
    }
    run(bootstrap.args(["--quiet", SUITE]).arg(&root), "mmdebstrap")?;
    let set_up = if has_kernel { BOOT_SET_UP } else { SET_UP };
    add_files(&root, &FILES).map_err(while_doing("complete the debian image"))?;
    if has_kernel {
        add_files(&root, &BOOT_FILES).map_err(while_doing("complete the debian image"))?;
    }
    run(Command::new("chroot").arg(&root).args(["/bin/sh", "-ec", set_up]), "coreutils")?;
    if let Some(settings) = settings {
        let files: Vec<_> =
            settings.files.iter().map(|(path, text)| (path.as_str(), text.as_str(), 0o644)).collect();
        add_files(&root, &files).map_err(while_doing("copy this machine's settings"))?;
        if settings.has_authorities {
            run(Command::new("chroot").arg(&root).arg("update-ca-certificates"), "ca-certificates")?;
        }
    }
    if !has_kernel {
        make_image(&root, &image, BYTES, false, |_unfinished| Ok(()))?;
        return Ok(image);
    }
    // Debian's kernel packages keep these links, so an upgrade boots without a change to the boot loader.
    let uuid = format!("UUID={UUID}");
    let boot = bootable::Boot { kernel: "/vmlinuz", initrd: "/initrd.img", root: &uuid, uuid: UUID };
    bootable::make_disk(&root, &image, BYTES, &boot, |_unfinished| Ok(()))?;
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

fn add_files(root: &Path, files: &[(&str, &str, u32)]) -> io::Result<()> {
    for (path, content, mode) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root))?;
        // What is there may be a link to another program.
        let _ = fs::remove_file(&path);
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    Ok(())
}
