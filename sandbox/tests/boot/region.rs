//! A sandbox as a process of its own, and what a client does with it: calls signed by curl, logins by OpenSSH.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// For whatever should happen in time; emulated machines are slow, and this one may be busy. Only failures take this long.
pub const PATIENCE: Duration = Duration::from_secs(600);
const KEYS: (&str, &str) = ("SANDBOX0ACCESS0KEY00", "SANDBOX0SECRET0KEY000000000000000000000");

/// A running sandbox with a key pair and a security group that lets SSH in.
pub struct Region {
    process: Child,
    url: String,
    key: PathBuf,
    group_id: String,
    /// Everything of this test.
    dir: tempfile::TempDir,
}

/// Waits for a condition; fails when it does not come true.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            println!("{what}: {:.1} s", start.elapsed().as_secs_f32());
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "not true after {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Region {
    /// Starts a sandbox; `None`, with the reason printed, where boot tests are not wanted.
    pub fn start(backend: &str, seed: &str, more: &[&str]) -> Option<Self> {
        if std::env::var_os("BOOT_TESTS").is_none() {
            println!("skipped: machines are booted by make test-boot (BOOT_TESTS=1)");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_oapi-sandbox"));
        command
            .args(["--listen", "127.0.0.1:0", "--backend", backend, "--seed-images", seed])
            .args(["--address-range", "127.96.0.0/12", "--ssh-port", "2222"])
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .args(more)
            .env_remove("OSC_ACCESS_KEY")
            .env_remove("OSC_SECRET_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("the sandbox starts");
        let output = process.stdout.take().expect("its output");
        let mut lines = BufReader::new(output).lines();
        let Some(line) = lines.next() else {
            // Not every processor can run it; why is on the standard error.
            let status = process.wait().expect("an end");
            assert_eq!(backend, "uml", "the sandbox ended: {status}");
            println!("skipped: the backend {backend} does not start on this machine");
            return None;
        };
        let line = line.expect("a line");
        let url = line.rsplit(' ').next().expect("an address").to_owned();
        let key = dir.path().join("key");
        let mut region = Self { process, url, key, group_id: String::new(), dir };
        region.prepare();
        Some(region)
    }

    fn prepare(&mut self) {
        let keypair = self.call("CreateKeypair", json!({ "KeypairName": "boot" }));
        let private_key = keypair["Keypair"]["PrivateKey"].as_str().expect("a private key");
        fs::write(&self.key, private_key).expect("written");
        fs::set_permissions(&self.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        let group = json!({ "SecurityGroupName": "boot", "Description": "boot tests" });
        let group = self.call("CreateSecurityGroup", group);
        self.group_id = group["SecurityGroup"]["SecurityGroupId"].as_str().expect("an id").to_owned();
        let rule = json!({
            "SecurityGroupId": self.group_id, "Flow": "Inbound", "IpProtocol": "tcp",
            "FromPortRange": 22, "ToPortRange": 22, "IpRange": "0.0.0.0/0",
        });
        self.call("CreateSecurityGroupRule", rule);
    }

    /// Calls an action; it must succeed.
    pub fn call(&self, action: &str, body: Value) -> Value {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "180", "--aws-sigv4", "osc:osc:eu-west-2:api"])
            .args(["--user", &format!("{}:{}", KEYS.0, KEYS.1), "--header", "Content-Type: application/json"])
            .args(["--data-binary", &body.to_string(), &format!("{}/api/v1/{action}", self.url)])
            .output()
            .expect("curl");
        let answer: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{action}: {output:?}"));
        assert!(answer.get("Errors").is_none(), "{action} {body}: {answer}");
        answer
    }

    /// The id of the official image.
    pub fn official_image(&self) -> String {
        let images = self.call("ReadImages", json!({}));
        images["Images"][0]["ImageId"].as_str().expect("an image").to_owned()
    }

    /// Creates a VM and waits until it runs.
    pub fn create_vm(&self, image_id: &str, more: Value) -> String {
        let mut request = json!({
            "ImageId": image_id, "KeypairName": "boot", "SecurityGroupIds": [self.group_id], "VmType": "tinav5.c1r1p2",
        });
        request.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        let vms = self.call("CreateVms", request);
        let vm_id = vms["Vms"][0]["VmId"].as_str().expect("a VM").to_owned();
        self.until_vm(&vm_id, "running");
        vm_id
    }

    pub fn vm(&self, vm_id: &str) -> Value {
        self.call("ReadVms", json!({ "Filters": { "VmIds": [vm_id] } }))["Vms"][0].clone()
    }

    pub fn until_vm(&self, vm_id: &str, state: &str) {
        until(&format!("{vm_id} is {state}"), || (self.vm(vm_id)["State"] == state).then_some(()));
    }

    /// Runs a script in a VM.
    pub fn ssh(&self, vm_id: &str, script: &str) -> Output {
        let address = self.vm(vm_id)["PublicIp"].as_str().expect("a public IP").to_owned();
        let mut command = Command::new("ssh");
        command.stdin(Stdio::null()).args(["-p", "2222", "-i"]).arg(&self.key);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
            "ConnectTimeout=60",
            "ServerAliveInterval=15",
        ] {
            command.args(["-o", option]);
        }
        command.arg(format!("outscale@{address}")).arg(script).output().expect("ssh")
    }

    pub fn until_ssh(&self, vm_id: &str) {
        let start = Instant::now();
        let answers = || self.ssh(vm_id, "true").status.success();
        while !answers() {
            assert!(start.elapsed() < PATIENCE, "no login to {vm_id}; its console:\n{}", self.console(vm_id));
            std::thread::sleep(Duration::from_millis(200));
        }
        println!("{vm_id} answers on SSH: {:.1} s", start.elapsed().as_secs_f32());
    }

    /// What a script prints; it must succeed.
    pub fn run(&self, vm_id: &str, script: &str) -> String {
        let output = self.ssh(vm_id, script);
        assert!(output.status.success(), "{script}: {output:?}\n{}", self.console(vm_id));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The console, decoded.
    pub fn console(&self, vm_id: &str) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let output = self.call("ReadConsoleOutput", json!({ "VmId": vm_id }));
        let text =
            BASE64_STANDARD.decode(output["ConsoleOutput"].as_str().expect("a console")).expect("base64");
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Makes an image of a VM and waits until it can be used.
    pub fn create_image(&self, vm_id: &str, name: &str) -> String {
        let image = self.call("CreateImage", json!({ "VmId": vm_id, "ImageName": name }));
        let image_id = image["Image"]["ImageId"].as_str().expect("an image").to_owned();
        until(&format!("{image_id} is available"), || {
            let images = self.call("ReadImages", json!({ "Filters": { "ImageIds": [image_id] } }));
            (images["Images"][0]["State"] == "available").then_some(())
        });
        image_id
    }

    /// Makes an empty volume of 1 GiB.
    pub fn create_volume(&self) -> String {
        let volume = self.call("CreateVolume", json!({ "Size": 1, "SubregionName": "eu-west-2a" }));
        let volume_id = volume["Volume"]["VolumeId"].as_str().expect("a volume").to_owned();
        self.until_volume(&volume_id, "available");
        volume_id
    }

    pub fn until_volume(&self, volume_id: &str, state: &str) {
        until(&format!("{volume_id} is {state}"), || {
            let volumes = self.call("ReadVolumes", json!({ "Filters": { "VolumeIds": [volume_id] } }));
            (volumes["Volumes"][0]["State"] == state).then_some(())
        });
    }

    /// Ends the sandbox as a user would, and sees that nothing of it is left.
    pub fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill").success());
        assert!(self.process.wait().expect("an end").success());
        self.assert_nothing_left();
    }

    /// Ends the sandbox without giving it a chance to clear up, and sees that nothing of it is left.
    pub fn kill(mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("an end");
        self.assert_nothing_left();
    }

    fn assert_nothing_left(&self) {
        until("nothing of the sandbox is left", || processes_of(self.dir.path()).is_empty().then_some(()));
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Processes whose command line names something in a folder.
fn processes_of(dir: &Path) -> Vec<String> {
    let folder = dir.to_string_lossy().into_owned();
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let commands = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    commands
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .filter(|command| command.contains(&folder))
        .collect()
}
