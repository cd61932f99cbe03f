//! Post-processors of a plan: what happens to the artifact once it is made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::provisioner::ShellLocalPlan;

/// One post-processor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostProcessor {
    /// `name`, by which a request can except it; the kind if the template gives none.
    pub name: String,
    /// What it does.
    pub action: PostProcessorAction,
    /// `keep_input_artifact`; absent: what the kind does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_input_artifact: Option<bool>,
}

/// The kinds of post-processor.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum PostProcessorAction {
    /// Replaces the artifact by files.
    Artifice(ArtificePlan),
    /// Writes checksums of the artifact's files.
    Checksum(ChecksumPlan),
    /// Writes Packer's manifest.
    Manifest(ManifestPlan),
    /// Runs commands on the worker's host.
    ShellLocal(Box<ShellLocalPlan>),
}

impl PostProcessorAction {
    /// Packer's name of the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Artifice(_) => "artifice",
            Self::Checksum(_) => "checksum",
            Self::Manifest(_) => "manifest",
            Self::ShellLocal(_) => "shell-local",
        }
    }
}

/// Options of `artifice`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ArtificePlan {
    /// `files`: patterns of paths below the working folder; never empty.
    pub files: Vec<String>,
}

/// Options of `checksum`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChecksumPlan {
    /// `checksum_types`; never empty.
    pub types: Vec<ChecksumType>,
    /// `output`: a late template with `.BuildName`, `.BuilderType`, `.ChecksumType`.
    pub output: String,
}

/// A kind of checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumType {
    /// The default.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-2 of 224 bits.
    Sha224,
    /// SHA-2 of 256 bits.
    Sha256,
    /// SHA-2 of 384 bits.
    Sha384,
    /// SHA-2 of 512 bits.
    Sha512,
}

impl ChecksumType {
    /// Every one there is.
    pub const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    /// The word in templates.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha224 => "sha224",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// Options of `manifest`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestPlan {
    /// `output`: a path among the build's files; a late template.
    pub output: String,
    /// `strip_path`: only the names of files.
    pub strip_path: bool,
    /// `strip_time`: without `build_time`.
    pub strip_time: bool,
    /// `custom_data`; names and values are late templates.
    pub custom_data: BTreeMap<String, String>,
}
