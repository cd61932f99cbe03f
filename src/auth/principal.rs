//! Who a request is from.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Limits, Role};

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub who: Who,
    /// What they may do.
    pub role: Role,
    /// What they are limited to.
    pub limits: Limits,
    /// When they have to show themselves anew.
    pub until: Option<DateTime<Utc>>,
}

/// How somebody was recognised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// There are no tokens, and the request came over the loopback address.
    Local,
    /// By a token.
    Token {
        /// Its id.
        id: Uuid,
        /// Its name.
        name: String,
    },
    /// By a JWT of the OpenID provider.
    Oidc {
        /// Its `sub`.
        subject: String,
    },
}

impl Who {
    /// What they are called. No token can be called like the others.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Local => "local".to_owned(),
            Self::Token { name, .. } => name.clone(),
            Self::Oidc { subject } => format!("oidc:{subject}"),
        }
    }
}

impl Principal {
    /// Whoever is on this machine while there are no tokens.
    #[must_use]
    pub fn local() -> Self {
        Self { who: Who::Local, role: Role::Admin, limits: Limits::default(), until: None }
    }

    /// What they are called in the audit and as `created_by`, see [`Who::name`].
    #[must_use]
    pub fn name(&self) -> String {
        self.who.name()
    }

    /// The token, if it is one.
    #[must_use]
    pub const fn token_id(&self) -> Option<Uuid> {
        match &self.who {
            Who::Token { id, .. } => Some(*id),
            Who::Local | Who::Oidc { .. } => None,
        }
    }

    /// Whose idempotency keys theirs are. By the token's id, so that a new token of an old name does not get answers that were
    /// another's.
    #[must_use]
    pub fn key_scope(&self) -> String {
        match &self.who {
            Who::Local => String::new(),
            Who::Token { id, .. } => format!("token:{id}"),
            Who::Oidc { subject } => format!("oidc:{subject}"),
        }
    }
}
