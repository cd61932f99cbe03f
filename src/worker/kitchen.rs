//! What a worker works with, and how a run gets its cloud: credentials resolved, client made.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use sqlx::PgPool;

use super::WorkerSettings;
use crate::{
    bake::{CellHome, Cloud, StepError},
    credentials::{
        endpoints::AllowedEndpoints,
        provider::{self, CredentialsError, EnvironmentSource},
        vault::Vault,
    },
    domain::plan::AccessPlan,
    logs::LogLimits,
    metadata::MetadataService,
    oapi::{OapiPool, Waits},
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

impl Kitchen {
    /// The cloud of a run, and a sentence that tells where its keys came from.
    ///
    /// # Errors
    /// No credentials, or an endpoint that cannot be used.
    pub fn cloud(&self, access: &AccessPlan, run: &str) -> Result<(Cloud, String), StepError> {
        let resolved = provider::resolve(access, &self.environment, &self.endpoints).map_err(|error| {
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
        let config = resolved.client_config(user_agent).map_err(|error| invalid(&error))?;
        let client = self.oapi.client(config).map_err(|error| invalid(&error))?;
        let cloud = Cloud { client, waits: self.waits.clone(), region: resolved.region, settle: self.settle };
        let notices = resolved.notices.iter().map(|notice| format!("; {notice}"));
        Ok((cloud, resolved.source + &notices.collect::<String>()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
