//! This machine as a VM of the region: volumes become block devices here, for real. Needs root, loop devices and the
//! programs of the tiny image; prints why it skips where they are missing.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount, umount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

mod served;

use served::{KEYS, Served, has_curl};

/// For whatever should happen soon; only failures take this long.
const PATIENCE: Duration = Duration::from_secs(180);

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "it did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A sandbox, and what it says about this machine.
struct World {
    sandbox: Served,
    vm_id: String,
    subregion: String,
    state: tempfile::TempDir,
}

impl World {
    /// `None`, with the reason printed, where this machine cannot.
    async fn start(more: &[&str]) -> Option<Self> {
        let state = tempfile::tempdir().unwrap();
        let cache = std::env::temp_dir().join("oapi-sandbox-test-images");
        let options = [
            "--backend",
            "none",
            "--host-vm",
            "--state-dir",
            path(state.path()),
            "--image-cache",
            path(&cache),
        ];
        if !has_curl() {
            return None;
        }
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: it needs root");
            return None;
        }
        let sandbox = match Served::start_with(&[&options, more].concat()).await {
            Ok(sandbox) => sandbox,
            Err(error) => {
                println!("skipped: {error:#}");
                return None;
            }
        };
        let vms = sandbox.call("ReadVms", json!({})).await;
        let vm = &vms["Vms"][0];
        let (vm_id, subregion) = (text(&vm["VmId"]), text(&vm["Placement"]["SubregionName"]));
        Some(Self { sandbox, vm_id, subregion, state })
    }

    async fn create(&self, snapshot_id: Option<&str>) -> String {
        let mut body = json!({ "SubregionName": self.subregion, "Size": 1 });
        if let Some(snapshot_id) = snapshot_id {
            body["SnapshotId"] = json!(snapshot_id);
        }
        let volume_id = text(&self.sandbox.call("CreateVolume", body).await["Volume"]["VolumeId"]);
        until("the volume is available", async || self.volume(&volume_id).await["State"] == "available")
            .await;
        volume_id
    }

    async fn volume(&self, volume_id: &str) -> Value {
        let filters = json!({ "Filters": { "VolumeIds": [volume_id] } });
        self.sandbox.call("ReadVolumes", filters).await["Volumes"][0].clone()
    }

    async fn order_link(&self, volume_id: &str, device: &str) -> Value {
        let body = json!({ "VolumeId": volume_id, "VmId": self.vm_id, "DeviceName": device });
        self.sandbox.call("LinkVolume", body).await
    }

    /// Links a volume under a name that no other test has, and answers the letters of the name.
    async fn link(&self, volume_id: &str) -> String {
        for second in 'a'..='z' {
            let letters = format!("y{second}");
            let answer = self.order_link(volume_id, &format!("/dev/xvd{letters}")).await;
            if answer["Errors"][0]["Code"] == "9003" {
                continue;
            }
            assert!(answer["Errors"].is_null(), "{answer}");
            until("the volume is attached", async || self.link_state(volume_id).await == "attached").await;
            return letters;
        }
        unreachable!("no name is free: {:?}", links());
    }

    async fn link_state(&self, volume_id: &str) -> String {
        text(&self.volume(volume_id).await["LinkedVolumes"][0]["State"])
    }

    async fn unlink(&self, volume_id: &str) -> Value {
        self.sandbox.call("UnlinkVolume", json!({ "VolumeId": volume_id })).await
    }

    async fn is_available(&self, volume_id: &str) -> bool {
        let volume = self.volume(volume_id).await;
        volume["State"] == "available" && volume["LinkedVolumes"] == json!([])
    }

    /// Loop devices on files of this world.
    fn loop_devices(&self) -> Vec<PathBuf> {
        loop_devices_below(self.state.path())
    }
}

fn loop_devices_below(folder: &Path) -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/block").unwrap().map(|entry| entry.unwrap().path());
    let is_ours = |device: &PathBuf| {
        fs::read_to_string(device.join("loop/backing_file")).is_ok_and(|file| file.starts_with(path(folder)))
    };
    devices.filter(is_ours).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn dev(letters: &str) -> PathBuf {
    PathBuf::from(format!("/dev/xvd{letters}"))
}

fn by_id(letters: &str) -> PathBuf {
    PathBuf::from(format!("/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_sd{letters}"))
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

fn links() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|entry| path(entry).starts_with("/dev/xvd")).collect()
}

/// Writes an MBR with partitions of 100 MiB each, as a program that knows nothing of kernels would.
fn write_table(device: &Path, partitions: u32) {
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xAA]);
    for number in 0..partitions {
        let (start, length) = (2048 + number * 204_800, 204_800u32);
        let entry = &mut sector[446 + 16 * number as usize..][..16];
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&length.to_le_bytes());
    }
    let mut file = fs::OpenOptions::new().write(true).open(device).unwrap();
    std::io::Write::write_all(&mut file, &sector).unwrap();
}

/// A mount that ends with it.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(device: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount(Some(device), folder.path(), Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
        Self(folder)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount(self.0.path()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_volume_is_a_disk_here_and_what_is_written_stays() {
    let Some(world) = World::start(&[]).await else { return };
    let volume_id = world.create(None).await;
    let letters = world.link(&volume_id).await;
    let (disk, first) = (dev(&letters), dev(&format!("{letters}1")));
    assert!(is_device(&disk) && is_device(&by_id(&letters)) && !exists(&first));
    let taken = world.order_link(&world.create(None).await, path(&disk)).await;
    assert_eq!(taken["Errors"][0]["Code"], "9003");

    write_table(&disk, 2);
    let second = dev(&format!("{letters}2"));
    until("the partitions are there", async || is_device(&first) && is_device(&second)).await;
    write_table(&disk, 1);
    until("the second partition is gone", async || !exists(&second) && is_device(&first)).await;
    assert!(is_device(Path::new(&format!("{}-part1", by_id(&letters).display()))));

    assert!(Command::new("mke2fs").args(["-q", "-t", "ext4", path(&first)]).status().unwrap().success());
    let mounted = Mounted::new(&first);
    fs::write(mounted.0.path().join("baked"), "bread").unwrap();
    assert!(world.unlink(&volume_id).await["Errors"].is_null());
    assert_eq!(world.link_state(&volume_id).await, "detaching");
    // A snapshot has what is written by then, although it is still mounted.
    let snapshot = world.sandbox.call("CreateSnapshot", json!({ "VolumeId": volume_id })).await;
    let snapshot_id = text(&snapshot["Snapshot"]["SnapshotId"]);
    let deleted = world.sandbox.call("DeleteVolume", json!({ "VolumeId": volume_id })).await;
    assert_eq!(deleted["Errors"][0]["Code"], "6007");
    assert!(is_device(&first) && world.link_state(&volume_id).await == "detaching");
    drop(mounted);
    until("the volume is free", async || world.is_available(&volume_id).await).await;
    assert!(!exists(&disk) && !exists(&first) && !exists(&by_id(&letters)));
    assert_eq!(world.loop_devices(), Vec::<PathBuf>::new());

    let filters = json!({ "Filters": { "SnapshotIds": [snapshot_id] } });
    until("the snapshot is complete", async || {
        let snapshots = world.sandbox.call("ReadSnapshots", filters.clone()).await;
        snapshots["Snapshots"][0]["State"] == "completed"
    })
    .await;
    let copy_id = world.create(Some(&snapshot_id)).await;
    let letters = world.link(&copy_id).await;
    let mounted = Mounted::new(&dev(&format!("{letters}1")));
    assert_eq!(fs::read_to_string(mounted.0.path().join("baked")).unwrap(), "bread");
    drop(mounted);
    // The end takes everything away that is still there.
    world.sandbox.stop().await;
    assert!(!exists(&dev(&letters)) && !exists(&by_id(&letters)));
    assert_eq!(loop_devices_below(world.state.path()), Vec::<PathBuf>::new());
    assert!(!world.state.path().join("host-devices.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_taken_by_devices_and_by_other_sandboxes() {
    let Some(world) = World::start(&[]).await else { return };
    let Some(other) = World::start(&[]).await else { return };
    let volume_id = world.create(None).await;
    let letters = world.link(&volume_id).await;
    let other_volume = other.create(None).await;
    for name in [format!("/dev/xvd{letters}"), format!("/dev/sd{letters}")] {
        assert_eq!(other.order_link(&other_volume, &name).await["Errors"][0]["Code"], "9003");
    }
    let free = dev(&other.link(&other_volume).await);
    world.unlink(&volume_id).await;
    until("the volume is free", async || world.is_available(&volume_id).await).await;
    world.sandbox.stop().await;
    assert!(is_device(&free), "the end of one sandbox took another one's device");
    other.sandbox.stop().await;
    assert!(!exists(&free));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_can_be_left_out_as_in_vms_without_rules() {
    let Some(world) = World::start(&[]).await else { return };
    let quirk = async |links: &str| {
        world.sandbox.control(reqwest::Method::POST, "quirks", Some(json!({ "host_vm_links": links }))).await
    };
    for (links, has_by_id) in [("by_id", true), ("none", false)] {
        quirk(links).await;
        let volume_id = world.create(None).await;
        let letters = world.link(&volume_id).await;
        assert_eq!(world.loop_devices().len(), 1);
        assert_eq!((exists(&dev(&letters)), is_device(&by_id(&letters))), (false, has_by_id), "{links}");
        world.unlink(&volume_id).await;
        until("the volume is free", async || world.is_available(&volume_id).await).await;
        assert!(!exists(&by_id(&letters)) && world.loop_devices().is_empty());
    }
    world.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_do_anything_to_the_machine_itself() {
    let Some(world) = World::start(&[]).await else { return };
    let call =
        async |action: &str, body: Value| text(&world.sandbox.call(action, body).await["Errors"][0]["Code"]);
    let one = || json!({ "VmIds": [world.vm_id] });
    assert_eq!(call("StopVms", one()).await, "8000");
    assert_eq!(call("RebootVms", one()).await, "8000");
    assert_eq!(call("StartVms", one()).await, "9002");
    assert_eq!(call("DeleteVms", one()).await, "8018");
    assert_eq!(call("UpdateVm", json!({ "VmId": world.vm_id, "DeletionProtection": false })).await, "8000");
    assert_eq!(call("CreateImage", json!({ "VmId": world.vm_id, "ImageName": "me" })).await, "8000");
    let vms = world.sandbox.call("ReadVms", json!({})).await;
    assert_eq!(
        (&vms["Vms"][0]["State"], &vms["Vms"][0]["DeletionProtection"]),
        (&json!("running"), &json!(true))
    );
    let root = vms["Vms"][0]["BlockDeviceMappings"][0]["Bsu"]["VolumeId"].clone();
    assert_eq!(call("CreateSnapshot", json!({ "VolumeId": root })).await, "8000");
    assert_eq!(call("UnlinkVolume", json!({ "VolumeId": root })).await, "6006");
    assert_eq!(call("DeleteVolume", json!({ "VolumeId": root })).await, "6007");
    // Not what a test has made.
    let resources = world.sandbox.control(reqwest::Method::GET, "resources?seeds=false", None).await;
    assert_eq!((&resources["vms"], &resources["volumes"]), (&json!([]), &json!([])));
    world.sandbox.stop().await;
}

async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_finds_its_metadata_and_the_keys_of_its_role() {
    let Some(world) = World::start(&["--role", "baker", "--role-lifetime", "36h"]).await else { return };
    let metadata = format!("{}/latest/meta-data", world.sandbox.url);
    assert_eq!(get(&format!("{metadata}/instance-id")).await, (200, world.vm_id.clone()));
    assert_eq!(get(&format!("{metadata}/placement/availability-zone")).await, (200, world.subregion.clone()));
    assert!(get(&format!("{metadata}/")).await.1.lines().any(|line| line == "iam/"));
    assert_eq!(get(&format!("{metadata}/nothing")).await.0, 404);
    let role = format!("{metadata}/iam/security-credentials");
    assert_eq!(get(&format!("{role}/")).await, (200, "baker".to_owned()));
    assert_eq!(get(&format!("{role}/other")).await.0, 404);
    let keys: Value = serde_json::from_str(&get(&format!("{role}/baker")).await.1).unwrap();
    let (access_key, secret_key) = (text(&keys["AccessKeyId"]), text(&keys["SecretAccessKey"]));
    let read = async |keys: (&str, &str)| -> Value {
        let path = "/api/v1/ReadAccounts";
        serde_json::from_slice(&world.sandbox.curl("osc:osc:eu-west-2:api", keys, path, "{}").await.stdout)
            .unwrap()
    };
    assert_eq!(read((&access_key, &secret_key)).await["Accounts"], read(KEYS).await["Accounts"]);
    assert_eq!(read((&access_key, "wrong")).await["Errors"][0]["Code"], "1");
    // After their time they are as unknown as any other.
    let skew = json!({ "skew_seconds": 37 * 3600 });
    let later: Value = {
        let quirk = json!({ "signature_window_seconds": 100 * 3600 });
        world.sandbox.control(reqwest::Method::POST, "quirks", Some(quirk)).await;
        world.sandbox.control(reqwest::Method::POST, "clock", Some(skew)).await;
        serde_json::from_str(&get(&format!("{role}/baker")).await.1).unwrap()
    };
    assert_eq!(read((&access_key, &secret_key)).await["Errors"][0]["Code"], "4120");
    let (access_key, secret_key) = (text(&later["AccessKeyId"]), text(&later["SecretAccessKey"]));
    assert!(read((&access_key, &secret_key)).await["Accounts"].is_array());
    let calls = world.sandbox.control(reqwest::Method::GET, "calls", None).await.to_string();
    assert!(calls.contains("ReadAccounts") && !calls.contains(&secret_key) && !calls.contains(&access_key));
    let quirk = json!({ "role_token_required": true });
    world.sandbox.control(reqwest::Method::POST, "quirks", Some(quirk)).await;
    assert_eq!(read((&access_key, &secret_key)).await["Errors"][0]["Code"], "1");
    world.sandbox.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_option_there_is_no_such_vm() {
    let sandbox = Served::start().await;
    assert_eq!(get(&format!("{}/latest/meta-data/instance-id", sandbox.url)).await.0, 404);
    let resources = sandbox.control(reqwest::Method::GET, "resources", None).await;
    assert_eq!(resources["vms"], json!([]));
    sandbox.stop().await;
    let error = Served::start_with(&["--backend", "none", "--role", "baker"]).await.err().unwrap();
    assert!(error.to_string().contains("--host-vm"), "{error}");
}

/// A sandbox in a process of its own, which can be killed.
struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(state: &Path) -> Self {
        let cache = std::env::temp_dir().join("oapi-sandbox-test-images");
        let mut child = Command::new(env!("CARGO_BIN_EXE_oapi-sandbox"))
            .args(["--listen", "127.0.0.1:0", "--backend", "none", "--state-dir", path(state)])
            .args(["--image-cache", path(&cache)])
            .env("OAPI_SANDBOX_HOST_VM", "true")
            .envs([("OSC_ACCESS_KEY", KEYS.0), ("OSC_SECRET_KEY", KEYS.1)])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, url }
    }

    fn end(&mut self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_sandbox_leaves_goes_at_its_next_start() {
    // Only to see whether this machine can.
    let Some(probe) = World::start(&[]).await else { return };
    probe.sandbox.stop().await;
    let state = tempfile::tempdir().unwrap();
    let mut process = Process::start(state.path());
    let vm_id = get(&format!("{}/latest/meta-data/instance-id", process.url)).await.1;
    let world = World { sandbox: Served::of(&process.url), vm_id, subregion: "eu-west-2a".to_owned(), state };
    let volume_id = world.create(None).await;
    let disk = dev(&world.link(&volume_id).await);
    write_table(&disk, 1);
    let first = PathBuf::from(format!("{}1", disk.display()));
    until("the partition is there", async || is_device(&first)).await;
    process.end(Signal::SIGKILL);
    assert!(exists(&disk) && exists(&first));

    let mut process = Process::start(world.state.path());
    assert!(!exists(&disk) && !exists(&first));
    until("the kernel frees the loop device", async || world.loop_devices().is_empty()).await;
    // It is the same VM still.
    assert_eq!(get(&format!("{}/latest/meta-data/instance-id", process.url)).await.1, world.vm_id);
    let world = World { sandbox: Served::of(&process.url), ..world };
    let volume_id = world.create(None).await;
    let disk = dev(&world.link(&volume_id).await);
    process.end(Signal::SIGTERM);
    assert!(!exists(&disk) && world.loop_devices().is_empty());
}
