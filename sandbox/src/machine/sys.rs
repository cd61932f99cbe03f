//! The system calls that neither std nor nix offers safely: loop devices, reflinks, the loopback interface, and
//! starting a process in namespaces of its own. The only place of the sandbox with `unsafe`; each function is as small
//! as the call allows and keeps its promises whatever a safe caller passes.
#![expect(
    unsafe_code,
    reason = "thin wrappers of ioctl, prctl, clone and netlink, for which there is no safe API"
)]

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    ptr,
};

use nix::{
    sched::{CloneFlags, clone},
    unistd::Pid,
};
use tokio::io::{Interest, unix::AsyncFd};

const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_PARTSCAN: u32 = 8;
const FICLONE: libc::c_ulong = 0x4004_9409;
const BLKFLSBUF: libc::c_ulong = 0x1261;
const BLKPG: libc::c_ulong = 0x1269;
const BLKPG_ADD_PARTITION: libc::c_int = 1;
const BLKPG_DEL_PARTITION: libc::c_int = 2;
const TUNSETIFF: libc::c_ulong = 0x4004_54CA;
const TUNSETPERSIST: libc::c_ulong = 0x4004_54CB;
const NETLINK_KOBJECT_UEVENT: libc::c_int = 15;

/// The file descriptor on which a process started by [`spawn_in_namespaces`] reports that it failed.
pub const STATUS_FD: RawFd = 3;

#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    number: libc::c_int,
    device_name: [u8; 64],
    volume_name: [u8; 64],
}

#[repr(C)]
struct BlkpgArgument {
    operation: libc::c_int,
    flags: libc::c_int,
    length: libc::c_int,
    data: *mut BlkpgPartition,
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The number of a loop device that was free a moment ago (`LOOP_CTL_GET_FREE`); made if there was none.
pub fn loop_get_free(control: &File) -> io::Result<u32> {
    // SAFETY: the call takes no pointer.
    let number = check(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
    u32::try_from(number).map_err(io::Error::other)
}

/// Binds a loop device to a file (`LOOP_CONFIGURE`); it is freed by itself when nobody has it open any more.
/// With `scans` the kernel takes requests to read the partition table anew, as of other disks.
/// `EBUSY` when somebody else was faster.
pub fn loop_configure(device: &File, backing: &File, scans: bool) -> io::Result<()> {
    // SAFETY: the structure is plain data for which all zeroes are valid.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    config.info.flags = LO_FLAGS_AUTOCLEAR | if scans { LO_FLAGS_PARTSCAN } else { 0 };
    // SAFETY: the kernel reads one LoopConfig, which lives until the call returns.
    check(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &config) }).map(drop)
}

/// Makes `to` share the blocks of `from` (`FICLONE`); an error where the file system cannot.
pub fn reflink(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: the call takes a file descriptor by value.
    check(unsafe { libc::ioctl(to.as_raw_fd(), FICLONE, from.as_raw_fd()) }).map(drop)
}

/// Writes what the page cache holds of a block device to the device (`BLKFLSBUF`).
pub fn flush_block_device(device: &File) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKFLSBUF, 0) }).map(drop)
}

/// Makes the kernel know a partition (`BLKPG_ADD_PARTITION`); start and length in bytes. `EBUSY` if it overlaps another.
pub fn add_partition(device: &File, number: u32, start: u64, length: u64) -> io::Result<()> {
    blkpg(device, BLKPG_ADD_PARTITION, number, start, length)
}

/// Makes the kernel forget a partition (`BLKPG_DEL_PARTITION`). `EBUSY` if somebody has it open, `ENXIO` if it is unknown.
pub fn delete_partition(device: &File, number: u32) -> io::Result<()> {
    blkpg(device, BLKPG_DEL_PARTITION, number, 0, 0)
}

fn blkpg(device: &File, operation: libc::c_int, number: u32, start: u64, length: u64) -> io::Result<()> {
    let mut partition = BlkpgPartition {
        start: i64::try_from(start).map_err(io::Error::other)?,
        length: i64::try_from(length).map_err(io::Error::other)?,
        number: i32::try_from(number).map_err(io::Error::other)?,
        device_name: [0; 64],
        volume_name: [0; 64],
    };
    let argument = BlkpgArgument {
        operation,
        flags: 0,
        length: size_of::<BlkpgPartition>() as libc::c_int,
        data: ptr::from_mut(&mut partition),
    };
    // SAFETY: the kernel reads one argument and the partition that it points to; both live until the call returns.
    check(unsafe { libc::ioctl(device.as_raw_fd(), BLKPG, &argument) }).map(drop)
}

/// Brings up `lo` of the calling thread's network namespace and gives it one more address, as a /32.
pub fn set_up_loopback(address: Ipv4Addr) -> io::Result<()> {
    let socket = control_socket()?;
    bring_up(&socket, c"lo")?;
    set_interface_address(&socket, c"lo:0", address, Ipv4Addr::new(255, 255, 255, 255))
}

/// Makes a tap interface that lasts as long as the calling thread's network namespace, and brings it up.
pub fn make_tap(name: &str, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    let name = CString::new(name)?;
    let control = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = interface_request(&name);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(control.as_raw_fd(), TUNSETIFF, &mut request) })?;
    // SAFETY: the call takes no pointer.
    check(unsafe { libc::ioctl(control.as_raw_fd(), TUNSETPERSIST, 1) })?;
    let socket = control_socket()?;
    set_interface_address(&socket, &name, address, mask)?;
    bring_up(&socket, &name)
}

/// Makes a socket send UDP packets without a checksum, which IPv4 allows.
pub fn send_without_checksum(socket: &std::net::UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads one int, which lives until the call returns.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            ptr::from_ref(&on).cast(),
            length,
        )
    })
    .map(drop)
}

/// A socket for questions about interfaces of the calling thread's network namespace.
fn control_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointer; the descriptor is owned by nobody else.
    unsafe {
        let socket = check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?;
        Ok(OwnedFd::from_raw_fd(socket))
    }
}

fn bring_up(socket: &OwnedFd, name: &CStr) -> io::Result<()> {
    let mut request = interface_request(name);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) }).map(drop)
}

fn set_interface_address(socket: &OwnedFd, name: &CStr, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
    for (call, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
        let mut request = interface_request(name);
        let ip = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(value.octets()) },
            sin_zero: [0; 8],
        };
        // SAFETY: sockaddr_in and sockaddr are both 16 bytes of plain data.
        request.ifr_ifru.ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(ip) };
        // SAFETY: the kernel reads one ifreq, which lives until the call returns.
        check(unsafe { libc::ioctl(socket.as_raw_fd(), call, &request) })?;
    }
    Ok(())
}

fn interface_request(name: &CStr) -> libc::ifreq {
    // SAFETY: the structure is plain data for which all zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request
}

/// Starts a program as process 1 of new mount, pid, UTS, IPC and cgroup namespaces, in the network namespace of the
/// calling thread. Standard output and error go to `console`, descriptor [`STATUS_FD`] is `status`, everything else
/// that is close-on-exec is closed, and the environment is empty.
pub fn spawn_in_namespaces(
    program: &CStr,
    arguments: &[CString],
    null: BorrowedFd<'_>,
    console: BorrowedFd<'_>,
    status: BorrowedFd<'_>,
) -> io::Result<Pid> {
    // A copy far above the descriptors that are replaced, so that dup2 never has the same source and target
    // (which would leave it close-on-exec).
    // SAFETY: fcntl takes no pointer here; the new descriptor is owned by nobody else.
    let status =
        unsafe { OwnedFd::from_raw_fd(check(libc::fcntl(status.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64))?) };
    let (null, console, status) = (null.as_raw_fd(), console.as_raw_fd(), status.as_raw_fd());
    let mut argv: Vec<*const libc::c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
    argv.push(ptr::null());
    let environment: [*const libc::c_char; 1] = [ptr::null()];
    let flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWCGROUP;
    let mut stack = vec![0u8; 64 * 1024];
    // Without CLONE_VM the child has a copy of the memory, in which other threads' locks may be held forever:
    // it may only make system calls until it is another program.
    let child = Box::new(|| -> isize {
        // SAFETY: only system calls; all pointers were made before the clone and are in the child's copy.
        unsafe {
            if libc::dup2(null, 0) >= 0
                && libc::dup2(console, 1) >= 0
                && libc::dup2(console, 2) >= 0
                && libc::dup2(status, STATUS_FD) >= 0
            {
                libc::execve(program.as_ptr(), argv.as_ptr(), environment.as_ptr());
            }
            libc::_exit(127)
        }
    });
    // SAFETY: the stack outlives the call, and the child has its own copy of it (no CLONE_VM).
    unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) }.map_err(io::Error::from)
}

/// The descriptor which [`spawn_in_namespaces`] gave to this process. Call at most once, in that process.
pub fn take_status_fd() -> File {
    // SAFETY: by contract the descriptor is open and belongs to the caller; closing it wrongly harms only this process.
    unsafe {
        libc::fcntl(STATUS_FD, libc::F_SETFD, libc::FD_CLOEXEC);
        File::from_raw_fd(STATUS_FD)
    }
}

/// A descriptor that becomes readable when the process has ended.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointer; the descriptor is owned by nobody else.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), libc::PIDFD_NONBLOCK);
        Ok(OwnedFd::from_raw_fd(check(fd as libc::c_int)?))
    }
}

/// Makes the runtime wait until a descriptor is readable. Call it inside of a tokio runtime.
pub fn when_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd stays the same open descriptor for as long as the AsyncFd owns it.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.map_err(io::Error::from)
}

/// Takes capabilities away from what this process executes from now on.
pub fn drop_from_bounding_set(capabilities: &[libc::c_ulong]) -> io::Result<()> {
    for capability in capabilities {
        // SAFETY: the call takes no pointer.
        check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, *capability, 0, 0, 0) })?;
    }
    Ok(())
}

/// Gives SIGPIPE its usual meaning back, which Rust's runtime took away and which programs inherit.
pub fn restore_sigpipe() {
    // SAFETY: no handler of ours is installed, only the default action.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// A non-blocking socket on which the kernel announces devices and partitions that come and go.
pub fn uevent_socket() -> io::Result<OwnedFd> {
    // SAFETY: socket() takes no pointer; the descriptor is owned by nobody else.
    let socket = unsafe {
        OwnedFd::from_raw_fd(check(libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            NETLINK_KOBJECT_UEVENT,
        ))?)
    };
    // SAFETY: the structure is plain data for which all zeroes are valid.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    address.nl_groups = 1;
    let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of the address, which lives until the call returns.
    check(unsafe { libc::bind(socket.as_raw_fd(), ptr::from_ref(&address).cast(), length) })?;
    Ok(socket)
}

/// Reads one message from a socket into `buffer`; returns its length.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes.
    let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(length).map_err(|_negative| io::Error::last_os_error())
}
