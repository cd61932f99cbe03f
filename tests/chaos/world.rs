//! A world of its own for each thing that is tried: a region, the gate before it, a database, a data folder; and what can
//! be asked of a build and of the region afterwards.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    LEASE, LOOK_AGAIN, PATIENCE,
    database::Database,
    gate::Gate,
    processes::{Process, sandbox_binary},
    until,
};

/// How long a build may take, with kills and cleanups that are tried again; only failures take this long.
const BUILD: Duration = Duration::from_secs(400);

/// Keys that the sandbox accepts.
const KEYS: [(&str, &str); 2] = [
    ("OSC_ACCESS_KEY", "SANDBOX0ACCESS0KEY00"),
    ("OSC_SECRET_KEY", "SANDBOX0SECRET0KEY000000000000000000000"),
];

/// The region and what fournil needs beside it.
pub struct World {
    sandbox: Process,
    /// Where the sandbox is reached directly.
    pub sandbox_url: String,
    /// Where fournil reaches it.
    pub gate: Gate,
    /// What fournil keeps builds in.
    pub database: Database,
    /// What servers keep files in, a folder of each name.
    pub data_dir: TempDir,
    http: reqwest::Client,
}

/// A `fournil serve`.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where its API is.
    pub url: String,
}

/// How a build ended.
#[derive(Debug)]
pub struct Ended {
    /// Its last state.
    pub state: String,
    /// The build as the API answers it.
    pub build: Value,
}

impl World {
    /// Starts a region.
    pub async fn new() -> Self {
        Self::with_backend("ns").await
    }

    /// Starts a region whose VMs are states only.
    pub async fn without_machines() -> Self {
        Self::with_backend("none").await
    }

    /// Starts a region that this machine is a VM of; the others are states only.
    pub async fn of_this_machine() -> Self {
        Self::with(&["--backend", "none", "--host-vm", "--seed-images", "tiny,tiny-disk"]).await
    }

    async fn with_backend(backend: &str) -> Self {
        Self::with(&["--backend", backend]).await
    }

    async fn with(more: &[&str]) -> Self {
        let arguments = [&["--listen", "127.0.0.1:0"], more].concat();
        let mut sandbox = Process::start(&sandbox_binary().await, &arguments, &[]);
        let sandbox_url = sandbox.url().await;
        let gate = Gate::open(&sandbox_url).await;
        Self {
            sandbox,
            sandbox_url,
            gate,
            database: Database::create().await,
            data_dir: tempfile::tempdir().expect("a temporary folder"),
            http: reqwest::Client::new(),
        }
    }

    /// Starts fournil on the world's database.
    pub async fn fournil(&self, name: &str) -> Server {
        self.fournil_with(name, &[("DATABASE_URL", &self.database.url)]).await
    }

    /// Starts fournil with more variables; without `DATABASE_URL` on its embedded database.
    pub async fn fournil_with(&self, name: &str, more: &[(&str, &str)]) -> Server {
        let folder = self.data_dir.path().join(name);
        let (folder, endpoint) = (folder.to_string_lossy(), self.gate.url());
        let lease = format!("{}s", LEASE.as_secs());
        let mut environment = vec![
            ("OSC_ENDPOINT_API", endpoint.as_str()),
            ("OSC_REGION", "eu-west-2"),
            ("FOURNIL_DATA_DIR", &*folder),
            ("FOURNIL_METADATA_URL", &self.sandbox_url),
            ("FOURNIL_CAPABILITIES", "chroot"),
            ("FOURNIL_WORKER_NAME", name),
            ("FOURNIL_WORKERS", "4"),
            ("FOURNIL_LEASE", &lease),
            ("FOURNIL_OAPI_SETTLE", "2s"),
            ("FOURNIL_OAPI_POLL_INTERVAL", "40ms"),
            ("FOURNIL_OAPI_CALLS_PER_SECOND", "200"),
            ("FOURNIL_MASTER_KEY", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ];
        environment.extend(KEYS);
        // The later of two variables of the same name is the one that counts.
        environment.extend(more);
        let mut process = Process::start(
            env!("CARGO_BIN_EXE_fournil"),
            &["serve", "--listen", "127.0.0.1:0"],
            &environment,
        );
        let url = process.url().await;
        Server { process, url }
    }

    /// Waits until nothing is noted down of the chroots of a server, so that nothing of them is on this machine either.
    pub async fn has_no_cells(&self, name: &str) -> Result<(), String> {
        let folder = self.data_dir.path().join(name).join("cells");
        let left = || -> Vec<_> {
            std::fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name())
                .collect()
        };
        let emptied = async {
            while !left().is_empty() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(BUILD, emptied)
            .await
            .map_err(|_| format!("cells of `{name}` are left: {:?}", left()))
    }

    /// Everything that is in the region now and was not there from the start.
    pub async fn resources(&self) -> BTreeSet<String> {
        let resources = self
            .get(&format!("{}/sandbox/resources?seeds=false", self.sandbox_url))
            .await
            .expect("the sandbox answers");
        let kinds = resources.as_object().expect("an object").values();
        kinds.flat_map(|ids| ids.as_array().into_iter().flatten()).map(text).collect()
    }

    /// The requests of an action that the region got.
    pub async fn requests(&self, action: &str) -> Vec<Value> {
        let calls = self
            .get(&format!("{}/sandbox/calls?action={action}", self.sandbox_url))
            .await
            .expect("the sandbox answers");
        calls.as_array().into_iter().flatten().map(|call| call["request"].clone()).collect()
    }

    /// Sets a fault of the sandbox.
    pub async fn add_fault(&self, fault: &Value) {
        let sent = self.http.post(format!("{}/sandbox/faults", self.sandbox_url)).json(fault).send().await;
        let answer = sent.unwrap_or_else(|error| {
            panic!("the sandbox does not answer: {error:?}; {}", self.sandbox.account())
        });
        assert!(answer.status().is_success(), "no such fault: {fault}");
    }

    /// Forgets all faults; answers how many had not struck.
    pub async fn clear_faults(&self) -> usize {
        let url = format!("{}/sandbox/faults", self.sandbox_url);
        let left =
            self.get(&url).await.and_then(|faults| faults.as_array().map(Vec::len)).unwrap_or_default();
        self.http.delete(url).send().await.expect("the sandbox answers");
        left
    }

    /// Starts a build; answers its id.
    pub async fn build(&self, server: &Server, template: &Value) -> String {
        let answer =
            self.http.post(format!("{}/builds", server.url)).json(template).send().await.unwrap_or_else(
                |error| panic!("fournil does not answer: {error:?}; {}", server.process.account()),
            );
        let build: Value = answer.json().await.expect("JSON");
        build["id"].as_str().unwrap_or_else(|| panic!("not accepted: {build}")).to_owned()
    }

    /// Asks for the end of what a build announced.
    pub async fn destroy(&self, server: &Server, build: &str) {
        let sent = self.http.delete(format!("{}/builds/{build}/artifacts", server.url)).send().await;
        let answer = sent.expect("fournil answers");
        assert_eq!(answer.status(), 202, "the artifacts are to be destroyed");
    }

    /// The build as it is now, if fournil can tell.
    pub async fn look(&self, server: &Server, build: &str) -> Option<Value> {
        self.get(&format!("{}/builds/{build}", server.url)).await
    }

    /// Waits until the build has ended and nothing of it is left to remove, as far as fournil knows.
    pub async fn ended(&self, server: &Server, build: &str) -> Result<Ended, String> {
        let waited = tokio::time::timeout(BUILD, async {
            loop {
                if let Some(build) = self.look(server, build).await {
                    let state = text(&build["state"]);
                    let is_clean = |run: &Value| matches!(run["cleanup"].as_str(), Some("none" | "done"));
                    let is_final = matches!(state.as_str(), "succeeded" | "failed" | "cancelled");
                    if is_final && build["runs"].as_array().is_some_and(|runs| runs.iter().all(is_clean)) {
                        return Ended { state, build };
                    }
                }
                tokio::time::sleep(LOOK_AGAIN * 2).await;
            }
        });
        match waited.await {
            Ok(ended) => Ok(ended),
            Err(_) => Err(format!("the build does not end: {:?}", self.look(server, build).await)),
        }
    }

    /// Waits for the end and compares the region with what the build announced; answers the build.
    pub async fn succeeds(&self, server: &Server, build: &str) -> Result<Ended, String> {
        let ended = self.ended(server, build).await?;
        self.holds_only(&[&ended]).await?;
        if ended.state == "succeeded" {
            Ok(ended)
        } else {
            Err(format!("it {}: {}", ended.state, ended.build["error"]))
        }
    }

    /// Compares what is in the region with what these builds announced.
    pub async fn holds_only(&self, builds: &[&Ended]) -> Result<(), String> {
        let announced: BTreeSet<String> = builds.iter().flat_map(|ended| ended.artifacts()).collect();
        let there = self.resources().await;
        if there == announced {
            return Ok(());
        }
        let leaked: Vec<_> = there.difference(&announced).collect();
        let lost: Vec<_> = announced.difference(&there).collect();
        Err(format!("leaked {leaked:?}, announced but not there {lost:?}"))
    }

    /// The log as NDJSON, read.
    pub async fn log(&self, server: &Server, build: &str) -> Vec<Value> {
        let request = self
            .http
            .get(format!("{}/builds/{build}/logs", server.url))
            .header("accept", "application/x-ndjson");
        let Ok(answer) = request.send().await else { return Vec::new() };
        let text = answer.text().await.unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Whether the log says this by now.
    pub async fn has_said(&self, server: &Server, build: &str, words: &str) -> bool {
        self.log(server, build)
            .await
            .iter()
            .any(|line| line["line"].as_str().is_some_and(|line| line.contains(words)))
    }

    /// Waits until the log says this.
    pub async fn until_said(&self, server: &Server, build: &str, words: &str) {
        until(&format!("the log says `{words}`"), async || {
            self.has_said(server, build, words).await.then_some(())
        })
        .await;
    }

    /// Ends the leases of the server `lost`, which is dead or frozen, until another one has the build or it has ended.
    pub async fn until_taken_over(&self, server: &Server, build: &str, lost: &str) {
        until("another server takes over", async || {
            self.database.end_leases(lost).await;
            self.is_without(server, build, lost).await
        })
        .await;
    }

    /// Whether the server `lost` has the build no more.
    pub async fn is_without(&self, server: &Server, build: &str, lost: &str) -> Option<()> {
        let build = self.look(server, build).await?;
        let worker = build["runs"][0]["worker"].as_str().unwrap_or_default();
        (!worker.starts_with(&format!("{lost}-")) || build["state"] != "running").then_some(())
    }

    /// Ends the region and drops the database. Servers are ended by whoever started them.
    pub async fn close(self) {
        self.database.drop().await;
        self.sandbox.end().await;
    }

    async fn get(&self, url: &str) -> Option<Value> {
        let answer = self.http.get(url).timeout(PATIENCE).send().await.ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.json().await.ok()
    }
}

impl Ended {
    /// The ids of everything that the build announced.
    pub fn artifacts(&self) -> Vec<String> {
        let artifacts = self.build["artifacts"].as_array().into_iter().flatten();
        artifacts
            .flat_map(|artifact| {
                let snapshots = artifact["snapshots"].as_array().into_iter().flatten().map(text);
                let snapshot = artifact["snapshot"].as_str().map(str::to_owned);
                std::iter::once(text(&artifact["id"])).chain(snapshots).chain(snapshot).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The attempt in which its run ended.
    pub fn attempt(&self) -> i64 {
        self.build["runs"][0]["attempt"].as_i64().unwrap_or_default()
    }

    /// The worker that ended it.
    pub fn worker(&self) -> String {
        text(&self.build["runs"][0]["worker"])
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A bake that makes one of everything: key pair, group, public IP, VM, volume, OMI, snapshot, and tags on all of them.
pub fn template(omi_name: &str, inline: &[&str]) -> Value {
    json!({
        "builders": [{
            "type": "osc-bsu",
            "name": "chaos",
            "region": "eu-west-2",
            "omi_name": omi_name,
            "source_omi_filter": { "filters": { "image-name": "tiny-*" }, "owners": ["Outscale"], "most_recent": true },
            "vm_type": "tinav5.c1r1p2",
            "ssh_username": "outscale",
            "associate_public_ip_address": true,
            "run_tags": { "Purpose": "chaos" },
            "run_volume_tags": { "Purpose": "chaos" },
            "tags": { "Purpose": "chaos" },
            "snapshot_tags": { "Disk": "root" },
        }],
        "provisioners": [{ "type": "shell", "inline": inline }],
    })
}

/// A bake of the same kind that makes an OMI of two other volumes of its VM.
pub fn surrogate(omi_name: &str, inline: &[&str]) -> Value {
    let volume = |name: &str| json!({ "device_name": name, "volume_size": 1, "delete_on_vm_deletion": true });
    let mut template = template(omi_name, inline);
    let builder = &mut template["builders"][0];
    builder["type"] = json!("osc-bsusurrogate");
    builder["launch_block_device_mappings"] = json!([volume("/dev/xvdf"), volume("/dev/xvdg")]);
    builder["omi_root_device"] = json!({ "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1" });
    template
}

/// A bake of the same kind that makes two volumes, and a snapshot of one.
pub fn volumes(inline: &[&str]) -> Value {
    let mut template = template("none", inline);
    let builder = template["builders"][0].as_object_mut().expect("an object");
    for option in ["omi_name", "run_volume_tags", "tags", "snapshot_tags"] {
        builder.remove(option);
    }
    builder.insert("type".to_owned(), json!("osc-bsuvolume"));
    let tags = json!({ "Purpose": "chaos" });
    builder.insert(
        "bsu_volumes".to_owned(),
        json!([
            { "device_name": "/dev/xvdf", "volume_size": 1, "tags": tags },
            { "device_name": "/dev/xvdg", "volume_size": 1, "snapshot_volume": true, "snapshot_tags": tags,
              "snapshot_account_ids": ["123456789012"] },
        ]),
    );
    template
}

/// A bake of the same kind that works in a volume on this machine.
pub fn chroot(omi_name: &str, inline: &[&str]) -> Value {
    json!({
        "builders": [{
            "type": "osc-chroot",
            "name": "chaos",
            "region": "eu-west-2",
            "omi_name": omi_name,
            "source_omi_filter": {
                "filters": { "image-name": "tiny-disk-*" }, "owners": ["Outscale"], "most_recent": true,
            },
            "root_volume_tags": { "Purpose": "chaos" },
            "tags": { "Purpose": "chaos" },
            "chroot_mounts": [["proc", "proc", "/proc"], ["bind", "/dev", "/dev"]],
        }],
        "provisioners": [{ "type": "shell", "inline": inline }],
    })
}
