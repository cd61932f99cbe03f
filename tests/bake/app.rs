//! fournil as a test starts it: API and workers in this process, with a database and a sandbox of its own. When it is
//! dropped it looks whether anything was left in the cloud that no build announced.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use fournil::{
    api::{self, ApiLimits, AppState, Clock},
    bake::CellHome,
    config::Capability,
    credentials::{endpoints::AllowedEndpoints, provider::EnvironmentSource, role::Roles, vault::Vault},
    logs::{LogHub, LogLimits},
    metadata::MetadataService,
    oapi::{
        Client, ClientConfig, Endpoint, OapiPool, PaceConfig, WaitConfig, Waits,
        types::{FiltersSecurityGroup, ReadSecurityGroups},
    },
    queue::CANCEL_CHANNEL,
    worker::{self, Kitchen, WorkerSettings},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::sandbox::{ACCESS_KEY, Machines, SECRET_KEY, Sandbox};

/// Longer than anything here takes, on a busy machine too: only failures take that long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Longer than this process can be without a processor: no test is about a lease that runs out.
const LEASE: Duration = Duration::from_secs(60);

/// How long fournil believes that new things may be invisible.
const SETTLE: Duration = Duration::from_secs(1);

/// fournil, its database and its cloud.
pub struct TestApp {
    pub url: String,
    pub sandbox: Sandbox,
    pub pool: PgPool,
    http: reqwest::Client,
    database: PgConnectOptions,
    drain: CancellationToken,
    _data: tempfile::TempDir,
}

impl TestApp {
    /// With a cloud whose VMs are states only.
    pub async fn without_machines(database: PgConnectOptions) -> Self {
        Self::start(database, Machines::None, &[]).await
    }

    /// With a cloud of real VMs; `None`, with the reason printed, where this machine has none.
    pub async fn with_machines(database: PgConnectOptions) -> Option<Self> {
        if !Machines::Namespaces.are_possible() {
            println!("skipped: VMs of namespaces need root");
            return None;
        }
        Some(Self::start(database, Machines::Namespaces, &[]).await)
    }

    /// With real VMs and leave to run commands on the worker's host.
    pub async fn with_machines_and_shell_local(database: PgConnectOptions) -> Option<Self> {
        if !Machines::Namespaces.are_possible() {
            println!("skipped: VMs of namespaces need root");
            return None;
        }
        Some(Self::start_with(database, Machines::Namespaces, &[], &[Capability::ShellLocal]).await)
    }

    /// On a VM of that cloud, with leave to work in chroots.
    pub async fn on_a_vm(database: PgConnectOptions) -> Option<Self> {
        if !Machines::NamespacesAndThisOne.are_possible() {
            println!("skipped: chroots need root");
            return None;
        }
        let machines = Machines::NamespacesAndThisOne;
        Some(Self::start_with(database, machines, &[], &[Capability::Chroot]).await)
    }

    /// `environment` replaces variables of the worker's.
    pub async fn start(database: PgConnectOptions, machines: Machines, environment: &[(&str, &str)]) -> Self {
        Self::start_with(database, machines, environment, &[]).await
    }

    /// The same with leave for templates to do something on the worker's host.
    pub async fn start_with(
        database: PgConnectOptions,
        machines: Machines,
        environment: &[(&str, &str)],
        capabilities: &[Capability],
    ) -> Self {
        let sandbox = Sandbox::start(machines);
        let pool = PgPoolOptions::new()
            .max_connections(24)
            .connect_with(database.clone())
            .await
            .expect("the database");
        let data = tempfile::tempdir().expect("a temporary folder");
        let drain = CancellationToken::new();
        let vault = Arc::new(Vault::load(None, data.path(), true).expect("a master key"));

        let hub = LogHub::start(pool.clone(), drain.clone());
        let limits = ApiLimits {
            json_bytes: 256 << 10,
            capabilities: capabilities.iter().copied().collect(),
            ..ApiLimits::default()
        };
        let state =
            AppState::new(pool.clone(), hub, Arc::clone(&vault), limits, Clock::system(), drain.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stopping = drain.clone();
        let serving =
            axum::serve(listener, api::router(state)).with_graceful_shutdown(stopping.cancelled_owned());
        tokio::spawn(serving.into_future());

        let variables = variables(&sandbox.url, environment);
        let mut kitchen = kitchen(pool.clone(), vault, variables, data.path(), &sandbox.url);
        kitchen.settings.capabilities = capabilities.iter().map(ToString::to_string).collect();
        tokio::spawn(worker::serve(kitchen, drain.clone()));
        Self { url, sandbox, pool, http: reqwest::Client::new(), database, drain, _data: data }
    }

    /// A request to the API.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "GET {path}");
        answer.json().await.unwrap()
    }

    /// A POST of JSON, whatever the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path).json(body).send().await.unwrap()
    }

    /// Asks for a build, which must be accepted; answers its id.
    pub async fn post_build(&self, body: &Value) -> String {
        accepted(self.post("/builds", body).await).await
    }

    /// The build when it has ended.
    pub async fn wait_build(&self, id: &str) -> Value {
        self.wait_until(id, "it has ended", is_final).await
    }

    /// The build when something is true of it.
    pub async fn wait_until(&self, id: &str, what: &str, is_true: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            let mut build = self.get(&format!("/builds/{id}")).await;
            while !is_true(&build) {
                build = self.get(&format!("/builds/{id}?wait=10s&version={}", build["version"])).await;
            }
            build
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(build) => build,
            Err(_) => panic!(
                "waited in vain until {what}: {:#}\n{}",
                self.get(&format!("/builds/{id}")).await,
                self.log(id).await
            ),
        }
    }

    /// Asks for a build and waits for its end.
    pub async fn bake(&self, body: &Value) -> Value {
        let id = self.post_build(body).await;
        self.wait_build(&id).await
    }

    /// Bakes what must succeed.
    pub async fn bake_well(&self, body: &Value) -> Value {
        let build = self.bake(body).await;
        self.succeeded(&build).await;
        build
    }

    /// Checks that the build succeeded.
    pub async fn succeeded(&self, build: &Value) {
        let log = self.log(id_of(build)).await;
        assert_eq!(build["state"], "succeeded", "{build:#}\n{log}");
        assert_eq!(build["leftovers"], serde_json::json!([]));
        for run in build["runs"].as_array().unwrap() {
            assert_eq!(run["steps_done"], run["steps_total"], "{run:#}");
        }
    }

    /// Bakes what must fail with this code after a whole cleanup; answers the error.
    pub async fn bake_badly(&self, body: &Value, code: &str) -> Value {
        let build = self.bake(body).await;
        self.failed(&build, code).await
    }

    /// Checks that the build failed with this code and was cleaned up; answers the error.
    pub async fn failed(&self, build: &Value, code: &str) -> Value {
        let log = self.log(id_of(build)).await;
        let error = &build["error"];
        assert_eq!((&build["state"], &error["code"]), (&"failed".into(), &code.into()), "{build:#}\n{log}");
        assert!(error["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{error:#}");
        assert!(error["step"].is_string(), "{error:#}");
        assert_eq!(build["artifacts"], serde_json::json!([]));
        assert_eq!(build["leftovers"], serde_json::json!([]));
        let run = &build["runs"][0];
        assert!(matches!(run["cleanup"].as_str(), Some("none" | "done")), "{run:#}");
        assert!(log.contains("failed: "), "the log does not tell why:\n{log}");
        error.clone()
    }

    /// A file of the build as text.
    pub async fn file(&self, id: &str, path: &str) -> String {
        let path = format!("/builds/{id}/files/{path}");
        let answer = self.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "GET {path}\n{}", self.log(id).await);
        answer.text().await.unwrap()
    }

    /// The paths of the build's files, with the names of their runs.
    pub async fn files(&self, id: &str) -> Vec<String> {
        let files = self.get(&format!("/builds/{id}/files")).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let files = files["files"].as_array().unwrap().iter();
        files.map(|file| format!("{}/{}", text(&file["run"]), text(&file["path"]))).collect()
    }

    /// The log as text.
    pub async fn log(&self, id: &str) -> String {
        self.request(Method::GET, &format!("/builds/{id}/logs")).send().await.unwrap().text().await.unwrap()
    }

    pub async fn cancel(&self, id: &str) -> Response {
        self.request(Method::POST, &format!("/builds/{id}/cancel")).send().await.unwrap()
    }

    /// Waits until the worker has looked what is asked of its runs, such as their end. It reports after each look, so a look
    /// before the second report from now on began after this.
    pub async fn worker_has_looked(&self) {
        for _ in 0..2 {
            let before = self.last_report().await;
            let wake = "SELECT pg_notify($1, '')";
            sqlx::query(wake).bind(CANCEL_CHANNEL).execute(&self.pool).await.unwrap();
            eventually("the worker has looked", || async { self.last_report().await > before }).await;
        }
    }

    async fn last_report(&self) -> Option<DateTime<Utc>> {
        let workers = self.get("/workers").await;
        workers["workers"][0]["seen_at"].as_str().map(|time| time.parse().unwrap())
    }

    /// Names and states of the steps that began.
    pub async fn steps(&self, id: &str) -> BTreeMap<String, String> {
        let steps = self.get(&format!("/builds/{id}/steps")).await;
        let steps = steps["steps"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        steps.map(|step| (text(&step["name"]), text(&step["state"]))).collect()
    }

    /// The default group of the public cloud, which lets nobody in.
    pub async fn closed_group(&self) -> String {
        let names = vec!["default".to_owned()];
        let filters = FiltersSecurityGroup { security_group_names: names, ..FiltersSecurityGroup::default() };
        let groups = self.cloud().read_all(&ReadSecurityGroups::filtered(filters)).await.unwrap();
        groups.into_iter().find(|group| group.net_id.is_none()).unwrap().security_group_id
    }

    /// The cloud, as one who has the keys sees it.
    pub fn cloud(&self) -> Client {
        let endpoint = Endpoint::parse(&self.sandbox.url, "eu-west-2").unwrap();
        let config =
            ClientConfig::new(endpoint, "eu-west-2", ACCESS_KEY, SecretString::from(SECRET_KEY.to_owned()));
        OapiPool::new(PaceConfig::default()).client(config).unwrap()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let (database, url) = (self.database.clone(), self.sandbox.url.clone());
            // The test's own runtime cannot be waited for here.
            let unannounced = std::thread::spawn(move || unannounced(database, &url));
            let left = unannounced.join().expect("the look for leftovers");
            assert!(left.is_empty(), "left in the cloud: {left:?}");
        }
        self.drain.cancel();
    }
}

/// What lives in the cloud without having been there from the start or being an artifact of a build.
#[tokio::main(flavor = "current_thread")]
async fn unannounced(database: PgConnectOptions, sandbox: &str) -> BTreeSet<String> {
    use sqlx::ConnectOptions;
    let mut db = database.connect().await.expect("the database");
    let announced: Vec<Value> =
        sqlx::query_scalar("SELECT artifact FROM artifacts").fetch_all(&mut db).await.unwrap();
    let announced: BTreeSet<&str> = announced
        .iter()
        .flat_map(|artifact| {
            let snapshots = artifact["snapshots"].as_array().into_iter().flatten();
            snapshots.chain([&artifact["id"], &artifact["snapshot"]])
        })
        .filter_map(Value::as_str)
        .collect();
    let living = reqwest::get(format!("{sandbox}/sandbox/resources?seeds=false")).await.unwrap();
    let living: BTreeMap<String, Vec<String>> = living.json().await.unwrap();
    living.into_values().flatten().filter(|id| !announced.contains(id.as_str())).collect()
}

fn variables(sandbox: &str, other: &[(&str, &str)]) -> BTreeMap<String, String> {
    let usual = [
        ("OSC_ACCESS_KEY", ACCESS_KEY),
        ("OSC_SECRET_KEY", SECRET_KEY),
        ("OSC_ENDPOINT_API", sandbox),
        ("OSC_REGION", "eu-west-2"),
    ];
    usual.iter().chain(other).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn kitchen(
    store: PgPool,
    vault: Arc<Vault>,
    variables: BTreeMap<String, String>,
    data: &std::path::Path,
    metadata: &str,
) -> Kitchen {
    let url = variables.get("FOURNIL_METADATA_URL").map_or(metadata, String::as_str);
    let metadata = MetadataService::new(url).unwrap();
    Kitchen {
        store,
        vault,
        oapi: Arc::new(OapiPool::new(PaceConfig {
            calls_per_second: 200.0,
            burst: 200.0,
            ..PaceConfig::default()
        })),
        waits: Waits::new(WaitConfig {
            min_interval: Duration::from_millis(20),
            max_interval: Duration::from_millis(500),
            settle: SETTLE,
        }),
        environment: Arc::new(EnvironmentSource { variables, home: None }),
        metadata: metadata.clone(),
        roles: Roles::new(metadata),
        trust: Arc::default(),
        cells: Arc::new(CellHome {
            program: env!("CARGO_BIN_EXE_fournil").into(),
            folder: data.join("cells"),
        }),
        endpoints: Arc::new(AllowedEndpoints { hosts: Vec::new(), loopback: true }),
        settings: WorkerSettings {
            id: format!("test-{}", uuid::Uuid::new_v4().simple()),
            hostname: "test".to_owned(),
            slots: 12,
            capabilities: Vec::new(),
            lease: LEASE,
            grace: Duration::from_secs(1),
        },
        env_allowed: Arc::default(),
        log_limits: LogLimits::default(),
        settle: SETTLE,
        scratch: Arc::new(data.to_owned()),
        scratch_lock: Arc::new(tempfile::tempfile().unwrap()),
    }
}

/// The id of an accepted build.
pub async fn accepted(answer: Response) -> String {
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert_eq!(status, StatusCode::ACCEPTED, "{text}");
    let build: Value = serde_json::from_str(&text).unwrap();
    build["id"].as_str().unwrap().to_owned()
}

pub fn is_final(build: &Value) -> bool {
    matches!(build["state"].as_str(), Some("succeeded" | "failed" | "cancelled"))
}

pub fn id_of(build: &Value) -> &str {
    build["id"].as_str().unwrap()
}

/// Waits for a condition; fails when it does not come true.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut is_true: impl FnMut() -> F) {
    let wait = async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain until {what}");
}
