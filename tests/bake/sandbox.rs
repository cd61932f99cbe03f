//! One `oapi-sandbox` for each test, and what tests ask of its control interface.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::app::eventually;

/// The keys that the sandbox accepts.
pub const ACCESS_KEY: &str = "SANDBOX0ACCESS0KEY00";
pub const SECRET_KEY: &str = "SANDBOX0SECRET0KEY000000000000000000000";

/// How long a sandbox may take to clear up.
const CLEARING: Duration = Duration::from_secs(60);

/// What VMs are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machines {
    /// None: the API's states only.
    None,
    /// Namespaces, reached by real SSH.
    Namespaces,
    /// Namespaces at first, and full PCs that boot their disks once the test asks for them; with a Debian among the
    /// official images, and the machine that the test runs on.
    NamespacesAndPcs,
    /// Namespaces, and the machine that the test runs on; among the official images is one with partitions.
    NamespacesAndThisOne,
    /// The machine that the test runs on, with a role; the others are states only.
    ThisOneWithARole,
    /// The same with others in namespaces; among the official images is one with partitions.
    ThisOneWithARoleAndNamespaces,
}

impl Machines {
    /// Whether this machine has them.
    pub fn are_possible(self) -> bool {
        let is_root = || Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
        self == Self::None || is_root()
    }
}

/// A running sandbox; killed with the test, however the test ends.
pub struct Sandbox {
    child: Child,
    pub url: String,
    http: reqwest::Client,
}

impl Sandbox {
    /// Must be called on the test's own thread: the sandbox is told to end when the thread that started it does.
    pub fn start(machines: Machines) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_fournil")).with_file_name("oapi-sandbox");
        assert!(program.exists(), "{} is missing: run `cargo build --workspace` first", program.display());
        let images: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sandbox-images");
        let backend = match machines {
            Machines::None | Machines::ThisOneWithARole => "none",
            Machines::Namespaces
            | Machines::NamespacesAndThisOne
            | Machines::ThisOneWithARoleAndNamespaces => "ns",
            Machines::NamespacesAndPcs => "ns,qemu",
        };
        let seeds = match machines {
            Machines::NamespacesAndPcs => "tiny,debian",
            Machines::NamespacesAndThisOne | Machines::ThisOneWithARoleAndNamespaces => "tiny,tiny-disk",
            Machines::None | Machines::Namespaces | Machines::ThisOneWithARole => "tiny",
        };
        let this_one: &[&str] = match machines {
            Machines::NamespacesAndPcs | Machines::NamespacesAndThisOne => &["--host-vm"],
            // Renewed after 10 s, refused after 15.
            Machines::ThisOneWithARole | Machines::ThisOneWithARoleAndNamespaces => {
                &["--host-vm", "--role", "baker", "--role-lifetime", "15s"]
            }
            Machines::None | Machines::Namespaces => &[],
        };
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(program)
            .args(["--listen", "127.0.0.1:0", "--backend", backend, "--seed-images", seeds, "--image-cache"])
            .arg(images)
            .args(this_one)
            .env("RUST_LOG", "error")
            .env_remove("OSC_ACCESS_KEY")
            .env_remove("OSC_SECRET_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv starts the sandbox");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("a line of the sandbox");
        let url = line.trim().strip_prefix("oapi-sandbox listening on ");
        let url = url.unwrap_or_else(|| panic!("the sandbox did not start: `{line}`")).to_owned();
        Self { child, url, http: reqwest::Client::new() }
    }

    pub async fn post(&self, path: &str, body: Value) {
        let answer = self
            .http
            .post(format!("{}/sandbox/{path}", self.url))
            .json(&body)
            .send()
            .await
            .expect("the sandbox");
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    pub async fn fault(&self, fault: Value) {
        self.post("faults", fault).await;
    }

    /// Forgets all faults and lets go the calls that are held.
    pub async fn clear_faults(&self) {
        self.http.delete(format!("{}/sandbox/faults", self.url)).send().await.expect("the sandbox");
    }

    /// Waits until every call is held that faults are set to hold.
    pub async fn until_held(&self) {
        eventually("the calls are held", || async { !self.is_waiting_to_strike().await }).await;
    }

    /// Whether a fault has not struck yet; one that has struck holds its calls, if it holds calls.
    pub async fn is_waiting_to_strike(&self) -> bool {
        self.get("faults").await != serde_json::json!([])
    }

    /// The calls of an action so far.
    pub async fn calls(&self, action: &str) -> Vec<Value> {
        match self.get(&format!("calls?action={action}")).await {
            Value::Array(calls) => calls,
            other => panic!("no calls but {other}"),
        }
    }

    /// All ids that live besides the seeds, by kind.
    pub async fn resources(&self) -> Value {
        self.get("resources?seeds=false").await
    }

    /// The same with what the region was born with.
    pub async fn all_resources(&self) -> Value {
        self.get("resources").await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}/sandbox/{path}", self.url)).send().await.expect("the sandbox");
        answer.json().await.expect("JSON")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if start.elapsed() > CLEARING {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
