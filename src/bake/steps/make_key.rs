//! The key with which fournil gets into the VM: the template's own, or a temporary one that is made here. It is in the
//! journal (sealed) before the cloud hears of it, so that a resumed run has the key of the key pair it finds.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    communicator::keys::TemporaryKey,
    domain::plan::{Communicator, SshPlan},
    oapi::types::{FiltersKeypair, ReadKeypairs},
};

/// Provides the key.
pub struct MakeKey<'a> {
    /// What the template says.
    pub communicator: &'a Communicator,
}

/// The key to use.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Key {
    /// The key pair of the account that the VM gets.
    pub keypair_name: Option<String>,
    /// The temporary key, if one was made.
    pub temporary: Option<TemporaryHalves>,
}

/// A temporary key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemporaryHalves {
    /// The private key (OpenSSH), sealed.
    pub sealed_private: Vec<u8>,
    /// The public key as it stands in `authorized_keys`.
    pub public: String,
}

impl Key {
    /// The temporary private key.
    ///
    /// # Errors
    /// It was sealed with another master key.
    pub fn private(&self, cx: &Cx) -> Result<Option<SecretString>, StepError> {
        self.temporary.as_ref().map(|halves| cx.open(&halves.sealed_private)).transpose()
    }
}

impl Step for MakeKey<'_> {
    const NAME: &'static str = "make_key";
    type Output = Key;

    async fn run(&self, cx: &Cx) -> Result<Key, StepError> {
        let Communicator::Ssh(ssh) = self.communicator else {
            return Ok(Key::default());
        };
        if ssh.private_key.is_some() || ssh.keypair_name.is_some() {
            let whose = ssh
                .keypair_name
                .as_deref()
                .map_or("the template's key".to_owned(), |name| format!("key pair {name}"));
            cx.say(format!("using {whose}")).await;
            return Ok(Key { keypair_name: ssh.keypair_name.clone(), temporary: None });
        }
        if ssh.password.is_some() && ssh.temporary_key_pair_name.is_none() {
            cx.say("using the password, no key pair").await;
            return Ok(Key::default());
        }
        temporary(cx, ssh).await
    }
}

async fn temporary(cx: &Cx, ssh: &SshPlan) -> Result<Key, StepError> {
    if let Some(name) = &ssh.temporary_key_pair_name {
        // What carries the name later on must be ours, or it would be removed as such.
        let filters = FiltersKeypair { keypair_names: vec![name.clone()], ..FiltersKeypair::default() };
        if !cx.cloud.client.read_all(&ReadKeypairs::filtered(filters)).await?.is_empty() {
            return Err(StepError::found(
                409,
                "keypair_name_taken",
                "The key pair's name is taken",
                format!("the account has a key pair named `{name}` already"),
            )
            .hint("Choose another `temporary_key_pair_name`, or leave it out."));
        }
    }
    let name = ssh.temporary_key_pair_name.clone().unwrap_or_else(|| cx.name("key"));
    let (kind, comment) = (ssh.temporary_key_pair_type, name.clone());
    // Making an RSA key takes a while and must not hold up other runs.
    let made = tokio::task::spawn_blocking(move || TemporaryKey::generate(kind, &comment)).await;
    let failed =
        |error: String| StepError::found(500, "key_generation", "The temporary key could not be made", error);
    let key = made.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(Key {
        keypair_name: Some(name),
        temporary: Some(TemporaryHalves {
            sealed_private: cx.seal(&key.private)?,
            public: key.public_openssh,
        }),
    })
}
