//! What runs between the clone and the image's own init: mounts the root volume, fills /proc, /sys and /dev, and
//! becomes process 1 of the image. It is the sandbox's program executed again, so that nothing here happens in a
//! copy of a threaded process, and it needs nothing from the image.

use std::{
    ffi::CString,
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        signal::SigSet,
        stat::{Mode, SFlag, makedev, mknod, umask},
    },
    unistd::{chdir, execve, pivot_root, setsid},
};
use serde::{Deserialize, Serialize};

use crate::machine::sys;

/// Linux's numbers of the capabilities that would reach the host's kernel: modules, and the clock. Rebooting stays:
/// in a pid namespace it ends the namespace, and is how the sandbox sees a poweroff.
const DROPPED_CAPABILITIES: [libc::c_ulong; 2] = [16, 25];
const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];
const CHARACTER_DEVICES: [(&str, u64, u64); 7] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("fuse", 10, 229),
];
/// Settings of the host's kernel that root in a VM must not turn.
const READ_ONLY_SETTINGS: [&str; 4] = ["kernel", "vm", "fs", "debug"];
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// For images that know nothing of namespaces, such as one that a recipe made with debootstrap: starts sshd.
const GENERIC_INIT: &str = include_str!("generic-init.sh");

/// The hidden first argument with which the sandbox starts itself as a VM's first process.
pub const VM_INIT: &str = "vm-init";

/// All that the new process must know; its one argument, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VmInit {
    /// The host name inside.
    pub hostname: String,
    /// The block device with the root file system, as the host names it.
    pub root_device: PathBuf,
    /// An empty folder of the host.
    pub mount_point: PathBuf,
    /// Block devices and links below /dev.
    pub nodes: Vec<Node>,
    /// The name server, where there is a network.
    pub name_server: Option<String>,
}

/// An entry in the VM's /dev.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Node {
    Block { name: String, device: u64 },
    Link { name: String, target: String },
}

impl Node {
    pub fn name(&self) -> &str {
        match self {
            Self::Block { name, .. } | Self::Link { name, .. } => name,
        }
    }

    /// Makes the entry in a /dev, replacing an older one.
    pub fn make(&self, dev: &Path) -> io::Result<()> {
        let path = dev.join(self.name());
        if let Some(folder) = path.parent().filter(|folder| *folder != dev) {
            fs::create_dir_all(folder)?;
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match self {
            Self::Block { device, .. } => {
                mknod(&path, SFlag::S_IFBLK, Mode::from_bits_truncate(0o660), *device)
                    .map_err(io::Error::from)
            }
            Self::Link { target, .. } => symlink(target, &path),
        }
    }
}

/// To be called first thing in `main`, before any thread is started: becomes a VM's first process if the command line
/// says so, and returns otherwise.
pub fn run_if_vm_init() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(VM_INIT) {
        vm_init_main(arguments.next().as_deref().unwrap_or_default());
    }
}

/// Becomes the first process of a VM, described by `argument`. What goes wrong is written to the status descriptor.
pub fn vm_init_main(argument: &str) -> ! {
    let mut status = sys::take_status_fd();
    let error = match serde_json::from_str::<VmInit>(argument) {
        Ok(vm) => match become_init(&vm) {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => format!("the description of the VM is wrong: {error}"),
    };
    let _ = status.write_all(error.as_bytes());
    std::process::exit(1)
}

/// For `map_err`: which step failed.
fn at<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    move |error| format!("could not {what}: {error}")
}

fn become_init(vm: &VmInit) -> Result<std::convert::Infallible, String> {
    // The VM dies with the thread that started it, even if that was killed with SIGKILL.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(at("bind to the sandbox"))?;
    setsid().map_err(at("leave the sandbox's session"))?;
    umask(Mode::from_bits_truncate(0o022));
    let root = vm.mount_point.as_path();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(at("make the mounts private"))?;
    mount_root(&vm.root_device, root)?;
    mount_system(root).map_err(at("mount the VM's /proc, /sys and /dev"))?;
    fill_dev(&root.join("dev"), &vm.nodes).map_err(at("fill the VM's /dev"))?;
    nix::unistd::sethostname(&vm.hostname).map_err(at("set the host name"))?;
    if let Some(address) = &vm.name_server {
        name_server(&root.join("etc/resolv.conf"), address).map_err(at("write the VM's /etc/resolv.conf"))?;
    }
    chdir(root).map_err(at("enter the root volume"))?;
    pivot_root(".", ".").map_err(at("make the volume the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(at("leave the host's root"))?;
    chdir("/").map_err(at("enter the new root"))?;
    hide_host_settings();
    sys::drop_from_bounding_set(&DROPPED_CAPABILITIES).map_err(at("drop capabilities"))?;
    SigSet::empty().thread_set_mask().map_err(at("unblock signals"))?;
    sys::restore_sigpipe();
    execute_init().map_err(at("start the image's first process"))
}

fn mount_root(device: &Path, root: &Path) -> Result<(), String> {
    let mut last_error = Errno::ENODEV;
    for file_system in FILE_SYSTEMS {
        // Barriers would make every sync inside wait for the host's own disk; the sandbox outlives no power cut anyway.
        // Initialising inode tables in the background would fill the holes of the volume's file.
        let options = (file_system == "ext4").then_some("barrier=0,noinit_itable");
        match mount(Some(device), root, Some(file_system), MsFlags::MS_NOATIME, options) {
            Ok(()) => return Ok(()),
            // Not this file system, or one that the kernel does not have.
            Err(error @ (Errno::EINVAL | Errno::ENODEV)) => last_error = error,
            Err(error) => return Err(format!("could not mount the root volume as {file_system}: {error}")),
        }
    }
    Err(format!(
        "could not mount the root volume: it holds none of {}: {last_error}",
        FILE_SYSTEMS.join(", ")
    ))
}

fn mount_system(root: &Path) -> io::Result<()> {
    let none = MsFlags::empty();
    let plan: [(&str, &str, MsFlags, Option<&str>); 5] = [
        ("proc", "proc", MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC, None),
        ("sys", "sysfs", MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None),
        // With tmpfs's usual mode 1777, nobody but the owner could write to /dev/null.
        ("dev", "tmpfs", MsFlags::MS_NOSUID, Some("mode=755,size=1m")),
        ("run", "tmpfs", MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755")),
        ("dev/pts", "devpts", MsFlags::MS_NOSUID, Some("newinstance,ptmxmode=0666,mode=620,gid=5")),
    ];
    for (folder, file_system, flags, options) in plan {
        let target = root.join(folder);
        fs::create_dir_all(&target)?;
        mount(Some(file_system), &target, Some(file_system), flags, options)?;
    }
    fs::create_dir(root.join("dev/shm"))?;
    mount(Some("shm"), &root.join("dev/shm"), Some("tmpfs"), none, Some("mode=1777"))?;
    Ok(())
}

fn fill_dev(dev: &Path, nodes: &[Node]) -> io::Result<()> {
    for (name, major, minor) in CHARACTER_DEVICES {
        mknod(&dev.join(name), SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(major, minor))?;
        // mknod obeys the umask.
        fs::set_permissions(dev.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    }
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("console", "/proc/1/fd/1"),
    ] {
        symlink(target, dev.join(name))?;
    }
    nodes.iter().try_for_each(|node| node.make(dev))
}

/// As a DHCP client would. What is there may be a link to nowhere.
fn name_server(path: &Path, address: &str) -> io::Result<()> {
    if path.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
        fs::remove_file(path)?;
    }
    // The image's own files are followed nowhere: the old root is still there.
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    writeln!(file, "nameserver {address}")
}

/// Accidents only: root in a namespace VM is root of this machine for whoever wants to be.
fn hide_host_settings() {
    let bind = |source: &str, target: &str| {
        mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    };
    let _ = bind("/dev/null", "/proc/sysrq-trigger");
    for name in READ_ONLY_SETTINGS {
        let path = format!("/proc/sys/{name}");
        if bind(&path, &path).is_ok() {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            let _ = mount(None::<&str>, path.as_str(), None::<&str>, flags, None::<&str>);
        }
    }
}

fn execute_init() -> Result<std::convert::Infallible, Errno> {
    let environment = [c_string(PATH), c_string("HOME=/"), c_string("TERM=linux")];
    for init in ["/sbin/init.ns", "/usr/sbin/init.ns"] {
        if Path::new(init).metadata().is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
        {
            return execve(&c_string(init), &[c_string("init")], &environment);
        }
    }
    execve(&c_string("/bin/sh"), &[c_string("init"), c_string("-c"), c_string(GENERIC_INIT)], &environment)
}

/// All arguments are our own text.
fn c_string(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}
