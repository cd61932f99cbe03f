//! Key pairs: CreateKeypair, ReadKeypairs, DeleteKeypair.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::ResourceTag;
use super::request::{Done, paged, request};

/// Imports a public key, or has OUTSCALE make a 2048-bit RSA pair. OAPI takes no token here: after a lost answer look
/// for the name; a private key made there is lost then.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateKeypair {
    /// At most 255 printable ASCII characters.
    pub keypair_name: String,
    /// Base64 of the key's text (OpenSSH, RFC 4716, PEM or PKCS#8).
    pub public_key: Option<String>,
}
request!(CreateKeypair => CreateKeypairAnswer, OnlyIfNotRun);

/// The new pair.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateKeypairAnswer {
    pub keypair: KeypairCreated,
}

/// A pair just made.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeypairCreated {
    pub keypair_name: String,
    pub keypair_id: Option<String>,
    pub keypair_fingerprint: Option<String>,
    pub keypair_type: Option<String>,
    /// PEM; only if OUTSCALE made the pair, and only this once.
    pub private_key: Option<SecretString>,
}

paged! {
    /// Lists key pairs.
    ReadKeypairs, FiltersKeypair => ReadKeypairsAnswer { keypairs: Keypair }
}

/// What ReadKeypairs can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersKeypair {
    pub keypair_fingerprints: Vec<String>,
    pub keypair_ids: Vec<String>,
    pub keypair_names: Vec<String>,
    pub keypair_types: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// A key pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Keypair {
    pub keypair_name: String,
    pub keypair_id: Option<String>,
    /// MD5 in colon form.
    pub keypair_fingerprint: Option<String>,
    pub keypair_type: Option<String>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

/// Deletes a key pair by id or name; an unknown one is "not found".
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteKeypair {
    pub keypair_id: Option<String>,
    pub keypair_name: Option<String>,
}
request!(DeleteKeypair => Done, Always);
