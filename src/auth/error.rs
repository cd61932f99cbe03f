//! Why somebody is not let in, or may not do what they ask for.

use std::time::Duration;

use super::{Role, limits::LimitError};
use crate::domain::Problem;

/// A refusal. None of them repeats what was given as a token.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No token was given.
    #[error("This server asks for a token: send it as `Authorization: Bearer …`.")]
    Missing,
    /// The header is not what it should be.
    #[error("The header `Authorization` {0}.")]
    Malformed(&'static str),
    /// Nobody knows the token.
    #[error("This token is not known here, or it was revoked.")]
    Unknown,
    /// Its time is over.
    #[error("The token `{0}` has expired. Ask an administrator for a new one.")]
    Expired(String),
    /// It was revoked while the request was being answered.
    #[error("The token was revoked or has expired.")]
    Ended,
    /// A JWT is not accepted.
    #[error("The JWT is not accepted: {0}.")]
    Jwt(String),
    /// The OpenID provider cannot be asked.
    #[error("The OpenID provider's keys cannot be had right now, so the JWT cannot be checked.")]
    ProviderAway(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No role follows from the JWT's claims.
    #[error("None of your roles has a meaning here; the operator decides which have (`oidc.roles`).")]
    NoRole,
    /// Too many tokens of this address were wrong.
    #[error("Too many wrong tokens came from your address; try again in {} seconds.", .0.as_secs())]
    TooManyFailures(Duration),
    /// The role is too low.
    #[error("This needs the role `{needed}`, and `{name}` has the role `{role}`.")]
    Role {
        /// Who it is.
        name: String,
        /// What they have.
        role: Role,
        /// What they would need.
        needed: Role,
    },
    /// A limit of the token forbids it.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Too many of the principal's builds have not ended.
    #[error("`{name}` may have {limit} builds queued or running at once, and has {open}.")]
    TooManyBuilds {
        /// Who it is.
        name: String,
        /// How many it may have.
        limit: u32,
        /// How many it has.
        open: i64,
    },
    /// Too many builds of everybody have not ended.
    #[error(
        "{0} builds are queued or running, the most that this server takes; wait for one to end, or cancel some."
    )]
    QueueFull(u32),
    /// Too many streams are open.
    #[error(
        "{} open, the most that {}; close one, or try again later.",
        if *.0 == 1 { "1 stream is".to_owned() } else { format!("{} streams are", .0) },
        if *.1 { "this principal may have" } else { "this server allows" }
    )]
    TooManyStreams(
        /// The limit.
        usize,
        /// Whether it is the principal's own.
        bool,
    ),
}

/// How long to wait for a build to end.
const BUILDS_RETRY: Duration = Duration::from_secs(30);

/// How long to wait for a stream to end.
const STREAMS_RETRY: Duration = Duration::from_secs(10);

/// How long to wait for the OpenID provider.
const PROVIDER_RETRY: Duration = Duration::from_secs(10);

impl AccessError {
    /// What the client is told.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let new = |status, code, title| Problem::new(status, code, title, self.to_string());
        match self {
            Self::Missing => new(401, "token_missing", "A token is needed")
                .with_hint("`fournil` takes it from --token or FOURNIL_TOKEN; an administrator makes one."),
            Self::Malformed(_) => new(401, "token_malformed", "The token cannot be read"),
            Self::Unknown => new(401, "token_unknown", "The token is not known"),
            Self::Expired(_) => new(401, "token_expired", "The token has expired"),
            Self::Ended => new(401, "token_ended", "The token is no longer valid"),
            Self::Jwt(_) => new(401, "jwt_refused", "The JWT is not accepted"),
            Self::ProviderAway(_) => {
                new(503, "oidc_provider_away", "The OpenID provider does not answer").retryable()
            }
            Self::NoRole => new(403, "no_role", "You have no role here"),
            Self::TooManyFailures(_) => new(429, "too_many_failures", "Too many wrong tokens").retryable(),
            Self::Role { .. } => new(403, "role_too_low", "Your role does not allow this"),
            Self::Limit(_) => new(403, "token_limit", "A limit of the token forbids this"),
            Self::TooManyBuilds { .. } => new(429, "too_many_builds", "Too many builds at once").retryable(),
            Self::QueueFull(_) => new(429, "queue_full", "The queue is full").retryable(),
            Self::TooManyStreams(..) => new(429, "too_many_streams", "Too many streams are open").retryable(),
        }
    }

    /// How long the client should wait before it tries again.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyFailures(wait) => Some(*wait),
            Self::TooManyBuilds { .. } | Self::QueueFull(_) => Some(BUILDS_RETRY),
            Self::TooManyStreams(..) => Some(STREAMS_RETRY),
            Self::ProviderAway(_) => Some(PROVIDER_RETRY),
            _ => None,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750), with a 401.
    #[must_use]
    pub fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("Bearer realm=\"fournil\""),
            _ if self.problem().status == 401 => Some("Bearer realm=\"fournil\", error=\"invalid_token\""),
            _ => None,
        }
    }

    /// Whether a token was shown that is none: the sign of somebody who guesses.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Unknown | Self::Malformed(_) | Self::Jwt(_))
    }
}
