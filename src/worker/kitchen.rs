//! What a worker works with, and how a run gets its cloud: credentials resolved, client made.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

use super::{WorkerSettings, told_keys::ToldKeys};
use crate::{
    bake::{CellHome, Cloud, StepError},
    credentials::{
        endpoints::AllowedEndpoints,
        provider::{self, CredentialsError, EnvironmentSource},
        role::Roles,
        sets::StoredSet,
        vault::Vault,
    },
    domain::plan::AccessPlan,
    logs::{LogLimits, Redactor},
    metadata::MetadataService,
    oapi::{KeySource, OapiPool, Trust, Waits},
    store::{StoreError, credential_sets},
};

/// What every run of a worker shares. Cheap to clone.
#[derive(Clone)]
pub struct Kitchen {
    /// The database.
    pub store: PgPool,
    /// Opens what is sealed.
    pub vault: Arc<Vault>,
    /// One pace for each account.
    pub oapi: Arc<OapiPool>,
    /// Shared waits.
    pub waits: Waits,
    /// Where keys come from that a template does not bring.
    pub environment: Arc<EnvironmentSource>,
    /// Tells which VM this worker runs on.
    pub metadata: MetadataService,
    /// What chroots are made with.
    pub cells: Arc<CellHome>,
    /// The keys that the role of this worker's VM is given.
    pub roles: Roles,
    /// Whom calls to the cloud trust, and their way there.
    pub trust: Arc<Trust>,
    /// Which endpoints may get whose keys.
    pub endpoints: Arc<AllowedEndpoints>,
    /// How this worker works.
    pub settings: WorkerSettings,
    /// What templates see of the environment beside what the request brings.
    pub env_allowed: Arc<BTreeMap<String, String>>,
    /// How much a log may hold.
    pub log_limits: LogLimits,
    /// How long a new resource may stay invisible.
    pub settle: Duration,
    /// Where uploaded folders are unpacked for the time of a run.
    pub scratch: Arc<PathBuf>,
    /// Held as long as the folder is in use, so that other processes on the same data folder leave it alone.
    pub scratch_lock: Arc<std::fs::File>,
}

/// The cloud of a run, ready to be called.
pub struct Opened {
    /// The cloud.
    pub cloud: Cloud,
    /// Where the keys came from, for people.
    pub keys_from: String,
}

impl Kitchen {
    /// The cloud of a run. `redactor` gets to know all keys that are used there, also those that come later.
    ///
    /// # Errors
    /// No credentials, or an endpoint that cannot be used.
    pub async fn cloud(
        &self,
        access: &AccessPlan,
        run: &str,
        redactor: &Redactor,
    ) -> Result<Opened, StepError> {
        let set = match &access.set {
            Some(name) => Some(self.stored_set(name).await?),
            None => None,
        };
        let resolved =
            provider::resolve(access, set.as_ref(), &self.environment, &self.endpoints, &self.roles).await;
        let resolved = resolved.map_err(|error| {
            let code = match error {
                CredentialsError::NotAllowed { .. } => "endpoint_not_allowed",
                CredentialsError::Endpoint { .. } | CredentialsError::Region { .. } => "endpoint_invalid",
                _ => "credentials_missing",
            };
            StepError::found(422, code, "There are no usable credentials", chain(&error))
        })?;
        let invalid = |error: &dyn std::error::Error| {
            StepError::found(422, "endpoint_invalid", "The endpoint cannot be used", chain(error))
        };
        let user_agent = format!("fournil/{} (run {run})", env!("CARGO_PKG_VERSION"));
        let mut config = resolved.client_config(user_agent).map_err(|error| invalid(&error))?;
        self.trust.add_to(&mut config.tls);
        config.key_source =
            config.key_source.map(|source| Arc::new(ToldKeys::new(source, redactor)) as Arc<dyn KeySource>);
        let client = self.oapi.client(config).map_err(|error| invalid(&error))?;
        let cloud = Cloud { client, waits: self.waits.clone(), region: resolved.region, settle: self.settle };
        let notices = resolved.notices.iter().map(|notice| format!("; {notice}"));
        let keys_from = resolved.source + &notices.collect::<String>();
        let mut secrets = vec![resolved.secret_key];
        // The lines between those that every PEM has.
        let pem = resolved.client_certificate.as_ref().map_or("", |pem| pem.expose_secret());
        let lines = pem.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("-----"));
        secrets.extend(lines.map(SecretString::from));
        redactor.add(&secrets);
        Ok(Opened { cloud, keys_from })
    }

    async fn stored_set(&self, name: &str) -> Result<StoredSet, StepError> {
        let mut db = self.store.acquire().await.map_err(StoreError::from)?;
        let set = credential_sets::open(&mut db, &self.vault, name, chrono::Utc::now()).await?;
        set.ok_or_else(|| {
            let error = CredentialsError::NoSuchSet(name.to_owned());
            StepError::found(422, "credentials_missing", "There are no usable credentials", chain(&error))
        })
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
