//! Keys that change while a client lives: those that a VM's role is given have an end, and are replaced before it.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use secrecy::SecretString;

/// A pair of keys as it is at a moment.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// What has to be sent with temporary keys, if they came with it.
    pub session_token: Option<SecretString>,
}

/// Why there are no keys at the moment; for people.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct NoKeys(pub String);

/// Where keys come from that change. Asked before each try of a call, so it has to answer at once as long as it can.
pub trait KeySource: fmt::Debug + Send + Sync {
    /// Tells sources apart; the same as long as the account is the same.
    fn name(&self) -> String;

    /// The keys to use now.
    fn current(&self) -> BoxFuture<'_, Result<Arc<KeyPair>, NoKeys>>;

    /// The cloud did not accept this access key. Answers whether there are others by now.
    fn refused<'a>(&'a self, access_key: &'a str) -> BoxFuture<'a, bool>;
}
