//! What a run announces when it has succeeded.

use serde::{Deserialize, Serialize};

/// A thing in the cloud that a build made and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Artifact {
    /// A machine image with the snapshots behind it.
    Omi {
        /// Region in which it can be launched.
        region: String,
        /// `ami-…`.
        id: String,
        /// The name it was given.
        name: String,
        /// `snap-…` of each of its volumes.
        snapshots: Vec<String>,
    },
    /// A prepared volume.
    Volume {
        /// Region in which it is.
        region: String,
        /// `vol-…`.
        id: String,
        /// The device name it had in the template.
        device: String,
        /// Size in GiB.
        size: i64,
        /// `snap-…`, if a snapshot was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
    },
}

impl Artifact {
    /// Packer's artifact id: `region:id`.
    #[must_use]
    pub fn packer_id(&self) -> String {
        match self {
            Self::Omi { region, id, .. } | Self::Volume { region, id, .. } => format!("{region}:{id}"),
        }
    }
}
