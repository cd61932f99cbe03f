//! Packer's manifest: what the `manifest` post-processor writes, and `GET /builds/{id}/manifest` shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::BuildId;

/// Packer's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Manifest {
    /// One for each artifact.
    pub builds: Vec<ManifestBuild>,
    /// The build's id.
    pub last_run_uuid: BuildId,
}

/// An entry of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestBuild {
    /// Packer's name of the build.
    pub name: String,
    /// The run's name, if that is another one: two builds of an HCL2 template may use the same source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Packer's name of the builder.
    #[schema(example = "outscale-bsu")]
    pub builder_type: String,
    /// When it was made, in seconds of Unix time; absent with `strip_time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_time: Option<i64>,
    /// The artifact's files; null for an OMI, which has none.
    pub files: Option<Vec<ManifestFile>>,
    /// `region:ami-…`, several separated by commas; empty for an artifact of files.
    #[schema(example = "eu-west-2:ami-12345678")]
    pub artifact_id: String,
    /// The build's id.
    pub packer_run_uuid: BuildId,
    /// `custom_data` of the post-processor.
    pub custom_data: Option<BTreeMap<String, String>>,
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ManifestFile {
    /// Its path among the build's files, or its name only.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// Packer's name of a builder.
#[must_use]
pub fn builder_type(kind: &str) -> String {
    kind.replacen("osc-", "outscale-", 1)
}
