//! Tags: CreateTags.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{Done, request};

/// A tag of a resource: a key of 1–255 characters and a value of at most 255.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceTag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

impl ResourceTag {
    /// The tag `key=value`.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

/// Sets tags on resources, of one kind or several; safe to repeat. An unknown id is "not found".
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateTags {
    pub resource_ids: Vec<String>,
    pub tags: Vec<ResourceTag>,
}
request!(CreateTags => Done, Always);
