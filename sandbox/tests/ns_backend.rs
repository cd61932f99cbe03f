//! Namespace VMs, for real: booted from the tiny image, reached with this machine's ssh, scp and sftp. Needs root and
//! the programs of the tiny image; prints why it skips where they are missing.
#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail by panicking, as tests do")]

use std::{
    collections::HashMap,
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use oapi_sandbox::{
    backend::{
        Backend, BootMode, Disk, InboundRule, Metadata, PowerEvent, VmSpec,
        net::NetOptions,
        ns::{NsBackend, NsConfig},
    },
    machine::{DiskStore, seed},
};

mod address;

use address::{AddressLease, AddressRange};

/// For whatever should happen soon; only failures take this long.
const PATIENCE: Duration = Duration::from_secs(180);
const GIB: u64 = 1 << 30;

/// An instance's metadata as the region would serve it.
struct MemoryMetadata(HashMap<String, Vec<u8>>);

impl Metadata for MemoryMetadata {
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }
}

impl MemoryMetadata {
    fn of(instance: &str, public_key: &str, user_data: &str) -> Arc<Self> {
        let entries = [
            ("meta-data/instance-id", instance),
            ("meta-data/public-keys/0/openssh-key", public_key),
            ("user-data", user_data),
        ];
        let entries = entries.map(|(path, body)| (path.to_owned(), body.as_bytes().to_vec()));
        Arc::new(Self(entries.into_iter().collect()))
    }
}

/// A backend with a store and the tiny image in it.
struct World {
    backend: NsBackend,
    store: DiskStore,
    tiny: PathBuf,
    addresses: AddressRange,
    events: Arc<Mutex<Vec<(String, PowerEvent)>>>,
    dir: tempfile::TempDir,
}

impl World {
    /// `None`, with the reason printed, where this machine cannot.
    async fn new() -> Option<Self> {
        Self::with_network(false).await
    }

    async fn with_network(outbound: bool) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let config = NsConfig {
            run_dir: dir.path().join("run"),
            net: NetOptions { outbound, ..NetOptions::default() },
            program: Some(PathBuf::from(env!("CARGO_BIN_EXE_oapi-sandbox"))),
        };
        let backend = match NsBackend::new(config) {
            Ok(backend) => backend,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        // Shared by all tests, so that it is built once.
        let tiny = match seed::build_tiny(&std::env::temp_dir().join("oapi-sandbox-test-images"), false).await
        {
            Ok(tiny) => tiny,
            Err(error @ seed::SeedError::Missing { .. }) => {
                println!("skipped: {error}");
                return None;
            }
            Err(error) => panic!("the tiny image cannot be built: {error}"),
        };
        let events: Arc<Mutex<Vec<_>>> = Arc::default();
        let listener = Arc::clone(&events);
        backend.on_power(Arc::new(move |vm, event| {
            listener.lock().expect("events").push((vm.to_owned(), event))
        }));
        let store = DiskStore::open(dir.path().join("disks")).expect("a store");
        let addresses = "127.80.0.0/12".parse().expect("a range");
        Some(Self { backend, store, tiny, addresses, events, dir })
    }

    async fn volume(&self, id: &str, from: &Path, bytes: u64) -> PathBuf {
        self.store.copy(from, id, bytes).await.expect("a volume")
    }

    fn spec(&self, vm: &str, file: PathBuf, address: Ipv4Addr, metadata: Arc<MemoryMetadata>) -> VmSpec {
        VmSpec {
            vm_id: vm.to_owned(),
            hostname: format!("ip-{}", address.to_string().replace('.', "-")),
            addresses: vec![address],
            boot_mode: BootMode::Legacy,
            root: Disk { volume_id: format!("vol-{vm}"), device_name: "/dev/sda1".to_owned(), file },
            volumes: vec![],
            inbound: vec![open(22)],
            metadata,
        }
    }

    fn lease(&self) -> AddressLease {
        self.addresses.lease(22).expect("an address")
    }

    fn events(&self) -> Vec<(String, PowerEvent)> {
        self.events.lock().expect("events").clone()
    }

    /// Loop devices on files of this world. As long as any process or mount of a VM is left, so is one of these.
    fn loop_devices(&self) -> Vec<String> {
        loop_devices_below(self.dir.path())
    }
}

fn loop_devices_below(dir: &Path) -> Vec<String> {
    let devices =
        fs::read_dir("/sys/block").expect("/sys/block").map(|entry| entry.expect("an entry").path());
    devices
        .filter_map(|device| fs::read_to_string(device.join("loop/backing_file")).ok())
        .filter(|file| file.starts_with(&*dir.to_string_lossy()))
        .collect()
}

fn open(port: u16) -> InboundRule {
    InboundRule { ports: (port, port), sources: vec!["0.0.0.0/0".to_owned()] }
}

/// A key pair in a file, and a client that uses it.
struct Client {
    key: PathBuf,
    public_key: String,
}

impl Client {
    fn new(dir: &Path, name: &str) -> Self {
        let key = dir.join(name);
        let status =
            Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
        assert!(status.expect("ssh-keygen").success());
        let public_key = fs::read_to_string(key.with_extension("pub")).expect("a public key");
        Self { key, public_key: public_key.trim().to_owned() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).arg("-i").arg(&self.key);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=180",
        ] {
            command.args(["-o", option]);
        }
        command
    }

    fn ssh(&self, address: Ipv4Addr, script: &str) -> Output {
        let output = self.command("ssh").arg(format!("outscale@{address}")).arg(script).output();
        output.expect("ssh")
    }

    /// What a script prints; it must succeed.
    fn run(&self, address: Ipv4Addr, script: &str) -> String {
        let output = self.ssh(address, script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

/// Whether sshd answers on an address.
fn banner(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
    let mut start = [0; 4];
    stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a time-out");
    stream.read_exact(&mut start).is_ok() && &start == b"SSH-"
}

/// Waits for a condition; fails when it does not come true.
async fn until(what: &str, mut condition: impl FnMut() -> bool + Send) {
    let start = Instant::now();
    while !tokio::task::block_in_place(&mut condition) {
        assert!(start.elapsed() < PATIENCE, "not true after {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_ssh(address: Ipv4Addr) {
    until("sshd answers", || banner((address, 22).into())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baked_disk_boots_as_another_instance_with_other_keys() {
    let Some(world) = World::new().await else { return };
    let lease = world.lease();
    let address = lease.address();
    let first = Client::new(world.dir.path(), "first");
    let second = Client::new(world.dir.path(), "second");
    let user_data = "#!/bin/sh\necho ran >>/root/user-data.log\n";

    let disk = world.volume("vol-1", &world.tiny, 3 * GIB).await;
    let metadata = MemoryMetadata::of("i-1", &first.public_key, user_data);
    world.backend.start(world.spec("i-1", disk.clone(), address, metadata.clone())).await.expect("started");
    until_ssh(address).await;

    assert_eq!(
        first.run(address, "id -un; hostname"),
        format!("outscale\nip-{}", address.to_string().replace('.', "-"))
    );
    assert_eq!(first.ssh(address, "exit 42").status.code(), Some(42));
    assert_eq!(first.run(address, "sudo -n true && MARK=kept sudo -E sh -c 'id -u; echo $MARK'"), "0\nkept");
    let free: u64 = first.run(address, "df -m / | awk 'END { print $4 }'").parse().expect("a number");
    assert!(free > 2500, "the file system was not grown to its volume: {free} MiB are free");
    assert_eq!(
        first.run(address, "readlink -f /dev/xvda; test -b /dev/vda && echo block"),
        "/dev/vda\nblock"
    );

    let sent = world.dir.path().join("sent");
    fs::write(&sent, "by scp").expect("a file");
    for (mode, target) in [("-O", "/tmp/old-scp"), ("-s", "/tmp/sftp-scp")] {
        let copy =
            first.command("scp").arg(mode).arg(&sent).arg(format!("outscale@{address}:{target}")).status();
        assert!(copy.expect("scp").success());
        assert_eq!(first.run(address, &format!("cat {target}")), "by scp");
    }
    let back = world.dir.path().join("back");
    let get =
        first.command("scp").arg("-O").arg(format!("outscale@{address}:/tmp/old-scp")).arg(&back).status();
    assert!(get.expect("scp").success());
    assert_eq!(fs::read_to_string(&back).expect("the file"), "by scp");
    let batch = world.dir.path().join("batch");
    fs::write(&batch, format!("put {} /tmp/by-sftp\n", sent.display())).expect("a file");
    let put = first.command("sftp").arg("-b").arg(&batch).arg(format!("outscale@{address}")).output();
    assert!(put.expect("sftp").status.success());

    until("the user data ran", || first.ssh(address, "sudo test -s /root/user-data.log").status.success())
        .await;
    first.run(address, "echo baked | sudo tee /etc/baked");
    let host_key = first.run(address, "cat /etc/ssh/ssh_host_ed25519_key.pub");
    world.backend.stop("i-1", false).await.expect("stopped");
    let console =
        String::from_utf8_lossy(&world.backend.console("i-1").await.expect("a console")).into_owned();
    assert!(console.contains("the user data ended with status 0"), "{console}");
    assert_eq!(world.loop_devices(), Vec::<String>::new());

    // The same instance keeps its keys and does not run its user data again.
    world.backend.start(world.spec("i-1", disk.clone(), address, metadata)).await.expect("started");
    until_ssh(address).await;
    assert_eq!(first.run(address, "cat /etc/ssh/ssh_host_ed25519_key.pub"), host_key);
    assert_eq!(first.run(address, "sudo cat /root/user-data.log"), "ran");
    world.backend.stop("i-1", true).await.expect("stopped");

    let copy = world.volume("vol-2", &disk, 0).await;
    let metadata = MemoryMetadata::of("i-2", &second.public_key, "");
    world.backend.start(world.spec("i-2", copy, address, metadata)).await.expect("started");
    until_ssh(address).await;
    assert_eq!(second.run(address, "cat /etc/baked /tmp/by-sftp"), "baked\nby scp");
    assert_ne!(second.run(address, "cat /etc/ssh/ssh_host_ed25519_key.pub"), host_key);
    assert!(!first.ssh(address, "true").status.success(), "the old key still opens the door");
    world.backend.destroy("i-2").await.expect("destroyed");
    assert_eq!(world.events(), [], "what was asked for was told as if the VM had done it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_plugged_in_partitioned_and_unplugged() {
    let Some(world) = World::new().await else { return };
    let lease = world.lease();
    let address = lease.address();
    let client = Client::new(world.dir.path(), "key");
    let root = world.volume("vol-root", &world.tiny, 0).await;
    let blank = world.store.create_blank("vol-data", 256 << 20).await.expect("a disk");
    let disk = Disk { volume_id: "vol-data".to_owned(), device_name: "/dev/xvdb".to_owned(), file: blank };
    let metadata = MemoryMetadata::of("i-1", &client.public_key, "");
    world.backend.start(world.spec("i-1", root, address, metadata)).await.expect("started");
    until_ssh(address).await;

    world.backend.attach("i-1", disk.clone()).await.expect("attached");
    assert_eq!(
        client
            .run(address, "readlink -f /dev/xvdb; readlink -f /dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sdb"),
        "/dev/sda\n/dev/sda",
        "as in the cloud, the first volume beside the root is sda whatever it was linked as"
    );
    client.run(
        address,
        "sudo mkfs.ext4 -q /dev/xvdb && sudo mount /dev/xvdb /mnt && echo data | sudo tee /mnt/file",
    );
    let refused = world.backend.detach("i-1", "vol-data").await.expect_err("a mounted volume was unplugged");
    assert!(format!("{:?}", refused).contains("/mnt"), "{refused:?}");

    world.backend.flush("vol-data").await.expect("flushed");
    let cat = Command::new("debugfs").args(["-R", "cat /file"]).arg(&disk.file).output().expect("debugfs");
    assert_eq!(
        String::from_utf8_lossy(&cat.stdout),
        "data\n",
        "a flushed volume's file lacks what was written"
    );

    client.run(address, "sudo umount /mnt");
    world.backend.detach("i-1", "vol-data").await.expect("detached");
    assert!(!client.ssh(address, "test -e /dev/xvdb").status.success());
    assert_eq!(world.loop_devices().len(), 1, "only the root volume is plugged in");

    world.backend.attach("i-1", disk.clone()).await.expect("attached");
    client.run(
        address,
        "sudo parted -s /dev/xvdb mklabel msdos mkpart primary ext4 1MiB 100MiB mkpart primary 100MiB 100%",
    );
    until("the partitions have nodes", || {
        client.ssh(address, "test -b /dev/xvdb1 -a -b /dev/xvdb2").status.success()
    })
    .await;
    client.run(address, "sudo mkfs.ext4 -q /dev/xvdb1 && sudo mount /dev/xvdb1 /mnt && echo part | sudo tee /mnt/file && sudo umount /mnt");
    world.backend.detach("i-1", "vol-data").await.expect("detached");
    assert!(!client.ssh(address, "test -e /dev/xvdb1").status.success());

    world.backend.attach("i-1", disk).await.expect("attached");
    assert_eq!(client.run(address, "sudo mount /dev/xvdb1 /mnt && cat /mnt/file"), "part");
    client.run(address, "sudo umount /mnt; sudo parted -s /dev/xvdb rm 2");
    until("the node is gone", || !client.ssh(address, "test -e /dev/xvdb2").status.success()).await;

    world.backend.destroy("i-1").await.expect("destroyed");
    assert_eq!(world.loop_devices(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn power_changes_from_inside_are_told() {
    let Some(world) = World::new().await else { return };
    let lease = world.lease();
    let address = lease.address();
    let client = Client::new(world.dir.path(), "key");
    let root = world.volume("vol-root", &world.tiny, 0).await;
    let metadata = MemoryMetadata::of("i-1", &client.public_key, "");
    world.backend.start(world.spec("i-1", root.clone(), address, metadata.clone())).await.expect("started");
    until_ssh(address).await;
    let boot = client.run(address, "cut -d ' ' -f 22 /proc/1/stat");

    client.ssh(address, "sudo reboot");
    until("the reboot is told", || !world.events().is_empty()).await;
    until_ssh(address).await;
    // When process 1 was started.
    assert_ne!(client.run(address, "cut -d ' ' -f 22 /proc/1/stat"), boot);

    world.backend.reboot("i-1").await.expect("rebooted");
    until_ssh(address).await;

    client.ssh(address, "sudo poweroff");
    until("the poweroff is told", || world.events().len() == 2).await;
    assert_eq!(world.loop_devices(), Vec::<String>::new());
    assert!(!banner((address, 22).into()));

    world.backend.start(world.spec("i-1", root, address, metadata)).await.expect("started");
    until_ssh(address).await;
    client.ssh(address, "sudo shutdown -h now");
    until("the shutdown is told", || world.events().len() == 3).await;
    let told: Vec<PowerEvent> = world.events().into_iter().map(|(_vm, event)| event).collect();
    assert_eq!(told, [PowerEvent::Rebooted, PowerEvent::PoweredOff, PowerEvent::PoweredOff]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_rules_open_comes_in() {
    let Some(world) = World::new().await else { return };
    let (lease, other) = (world.lease(), world.lease());
    let client = Client::new(world.dir.path(), "key");
    let root = world.volume("vol-root", &world.tiny, 0).await;
    let mut spec =
        world.spec("i-1", root, lease.address(), MemoryMetadata::of("i-1", &client.public_key, ""));
    spec.inbound = vec![];
    world.backend.start(spec).await.expect("started");
    let refused = |address: Ipv4Addr| {
        TcpStream::connect((address, 22))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    };
    assert!(refused(lease.address()));
    assert_eq!(world.backend.dial_address("i-1", 22), None);

    world.backend.set_inbound("i-1", vec![open(22)]).await.expect("opened");
    until_ssh(lease.address()).await;
    assert_eq!(world.backend.dial_address("i-1", 22), Some((lease.address(), 22).into()));

    let elsewhere = InboundRule { ports: (1, 65535), sources: vec!["10.0.0.0/8".to_owned()] };
    world.backend.set_inbound("i-1", vec![elsewhere]).await.expect("narrowed");
    assert!(!banner((lease.address(), 22).into()), "a source outside of the rule came in");

    world.backend.set_inbound("i-1", vec![open(22)]).await.expect("opened");
    world.backend.set_addresses("i-1", vec![other.address()]).await.expect("moved");
    until_ssh(other.address()).await;
    assert!(refused(lease.address()));

    world.backend.stop("i-1", true).await.expect("stopped");
    assert!(refused(other.address()));
    TcpListener::bind((other.address(), 22)).expect("the port is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_a_file_system_does_not_boot_and_leaves_nothing() {
    let Some(world) = World::new().await else { return };
    let lease = world.lease();
    let blank = world.store.create_blank("vol-blank", 64 << 20).await.expect("a disk");
    let spec = world.spec("i-1", blank, lease.address(), MemoryMetadata::of("i-1", "", ""));
    let error = world.backend.start(spec).await.expect_err("a blank disk booted");
    assert!(format!("{error:?}").contains("could not mount the root volume"), "{error:?}");
    until("nothing is left", || world.loop_devices().is_empty()).await;
    until("the port is free", || TcpListener::bind((lease.address(), 22)).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_backend_ends_its_vms() {
    let Some(world) = World::new().await else { return };
    let lease = world.lease();
    let root = world.volume("vol-root", &world.tiny, 0).await;
    let spec = world.spec("i-1", root, lease.address(), MemoryMetadata::of("i-1", "", ""));
    world.backend.start(spec).await.expect("started");
    until_ssh(lease.address()).await;
    let World { backend, dir, .. } = world;
    drop(backend);
    until("nothing is left", || loop_devices_below(dir.path()).is_empty()).await;
    until("the port is free", || TcpListener::bind((lease.address(), 22)).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_vms_boot_at_once_and_leave_nothing() {
    let Some(world) = World::new().await else { return };
    let client = Client::new(world.dir.path(), "key");
    let leases: Vec<AddressLease> = (0..20).map(|_| world.lease()).collect();
    let started = Instant::now();
    let boots = leases.iter().enumerate().map(|(number, lease)| {
        let (world, client) = (&world, &client);
        async move {
            let vm = format!("i-{number}");
            let root = world.volume(&format!("vol-{vm}"), &world.tiny, 0).await;
            let metadata = MemoryMetadata::of(&vm, &client.public_key, "");
            world.backend.start(world.spec(&vm, root, lease.address(), metadata)).await.expect("started");
        }
    });
    join_all(boots).await;
    for lease in &leases {
        until_ssh(lease.address()).await;
    }
    println!("20 VMs answer on SSH after {:?}", started.elapsed());
    for lease in &leases {
        assert_eq!(
            client.run(lease.address(), "hostname"),
            format!("ip-{}", lease.address().to_string().replace('.', "-"))
        );
    }
    join_all((0..20).map(|number| {
        let world = &world;
        async move { world.backend.destroy(&format!("i-{number}")).await.expect("destroyed") }
    }))
    .await;
    assert_eq!(world.loop_devices(), Vec::<String>::new());
    assert!(
        leases.iter().all(|lease| TcpListener::bind((lease.address(), 22)).is_ok()),
        "a port is still bound"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "builds a Debian from a mirror, which takes a minute"]
async fn a_debian_boots_installs_a_package_and_powers_off() {
    let Some(world) = World::with_network(true).await else { return };
    let debian = seed::build_debian(
        &std::env::temp_dir().join("oapi-sandbox-test-images"),
        seed::DebianOptions::default(),
    )
    .await
    .expect("a Debian");
    let lease = world.lease();
    let address = lease.address();
    let client = Client::new(world.dir.path(), "key");
    let root = world.volume("vol-root", &debian, 0).await;
    let metadata = MemoryMetadata::of("i-1", &client.public_key, "");
    world.backend.start(world.spec("i-1", root, address, metadata)).await.expect("started");
    until_ssh(address).await;
    client.run(
        address,
        "grep -q 'Debian GNU/Linux 12' /etc/os-release && sudo -n true && python3 -c 'print(1)'",
    );
    client.run(
        address,
        "sudo apt-get -qq update && sudo apt-get -qq install -y --no-install-recommends hello && hello",
    );
    client.ssh(address, "sudo poweroff");
    until("the poweroff is told", || world.events() == [("i-1".to_owned(), PowerEvent::PoweredOff)]).await;
}

/// Runs futures together on one task.
async fn join_all<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// The other process of the next test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is started, and killed, by killing_the_sandbox_leaves_nothing"]
async fn a_sandbox_that_waits_to_be_killed() {
    let Ok(report) = std::env::var("REPORT_FILE") else { return };
    let world = World::new().await.expect("a world");
    let lease = world.lease();
    let root = world.volume("vol-root", &world.tiny, 0).await;
    world
        .backend
        .start(world.spec("i-1", root, lease.address(), MemoryMetadata::of("i-1", "", "")))
        .await
        .expect("started");
    until_ssh(lease.address()).await;
    let unfinished = format!("{report}.part");
    fs::write(&unfinished, format!("{}\n{}", world.dir.path().display(), lease.address())).expect("a report");
    fs::rename(&unfinished, &report).expect("a report");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_sandbox_leaves_nothing() {
    let Some(world) = World::new().await else { return };
    let report = world.dir.path().join("report");
    let mut sandbox = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "--ignored", "a_sandbox_that_waits_to_be_killed"])
        .env("REPORT_FILE", &report)
        .stdout(Stdio::null())
        .spawn()
        .expect("another sandbox");
    until("the other sandbox has a VM", || report.exists()).await;
    let report = fs::read_to_string(report).expect("the report");
    let (dir, address) = report.split_once('\n').expect("two lines");
    let (dir, address): (&Path, Ipv4Addr) = (dir.as_ref(), address.parse().expect("an address"));
    assert_eq!(loop_devices_below(dir).len(), 1);

    sandbox.kill().expect("killed");
    sandbox.wait().expect("reaped");

    until("its loop device is free", || loop_devices_below(dir).is_empty()).await;
    assert!(TcpListener::bind((address, 22)).is_ok(), "its port is still bound");
    fs::remove_dir_all(dir).expect("its folder can be removed");
}
