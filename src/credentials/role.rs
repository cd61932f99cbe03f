//! Keys of the role that the VM has on which fournil runs, from the metadata service. They have an end, so they are fetched
//! anew before it, once for all that wait, and used as long as they are good when that does not work at once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, future::BoxFuture};
use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{aws_file::is_of_aws, provider::OfRole};
use crate::{
    metadata::{MetadataError, MetadataService},
    oapi::{KeyPair, KeySource, NoKeys},
};

/// Where roles are listed, below `/latest/`.
const ROLES: &str = "meta-data/iam/security-credentials/";

/// Keys with less life than this are replaced, unless they never had much more.
const LEAST_LIFE: TimeDelta = TimeDelta::minutes(5);

/// Bounds of the time between two tries while the old keys are good.
const PAUSE: (TimeDelta, TimeDelta) = (TimeDelta::seconds(1), TimeDelta::minutes(1));

/// How often it is tried when there are no good keys any more.
const LAST_TRIES: u32 = 6;

/// Tells the time; tests move it.
type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Why the role has no keys.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The metadata service does not answer.
    #[error("{0}")]
    Metadata(MetadataError),
    /// The VM has no role.
    #[error("this VM has no role: the metadata service lists none at {ROLES}")]
    NoRole,
    /// The answer is not what such a service says.
    #[error("the keys of the role `{role}` cannot be used: {why}")]
    Unusable {
        /// The role.
        role: String,
        /// The reason, without any content.
        why: String,
    },
}

/// The roles of this VM, each with its keys. Cheap to clone.
#[derive(Clone)]
pub struct Roles {
    metadata: MetadataService,
    known: Arc<Mutex<BTreeMap<String, Arc<RoleKeys>>>>,
    clock: Clock,
}

impl Roles {
    /// The roles that this metadata service tells of.
    #[must_use]
    pub fn new(metadata: MetadataService) -> Self {
        Self { metadata, known: Arc::default(), clock: Arc::new(Utc::now) }
    }

    /// The keys of the VM's role.
    ///
    /// # Errors
    /// There is none, or it has no keys that can be used.
    pub(super) async fn current(&self) -> Result<OfRole, RoleError> {
        let source = match self.role().await {
            Ok(role) => {
                let mut known = self.lock();
                known.entry(role.clone()).or_insert_with(|| Arc::new(self.keys_of(role))).clone()
            }
            // A service that is away for a moment does not take away what is good.
            Err(error) => self.lock().values().find(|source| source.is_good()).cloned().ok_or(error)?,
        };
        let keys = source.get().await?;
        Ok(OfRole { keys, source })
    }

    async fn role(&self) -> Result<String, RoleError> {
        let list = match self.metadata.get(ROLES).await {
            Ok(list) => list,
            Err(MetadataError::Absent { .. }) => return Err(RoleError::NoRole),
            Err(error) => return Err(RoleError::Metadata(error)),
        };
        let role = list.lines().map(str::trim).find(|line| !line.is_empty()).ok_or(RoleError::NoRole)?;
        // It becomes part of a path.
        let is_name = role.len() <= 128
            && !role.starts_with('.')
            && role.chars().all(|char| char.is_ascii_alphanumeric() || "+=,.@_-".contains(char));
        if !is_name {
            let why = "the metadata service lists a name that is none".to_owned();
            return Err(RoleError::Unusable { role: "?".to_owned(), why });
        }
        Ok(role.to_owned())
    }

    fn keys_of(&self, role: String) -> RoleKeys {
        RoleKeys {
            role,
            metadata: self.metadata.clone(),
            clock: self.clock.clone(),
            held: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<RoleKeys>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles").field("known", &self.lock().keys()).finish_non_exhaustive()
    }
}

/// The keys of one role.
pub struct RoleKeys {
    role: String,
    metadata: MetadataService,
    clock: Clock,
    held: Mutex<Option<Held>>,
    /// Held by the one who fetches.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Held {
    keys: Arc<KeyPair>,
    /// When they end.
    end: DateTime<Utc>,
    /// When newer ones are looked for.
    look: DateTime<Utc>,
}

/// As the service writes it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    code: Option<String>,
    access_key_id: String,
    secret_access_key: SecretString,
    #[serde(default)]
    token: Option<SecretString>,
    expiration: DateTime<Utc>,
}

impl fmt::Debug for RoleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleKeys").field("role", &self.role).finish_non_exhaustive()
    }
}

impl RoleKeys {
    /// The role's name.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    fn now(&self) -> DateTime<Utc> {
        (self.clock)()
    }

    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, held: Held) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
    }

    fn is_good(&self) -> bool {
        self.held().is_some_and(|held| held.end > self.now())
    }

    /// The keys to use now.
    async fn get(&self) -> Result<Arc<KeyPair>, RoleError> {
        let now = self.now();
        match self.held() {
            Some(held) if now < held.look => Ok(held.keys),
            // Somebody else is at it, or it does not work at the moment: the old ones are still good.
            Some(held) if now < held.end => match self.fetching.try_lock() {
                Ok(_turn) => Ok(self.renew(held).await),
                Err(_) => Ok(held.keys),
            },
            _ => {
                let _turn = self.fetching.lock().await;
                match self.held() {
                    Some(held) if self.now() < held.end => Ok(held.keys),
                    _ => self.fetch_patiently().await,
                }
            }
        }
    }

    async fn renew(&self, old: Held) -> Arc<KeyPair> {
        let now = self.now();
        let again = now + ((old.end - now) / 10).clamp(PAUSE.0, PAUSE.1);
        match self.fetch().await {
            Ok(new) if new.end > old.end => {
                tracing::info!(role = self.role, until = %new.end, "the keys of the role {} are renewed", self.role);
                self.hold(new.clone());
                new.keys
            }
            // The service has no newer ones yet.
            Ok(same) => {
                self.hold(Held { look: again, ..same.clone() });
                same.keys
            }
            Err(error) => {
                tracing::warn!(role = self.role, until = %old.end, error = %error, "the keys of the role {} could not be renewed, another try follows", self.role);
                let keys = old.keys.clone();
                self.hold(Held { look: again, ..old });
                keys
            }
        }
    }

    async fn fetch_patiently(&self) -> Result<Arc<KeyPair>, RoleError> {
        let had_some = self.held().is_some();
        let mut pause = Duration::from_millis(200);
        let mut tries = 1;
        loop {
            match self.fetch().await {
                Ok(new) => {
                    self.hold(new.clone());
                    return Ok(new.keys);
                }
                // Only where it has worked before there is something to wait for.
                Err(error) if !had_some || tries == LAST_TRIES => return Err(error),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    tries += 1;
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Held, RoleError> {
        let unusable = |why: &str| RoleError::Unusable { role: self.role.clone(), why: why.to_owned() };
        let text = self.metadata.get(&format!("{ROLES}{}", self.role)).await.map_err(RoleError::Metadata)?;
        let text = Zeroizing::new(text);
        // The library's words could quote a key.
        let answer: Answer = serde_json::from_str(&text)
            .map_err(|_| unusable("the metadata service's answer is not understood"))?;
        if answer.code.as_deref().is_some_and(|code| code != "Success") {
            return Err(unusable("the metadata service says that it has none now"));
        }
        if is_of_aws(&answer.access_key_id) {
            return Err(unusable(
                "they are AWS's (they begin with AKIA or ASIA), which are not sent to OUTSCALE",
            ));
        }
        let now = self.now();
        if answer.expiration <= now {
            return Err(unusable(
                "they have expired; if the service is right, this machine's clock is wrong",
            ));
        }
        let life = answer.expiration - now;
        let margin = (life / 4).max(LEAST_LIFE.min(life / 2));
        let keys = KeyPair {
            access_key: answer.access_key_id,
            secret_key: answer.secret_access_key,
            session_token: answer
                .token
                .filter(|token| !secrecy::ExposeSecret::expose_secret(token).is_empty()),
        };
        Ok(Held { keys: Arc::new(keys), end: answer.expiration, look: answer.expiration - margin })
    }
}

impl KeySource for RoleKeys {
    fn name(&self) -> String {
        format!("role {}", self.role)
    }

    fn current(&self) -> BoxFuture<'_, Result<Arc<KeyPair>, NoKeys>> {
        async { self.get().await.map_err(|error| NoKeys(error.to_string())) }.boxed()
    }

    fn refused<'a>(&'a self, access_key: &'a str) -> BoxFuture<'a, bool> {
        async move {
            let _turn = self.fetching.lock().await;
            // Others may have asked meanwhile.
            if self.held().is_some_and(|held| held.keys.access_key != access_key) {
                return true;
            }
            match self.fetch().await {
                Ok(new) if new.keys.access_key != access_key => {
                    self.hold(new);
                    true
                }
                _ => false,
            }
        }
        .boxed()
    }
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
