//! Everything under `/builds`: one endpoint a file. `intake` and `accept` are shared by those that make builds.

pub mod accept;
pub mod artifacts;
pub mod cancel;
pub mod cleanup;
pub mod create;
pub mod destroy;
pub mod files;
pub mod get;
pub(crate) mod intake;
pub mod list;
pub mod manifest;
pub mod release;
pub mod resources;
pub mod retry;
pub mod steps;
pub mod template;
pub mod validate;
pub mod view;

use sqlx::PgConnection;

use super::problem::ApiError;
use crate::{
    domain::BuildId,
    store::log_lines::{self, Head},
};

/// Answers 404 if there is no such build, so that an empty list always means an empty list.
async fn exists(db: &mut PgConnection, build: BuildId) -> Result<Head, ApiError> {
    log_lines::head(db, build).await?.ok_or_else(|| ApiError::BuildNotFound(build.to_string()))
}
