//! What a region does when its backend is slow, fails, or machines act by themselves; the contract test cannot
//! make a backend do that.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::sync::Notify;

use super::{addresses::Addresses, *};
use crate::{
    actions,
    backend::{BackendError, BackendFuture, Disk, InboundRule, PowerListener, VmSpec},
};

/// A backend that writes down its orders, and fails or waits as a test wants it.
#[derive(Default)]
struct ScriptedBackend {
    orders: Mutex<Vec<String>>,
    inbound: Mutex<HashMap<String, Vec<InboundRule>>>,
    fails_to_start: std::sync::atomic::AtomicBool,
    holds_starts: std::sync::atomic::AtomicBool,
    released: Notify,
    listener: Mutex<Option<PowerListener>>,
}

impl ScriptedBackend {
    fn note<'a>(&'a self, order: String) -> BackendFuture<'a, ()> {
        self.orders.lock().unwrap().push(order);
        Box::pin(async { Ok(()) })
    }

    fn orders(&self) -> Vec<String> {
        self.orders.lock().unwrap().clone()
    }
}

impl Backend for ScriptedBackend {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn on_power(&self, listener: PowerListener) {
        *self.listener.lock().unwrap() = Some(listener);
    }

    fn start(&self, spec: VmSpec) -> BackendFuture<'_, ()> {
        Box::pin(async move {
            self.orders.lock().unwrap().push("start".to_owned());
            if self.holds_starts.load(std::sync::atomic::Ordering::SeqCst) {
                self.released.notified().await;
            }
            self.inbound.lock().unwrap().insert(spec.vm_id.clone(), spec.inbound);
            if self.fails_to_start.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(BackendError::NoSuchVm(spec.vm_id));
            }
            self.orders.lock().unwrap().push("started".to_owned());
            Ok(())
        })
    }

    fn stop<'a>(&'a self, _vm_id: &'a str, _force: bool) -> BackendFuture<'a, ()> {
        self.note("stop".to_owned())
    }

    fn reboot<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, ()> {
        self.note("reboot".to_owned())
    }

    fn destroy<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, ()> {
        self.note("destroy".to_owned())
    }

    fn attach<'a>(&'a self, vm_id: &'a str, _disk: Disk) -> BackendFuture<'a, ()> {
        Box::pin(async move { Err(BackendError::NoSuchVm(vm_id.to_owned())) })
    }

    fn detach<'a>(&'a self, _vm_id: &'a str, _volume_id: &'a str) -> BackendFuture<'a, ()> {
        self.note("detach".to_owned())
    }

    fn flush<'a>(&'a self, _volume_id: &'a str) -> BackendFuture<'a, ()> {
        self.note("flush".to_owned())
    }

    fn set_addresses<'a>(&'a self, _vm_id: &'a str, _addresses: Vec<Ipv4Addr>) -> BackendFuture<'a, ()> {
        self.note("addresses".to_owned())
    }

    fn set_inbound<'a>(&'a self, vm_id: &'a str, rules: Vec<InboundRule>) -> BackendFuture<'a, ()> {
        self.inbound.lock().unwrap().insert(vm_id.to_owned(), rules);
        self.note("inbound".to_owned())
    }

    fn console<'a>(&'a self, _vm_id: &'a str) -> BackendFuture<'a, Vec<u8>> {
        Box::pin(async { Ok(vec![b'x'; 100_000]) })
    }

    fn dial_address(&self, _vm_id: &str, _port: u16) -> Option<SocketAddr> {
        None
    }
}

struct World {
    region: Arc<Region>,
    backend: Arc<ScriptedBackend>,
    image_id: String,
}

impl World {
    fn new() -> Self {
        let backend = Arc::new(ScriptedBackend::default());
        let latency = Latency::default();
        let region = Region::new(RegionParts {
            name: "eu-west-2".to_owned(),
            // Longer than any test lasts: what ends is seen to have ended.
            quirks: Quirks { terminated_visible_ms: 3_600_000, ..Quirks::beside(&latency) },
            latency,
            backend: Arc::clone(&backend) as Arc<dyn Backend>,
            disks: disks::Disks::new(None),
            addresses: Addresses::new("127.64.0.0/16".parse().unwrap(), None),
            seeds: vec![seed::SeedImage {
                name: "tiny-1.0".to_owned(),
                description: String::new(),
                size: 1,
                has_uefi: true,
                disk: None,
            }],
            host_vm: None,
        });
        let image_id = region.state().images.keys().next().unwrap().clone();
        Self { region, backend, image_id }
    }

    async fn call(&self, action: &str, body: Value) -> Reply {
        actions::run(&self.region, action, &body, &Call::default()).await.unwrap()
    }

    async fn create_vm(&self, mut more: Value) -> String {
        more["ImageId"] = json!(self.image_id);
        let answer = self.call("CreateVms", more).await.unwrap();
        answer["Vms"][0]["VmId"].as_str().unwrap().to_owned()
    }

    async fn state_of(&self, vm_id: &str) -> Option<Value> {
        let answer = self.call("ReadVms", json!({ "Filters": { "VmIds": [vm_id] } })).await.unwrap();
        answer["Vms"].as_array().unwrap().first().cloned()
    }

    async fn until(&self, vm_id: &str, state: &str) -> Value {
        self.until_true(|| async {
            let vm = self.state_of(vm_id).await;
            vm.filter(|vm| vm["State"] == state)
        })
        .await
    }

    async fn until_true<T, F: Future<Output = Option<T>>>(&self, look: impl Fn() -> F) -> T {
        let looking = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(180), looking).await.unwrap()
    }

    fn tell(&self, vm_id: &str, event: PowerEvent) {
        let listener = self.backend.listener.lock().unwrap().clone().unwrap();
        let vm_id = vm_id.to_owned();
        // As a backend does: from a thread that knows nothing of the runtime.
        std::thread::spawn(move || listener(&vm_id, event)).join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_whose_first_boot_fails_is_terminated_and_says_why() {
    let world = World::new();
    world.backend.fails_to_start.store(true, std::sync::atomic::Ordering::SeqCst);
    let vm_id = world.create_vm(json!({})).await;
    let vm = world.until(&vm_id, "terminated").await;
    assert_eq!(vm["StateReason"], "Server.InternalError");
    assert!(world.region.state().volumes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_vm_disappears_and_its_groups_linger() {
    let world = World::new();
    let hour = 3_600_000;
    let quirks =
        Quirks { terminated_visible_ms: 0, security_group_release_ms: hour, ..world.region.quirks() };
    world.region.set_quirks(quirks);
    let body = json!({ "SecurityGroupName": "g", "Description": "d" });
    let group = world.call("CreateSecurityGroup", body).await.unwrap();
    let group = group["SecurityGroup"]["SecurityGroupId"].clone();
    let vm_id = world.create_vm(json!({ "SecurityGroupIds": [group] })).await;
    world.call("DeleteVms", json!({ "VmIds": [vm_id] })).await.unwrap();
    world.until_true(|| async { world.state_of(&vm_id).await.is_none().then_some(()) }).await;
    let error = world.call("DeleteSecurityGroup", json!({ "SecurityGroupId": group })).await.unwrap_err();
    assert_eq!((error.status, error.code), (409, 9085));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_deleted_while_it_boots_is_destroyed_after_the_boot() {
    let world = World::new();
    world.backend.holds_starts.store(true, std::sync::atomic::Ordering::SeqCst);
    let vm_id = world.create_vm(json!({})).await;
    world.until_true(|| async { world.backend.orders().contains(&"start".to_owned()).then_some(()) }).await;
    let answer = world.call("DeleteVms", json!({ "VmIds": [vm_id] })).await.unwrap();
    assert_eq!(answer["Vms"][0]["PreviousState"], "pending");
    world.backend.released.notify_one();
    world.until(&vm_id, "terminated").await;
    assert_eq!(world.backend.orders(), ["start", "started", "destroy"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_inside_follows_the_vm_s_behaviour() {
    let world = World::new();
    for (behavior, state) in [("stop", "stopped"), ("terminate", "terminated")] {
        let vm_id = world.create_vm(json!({ "VmInitiatedShutdownBehavior": behavior })).await;
        world.until(&vm_id, "running").await;
        world.tell(&vm_id, PowerEvent::Rebooted);
        assert_eq!(world.state_of(&vm_id).await.unwrap()["State"], "running");
        world.tell(&vm_id, PowerEvent::PoweredOff);
        assert_eq!(world.until(&vm_id, state).await["StateReason"], "Client.GuestShutdown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_cannot_be_attached_is_free_again() {
    let world = World::new();
    let vm_id = world.create_vm(json!({})).await;
    world.until(&vm_id, "running").await;
    let volume =
        world.call("CreateVolume", json!({ "SubregionName": "eu-west-2a", "Size": 1 })).await.unwrap();
    let volume_id = volume["Volume"]["VolumeId"].as_str().unwrap().to_owned();
    let state = || async {
        let answer =
            world.call("ReadVolumes", json!({ "Filters": { "VolumeIds": [volume_id] } })).await.unwrap();
        answer["Volumes"][0]["State"].as_str().unwrap().to_owned()
    };
    world.until_true(|| async { (state().await == "available").then_some(()) }).await;
    let link = json!({ "VmId": vm_id, "VolumeId": volume_id, "DeviceName": "/dev/xvdf" });
    world.call("LinkVolume", link).await.unwrap();
    world.until_true(|| async { (state().await == "available").then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_reach_the_machines_and_groups_stand_for_their_vms() {
    let world = World::new();
    let group = |name: &'static str| {
        let world = &world;
        async move {
            let body = json!({ "SecurityGroupName": name, "Description": "d" });
            let answer = world.call("CreateSecurityGroup", body).await.unwrap();
            answer["SecurityGroup"]["SecurityGroupId"].as_str().unwrap().to_owned()
        }
    };
    let (web, bastion) = (group("web").await, group("bastion").await);
    let web_vm = world.create_vm(json!({ "SecurityGroupIds": [web] })).await;
    world.until(&web_vm, "running").await;
    let inbound = || world.backend.inbound.lock().unwrap().get(&web_vm).cloned().unwrap();
    assert_eq!(inbound(), []);
    let rule = json!({ "SecurityGroupId": web, "Flow": "Inbound", "IpProtocol": "tcp", "FromPortRange": 80,
        "ToPortRange": 81, "IpRange": "10.0.0.0/8" });
    world.call("CreateSecurityGroupRule", rule.clone()).await.unwrap();
    assert_eq!(inbound(), [InboundRule { ports: (80, 81), sources: vec!["10.0.0.0/8".to_owned()] }]);
    assert_eq!(world.call("CreateSecurityGroupRule", rule.clone()).await.unwrap_err().status, 409);
    world.call("DeleteSecurityGroupRule", rule).await.unwrap();
    assert_eq!(inbound(), []);

    let members = json!({ "SecurityGroupId": web, "Flow": "Inbound", "SecurityGroupNameToLink": bastion });
    world.call("CreateSecurityGroupRule", members).await.unwrap();
    let bastion_vm = world.create_vm(json!({ "SecurityGroupIds": [bastion] })).await;
    let address = world.until(&bastion_vm, "running").await["PrivateIp"].as_str().unwrap().to_owned();
    let wanted = format!("{address}/32");
    world
        .until_true(|| async { inbound().iter().any(|rule| rule.sources.contains(&wanted)).then_some(()) })
        .await;
    // A group that another group's rule names is in use.
    let body = json!({ "SecurityGroupId": bastion });
    assert_eq!(world.call("DeleteSecurityGroup", body).await.unwrap_err().code, 9085);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_running_vm_s_volume_is_flushed_first() {
    let world = World::new();
    let vm_id = world.create_vm(json!({})).await;
    let vm = world.until(&vm_id, "running").await;
    let volume_id = &vm["BlockDeviceMappings"][0]["Bsu"]["VolumeId"];
    world.call("CreateSnapshot", json!({ "VolumeId": volume_id })).await.unwrap();
    assert!(world.backend.orders().contains(&"flush".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_its_last_64_kib() {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let world = World::new();
    let vm_id = world.create_vm(json!({})).await;
    let answer = world.call("ReadConsoleOutput", json!({ "VmId": vm_id })).await.unwrap();
    let console = BASE64_STANDARD.decode(answer["ConsoleOutput"].as_str().unwrap()).unwrap();
    assert_eq!(console.len(), 64 * 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_with_one_token_at_once_make_one_vm() {
    let world = Arc::new(World::new());
    let calls: tokio::task::JoinSet<String> = (0..50)
        .map(|_| {
            let world = Arc::clone(&world);
            async move { world.create_vm(json!({ "ClientToken": "same" })).await }
        })
        .collect();
    let mut vm_ids = calls.join_all().await;
    vm_ids.dedup();
    assert_eq!(vm_ids.len(), 1);
    assert_eq!(world.region.state().vms.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_without_room_refuses_and_takes_nothing() {
    let world = World::new();
    let subnet_id = world.region.state().subnets.keys().next().unwrap().clone();
    let range = world.region.state().subnets[&subnet_id].range;
    let before = world.region.state().addresses.taken_in(range);
    let taken = json!({ "ImageId": world.image_id, "SubnetId": subnet_id, "PrivateIps": ["127.64.0.1"] });
    assert_eq!(world.call("CreateVms", taken).await.unwrap_err().code, 4030);
    assert_eq!(world.region.state().addresses.taken_in(range), before);
    assert!(world.region.state().vms.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_a_vm_tells_its_key_and_its_user_data() {
    use crate::backend::Metadata;
    use base64::{Engine, prelude::BASE64_STANDARD};
    let world = World::new();
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7fZ0yXK4o4bqv7ZLpXW2lOKY1N8qf2b1yH0bQd3d5k me";
    let body = json!({ "KeypairName": "mine", "PublicKey": BASE64_STANDARD.encode(key) });
    world.call("CreateKeypair", body).await.unwrap();
    let user_data = "#!/bin/sh\n-----BEGIN OUTSCALE SECTION-----\nfilter_private_section=true\ntags.Name=web\n\
                     -----END OUTSCALE SECTION-----\necho hello\n";
    let vm_id = world
        .create_vm(json!({ "KeypairName": "mine", "UserData": BASE64_STANDARD.encode(user_data) }))
        .await;
    let vm = world.until(&vm_id, "running").await;
    assert_eq!(vm["Tags"], json!([{ "Key": "Name", "Value": "web" }]));
    let metadata = metadata::VmMetadata::new(&world.region, &vm_id);
    let get = |path: &str| metadata.get(path).map(|body| String::from_utf8(body).unwrap());
    assert_eq!(get("meta-data/public-keys/0/openssh-key").as_deref(), Some(key));
    assert_eq!(get("meta-data/public-keys/").as_deref(), Some("0=mine"));
    assert_eq!(get("meta-data/instance-id").as_deref(), Some(vm_id.as_str()));
    assert_eq!(get("meta-data/block-device-mapping/root").as_deref(), Some("/dev/sda1"));
    assert_eq!(get("meta-data/public-ipv4").as_deref(), vm["PublicIp"].as_str());
    assert_eq!(get("meta-data/tags/Name").as_deref(), Some("web"));
    assert_eq!(get("user-data").as_deref(), Some("#!/bin/sh\necho hello\n"));
    assert_eq!(get("meta-data/iam/"), None);
}
