//! The region: what exists in it, and what the calls do to it. One mutex holds all state and is never held across
//! an await; whatever takes time runs as a task that looks again, once it is done, whether its work is still wanted.

pub mod addresses;
pub mod disks;
pub mod host_vm;
pub mod images;
pub mod keypairs;
pub mod metadata;
pub mod places;
pub mod public_ips;
pub mod security_groups;
pub mod seed;
pub mod snapshots;
pub mod summary;
pub mod tags;
pub mod view;
pub mod vm_actions;
pub mod vm_create;
pub mod vm_life;
pub mod vm_mappings;
pub mod vm_types;
pub mod vm_view;
pub mod vms;
pub mod volume_life;
pub mod volumes;
pub mod words;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    backend::{Backend, PowerEvent},
    clock::{self, Clock},
    error::ApiError,
    latency::Latency,
    quirks::Quirks,
};

/// What a call answers: the members of the answer, without `ResponseContext`.
pub type Reply = Result<Value, ApiError>;

/// The account of the client.
pub const ACCOUNT_ID: &str = "424200000001";
/// The account that owns the official images.
pub const OFFICIAL_ACCOUNT_ID: &str = "424200000000";
/// The alias of that account.
pub const OFFICIAL_ALIAS: &str = "Outscale";

/// What the HTTP front knows about a call and the region needs: the consequences of a fault that struck it.
#[derive(Debug, Clone, Default)]
pub struct Call {
    /// How long what this call makes stays invisible.
    pub invisible: Option<Duration>,
    /// The state in which what this call makes ends up.
    pub state: Option<String>,
}

/// What all resources have.
#[derive(Debug, Clone)]
pub struct Meta {
    pub sequence: u64,
    pub created: DateTime<Utc>,
    pub visible_from: Instant,
    pub tags: BTreeMap<String, String>,
    /// The state in which it ends up, by a fault.
    pub doom: Option<String>,
    /// Whether the sandbox was born with it.
    pub is_seed: bool,
}

impl Meta {
    /// Whether calls find it yet.
    pub fn is_visible(&self) -> bool {
        self.visible_from <= Instant::now()
    }

    /// `Tags` of the answer.
    pub fn tags_json(&self) -> Value {
        self.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect()
    }

    /// What tag filters look at beside `Tags`, and the dates.
    pub fn hidden(&self, object: &mut Map<String, Value>) {
        let pairs: Vec<String> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        object.insert("_TagPairs".to_owned(), json!(pairs));
        object.insert("_Created".to_owned(), json!(clock::text(self.created)));
    }
}

/// A client token that was used: by which request, for what.
pub struct UsedToken {
    request: Value,
    ids: Vec<String>,
}

/// Everything that exists.
pub struct State {
    sequence: u64,
    pub addresses: addresses::Addresses,
    pub vms: BTreeMap<String, vms::Vm>,
    pub volumes: BTreeMap<String, volumes::Volume>,
    pub snapshots: BTreeMap<String, snapshots::Snapshot>,
    pub images: BTreeMap<String, images::Image>,
    pub keypairs: BTreeMap<String, keypairs::Keypair>,
    pub security_groups: BTreeMap<String, security_groups::SecurityGroup>,
    pub public_ips: BTreeMap<String, public_ips::PublicIp>,
    pub nets: BTreeMap<String, places::Net>,
    pub subnets: BTreeMap<String, places::Subnet>,
    /// Groups whose last VM is gone but which still count as used until then.
    pub lingering_groups: Vec<(String, Instant)>,
    tokens: HashMap<(&'static str, String), UsedToken>,
    /// How many of a kind the account may have; absent: no limit.
    pub quotas: BTreeMap<String, i64>,
}

/// The region. Calls are methods, spread over one file per kind of resource.
pub struct Region {
    /// `eu-west-2`.
    pub name: String,
    pub clock: Clock,
    pub latency: Latency,
    pub backend: Arc<dyn Backend>,
    pub disks: disks::Disks,
    /// The VM that this machine is, if it is one.
    pub host_vm: Option<String>,
    state: Mutex<State>,
    quirks: RwLock<Quirks>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What a region is made of.
pub struct RegionParts {
    pub name: String,
    pub latency: Latency,
    pub quirks: Quirks,
    pub backend: Arc<dyn Backend>,
    pub disks: disks::Disks,
    pub addresses: addresses::Addresses,
    pub seeds: Vec<seed::SeedImage>,
    /// Makes this machine a VM of the region.
    pub host_vm: Option<host_vm::Identity>,
}

impl Region {
    /// A region with nothing in it but what every account finds: a Net, the default group, the official images.
    pub fn new(parts: RegionParts) -> Arc<Self> {
        let clock = Clock::default();
        let mut state = State {
            sequence: 0,
            addresses: parts.addresses,
            vms: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            images: BTreeMap::new(),
            keypairs: BTreeMap::new(),
            security_groups: BTreeMap::new(),
            public_ips: BTreeMap::new(),
            nets: BTreeMap::new(),
            subnets: BTreeMap::new(),
            lingering_groups: Vec::new(),
            tokens: HashMap::new(),
            quotas: places::default_quotas(),
        };
        seed::plant(&mut state, &parts.name, clock.now(), parts.seeds);
        if let Some(identity) = &parts.host_vm {
            host_vm::plant(&mut state, &parts.name, identity);
        }
        let region = Arc::new(Self {
            name: parts.name,
            clock,
            latency: parts.latency,
            backend: parts.backend,
            disks: parts.disks,
            host_vm: parts.host_vm.map(|identity| identity.vm_id),
            state: Mutex::new(state),
            quirks: RwLock::new(parts.quirks),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        let listener: Weak<Self> = Arc::downgrade(&region);
        let runtime = tokio::runtime::Handle::current();
        region.backend.on_power(Arc::new(move |vm_id: &str, event: PowerEvent| {
            if let Some(region) = listener.upgrade() {
                // The backend tells from a thread of its own.
                let _in_runtime = runtime.enter();
                region.power_changed_inside(vm_id, event);
            }
        }));
        region
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The switches as they are now.
    pub fn quirks(&self) -> Quirks {
        self.quirks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the switches.
    pub fn set_quirks(&self, quirks: Quirks) {
        for snapshot in self.state().snapshots.values_mut().filter(|snapshot| snapshot.meta.is_seed) {
            snapshot.permissions.is_public = quirks.official_snapshots_public;
        }
        *self.quirks.write().unwrap_or_else(PoisonError::into_inner) = quirks;
    }

    /// The names of the Subregions.
    pub fn subregions(&self) -> [String; 2] {
        [format!("{}a", self.name), format!("{}b", self.name)]
    }

    /// Destroys all VMs; the disks go with the state.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            tracing::warn!("some changes of state did not end in time");
        }
        let vm_ids: Vec<String> = self.state().vms.keys().cloned().collect();
        let mut destructions = tokio::task::JoinSet::new();
        for vm_id in vm_ids {
            let backend = Arc::clone(&self.backend);
            destructions.spawn(async move {
                if let Err(error) = backend.destroy(&vm_id).await {
                    tracing::warn!(vm.id = %vm_id, error = %Causes(&error), "could not destroy a VM");
                }
            });
        }
        destructions.join_all().await;
        let mut state = self.state();
        state.volumes.clear();
        state.snapshots.clear();
    }

    /// Runs a change of state beside the calls.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = closing.cancelled() => {}
            }
        });
    }

    /// The header of a new resource.
    fn meta(&self, state: &mut State, call: &Call) -> Meta {
        state.sequence += 1;
        let invisible =
            call.invisible.unwrap_or_else(|| Duration::from_millis(self.quirks().invisible_after_create_ms));
        Meta {
            sequence: state.sequence,
            created: self.clock.now(),
            visible_from: Instant::now() + invisible,
            tags: BTreeMap::new(),
            doom: call.state.clone(),
            is_seed: false,
        }
    }
}

impl State {
    /// The next place in the order of creation.
    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Refuses a kind of resource of which the account has its fill. Answers how many more it may have.
    pub fn room(&self, kind: &str, code: u32, wanted: i64) -> Result<i64, ApiError> {
        let Some(limit) = self.quotas.get(kind).copied() else { return Ok(i64::MAX) };
        let used = self.used(kind);
        if used + wanted > limit {
            return Err(ApiError::new(
                code,
                format!(
                    "The limit of {limit} has been exceeded. Only {limit} {kind} are allowed for your account."
                ),
            ));
        }
        Ok(limit - used)
    }

    /// How many of a kind the account has.
    pub fn used(&self, kind: &str) -> i64 {
        let count = match kind {
            "vms" => self.vms.values().filter(|vm| !vm.state.is_over()).count(),
            "volumes" => self.volumes.len(),
            "snapshots" => self.snapshots.values().filter(|snapshot| !snapshot.meta.is_seed).count(),
            "images" => self.images.values().filter(|image| !image.meta.is_seed).count(),
            "keypairs" => self.keypairs.len(),
            "security_groups" => self.security_groups.len(),
            "public_ips" => self.public_ips.len(),
            "nets" => self.nets.len(),
            _ => 0,
        };
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    /// What an earlier call with the same token made, if there was one; the same token with other parameters is
    /// refused.
    pub fn replayed<R: Serialize>(
        &self,
        action: &'static str,
        token: Option<&String>,
        request: &R,
        quirks: &Quirks,
    ) -> Result<Option<Vec<String>>, ApiError> {
        let Some(token) = token else { return Ok(None) };
        if token.len() > 64 {
            return Err(ApiError::new(4106, "The ClientToken must not be longer than 64 characters."));
        }
        match self.tokens.get(&(action, token.clone())) {
            None => Ok(None),
            Some(used) if used.request == comparable(request) => Ok(Some(used.ids.clone())),
            Some(_) => Err(ApiError::new(
                quirks.token_mismatch_code,
                format!("The ClientToken '{token}' was used with other parameters."),
            )),
        }
    }

    /// Remembers what a call with a token made.
    pub fn remember<R: Serialize>(
        &mut self,
        action: &'static str,
        token: Option<&String>,
        request: &R,
        ids: &[String],
    ) {
        if let Some(token) = token {
            let used = UsedToken { request: comparable(request), ids: ids.to_vec() };
            self.tokens.insert((action, token.clone()), used);
        }
    }

    /// The addresses that reach a VM.
    pub fn addresses_of(&self, vm: &vms::Vm) -> Vec<Ipv4Addr> {
        let mut addresses: Vec<Ipv4Addr> =
            vm.nics.iter().flat_map(|nic| nic.private_ips.iter().copied()).collect();
        if !addresses.contains(&vm.private_ip) {
            addresses.insert(0, vm.private_ip);
        }
        let linked = self
            .public_ips
            .values()
            .filter(|public_ip| public_ip.link.as_ref().is_some_and(|link| link.vm_id == vm.id));
        addresses.extend(linked.map(|public_ip| public_ip.address));
        addresses.extend(vm.automatic_ip);
        addresses
    }
}

/// A request as tokens compare it: DryRun does not count.
fn comparable<R: Serialize>(request: &R) -> Value {
    let mut value = serde_json::to_value(request).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.shift_remove("DryRun");
    }
    value
}

/// An id: a prefix and eight hexadecimal digits.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}-{:08x}", rand::random::<u32>())
}

/// Refuses a text that is not an id of this kind.
pub fn check_id(field: &str, prefix: &str, id: &str) -> Result<(), ApiError> {
    let Some(rest) = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else {
        return Err(ApiError::new(
            4104,
            format!("Invalid ID received for {field}: '{id}'. Expected format: {prefix}-"),
        ));
    };
    if rest.len() < 8 || !rest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(ApiError::new(4105, format!("Malformed ID received for {field}: '{id}'.")));
    }
    Ok(())
}

/// Turns `{...}` into a map.
pub fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// A pause; without a duration there is none, not even a turn of the scheduler.
async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Writes an error with all its causes in one line.
pub struct Causes<'a>(pub &'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
