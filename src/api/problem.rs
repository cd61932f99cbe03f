//! Every error that the API answers: one enum, a slug a variant. An error becomes a response here; which request it
//! belongs to is added by `edge`, where it is also logged.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    auth::AccessError,
    domain::{BuildId, BuildState, Problem, problem::FieldProblem},
    store::StoreError,
};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How long a client should wait before it asks a database again that is away.
const DATABASE_AWAY_RETRY: Duration = Duration::from_secs(2);

/// How long a client should wait for the first request with its key to be accepted.
const KEY_IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

/// How long a client should wait when too many uploads are under way.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// The bodies that a build can be asked for with.
pub const ACCEPTED_TYPES: &str =
    "application/json, application/hcl, application/x-tar, application/gzip or multipart/form-data";

/// Why a request is not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request was understood and is wrong; the problem says where.
    #[error("{}", .0.detail)]
    Invalid(Box<Problem>),
    /// No such build.
    #[error("There is no build `{0}`.")]
    BuildNotFound(String),
    /// The build has no such file.
    #[error("Run `{run}` of the build has downloaded no file `{path}`.")]
    FileNotFound {
        /// The run's name.
        run: String,
        /// The file's path.
        path: String,
    },
    /// No such route.
    #[error("There is nothing at `{0}`.")]
    RouteNotFound(String),
    /// The route does not know the method.
    #[error("`{0}` cannot be used here; the `Allow` header tells what can.")]
    MethodNotAllowed(String),
    /// A query parameter is wrong or unknown.
    #[error("{detail}")]
    InvalidParameter {
        /// The parameter.
        name: String,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// A header is wrong.
    #[error("The header `{name}` {detail}.")]
    InvalidHeader {
        /// The header.
        name: &'static str,
        /// What is wrong and what would be right.
        detail: String,
    },
    /// The body has a media type that nothing is known about.
    #[error("{0}")]
    UnsupportedMediaType(String),
    /// The body is too large.
    #[error("The body is larger than {limit} bytes, the most that is accepted of this media type.")]
    BodyTooLarge {
        /// In bytes.
        limit: usize,
    },
    /// The body did not come in time.
    #[error("The body did not arrive within {} seconds.", .0.as_secs())]
    BodyTooSlow(Duration),
    /// The body broke off or is malformed.
    #[error("The body could not be read: {0}.")]
    BodyUnreadable(String),
    /// Too many uploads at once.
    #[error("Too many uploads are under way; try again in a moment.")]
    Busy,
    /// The idempotency key was used for something else.
    #[error("The Idempotency-Key was used with another body before; use a new key for a new request.")]
    KeyReused,
    /// A request with the same idempotency key is under way.
    #[error("A request with this Idempotency-Key is being accepted right now; ask again in a second.")]
    KeyInFlight,
    /// The build has ended.
    #[error("Build {build} has ended: it is {state}. Nothing is left to cancel.")]
    AlreadyFinished {
        /// The build.
        build: BuildId,
        /// Its state.
        state: BuildState,
    },
    /// The build has not ended.
    #[error("Build {build} is {state}. Wait for its end, or cancel it, before you ask for this.")]
    NotFinished {
        /// The build.
        build: BuildId,
        /// Its state.
        state: BuildState,
    },
    /// No run of the build is held.
    #[error("Nothing of build {build} is held: it is {state}.")]
    NotHeld {
        /// The build.
        build: BuildId,
        /// Its state.
        state: BuildState,
    },
    /// A step cannot be run again.
    #[error(
        "Build {0} has no time left or was cancelled, so no step can be run again; release it with `cleanup` or `keep`."
    )]
    NotAgain(BuildId),
    /// Who asks is not let in, or may not do this.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// No such token.
    #[error("There is no token `{0}`, or it is revoked already.")]
    TokenNotFound(String),
    /// A token of this name is valid.
    #[error("There is a token `{0}`. Revoke it first, or choose another name.")]
    TokenNameTaken(String),
    /// The request's headers are too many or too long.
    #[error(
        "The request has {count} headers of {bytes} bytes; at most {most} headers of {limit} bytes are accepted."
    )]
    HeadersTooLarge {
        /// How many there are.
        count: usize,
        /// Their names and values, in bytes.
        bytes: usize,
        /// How many there may be.
        most: usize,
        /// How many bytes they may have.
        limit: usize,
    },
    /// A page of another site sent the request.
    #[error("Pages of other sites may not send requests here (origin `{0}`).")]
    ForeignOrigin(String),
    /// The request was sent to a name that is not ours.
    #[error(
        "This server is not known as `{0}`. Use its address or `localhost`, or have the operator allow the name in the configuration."
    )]
    ForeignHost(String),
    /// The server takes no more requests of this kind because it is about to end, or is not ready yet.
    #[error("{0}")]
    NotReady(String),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of ours panicked or was stopped.
    #[error("a task of the API did not end well")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApiError {
    /// A wrong query parameter.
    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::InvalidParameter { name: name.into(), detail: detail.into() }
    }

    /// What the client is told. A 5xx tells nothing of its source.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let new = |status: u16, code, title| Problem::new(status, code, title, self.to_string());
        match self {
            Self::Invalid(problem) => (**problem).clone(),
            Self::BuildNotFound(_) => new(404, "build_not_found", "There is no such build"),
            Self::FileNotFound { .. } => new(404, "file_not_found", "There is no such file")
                .with_hint("`GET /builds/{id}/files` lists what there is."),
            Self::RouteNotFound(_) => new(404, "route_not_found", "There is no such page")
                .with_hint("`GET /openapi.yaml` describes everything there is."),
            Self::MethodNotAllowed(_) => new(405, "method_not_allowed", "The method is not allowed here"),
            Self::InvalidParameter { name, detail } => {
                new(400, "invalid_parameter", "A query parameter is wrong")
                    .with_errors(vec![FieldProblem::new(format!("query parameter `{name}`: {detail}"))])
            }
            Self::InvalidHeader { .. } => new(400, "invalid_header", "A header is wrong"),
            Self::UnsupportedMediaType(_) => {
                new(415, "unsupported_media_type", "The media type is not supported")
            }
            Self::BodyTooLarge { .. } => new(413, "body_too_large", "The body is too large"),
            Self::BodyTooSlow(_) => new(408, "body_too_slow", "The body took too long").retryable(),
            Self::BodyUnreadable(_) => new(400, "body_unreadable", "The body cannot be read"),
            Self::Busy => new(503, "busy", "Too many uploads at once").retryable(),
            Self::KeyReused => new(422, "idempotency_key_reused", "The key belongs to another request"),
            Self::KeyInFlight => {
                new(409, "idempotency_key_in_flight", "The first request is still being accepted").retryable()
            }
            Self::AlreadyFinished { .. } => new(409, "build_finished", "The build has ended"),
            Self::NotFinished { .. } => new(409, "build_not_finished", "The build has not ended"),
            Self::NotHeld { .. } => new(409, "not_held", "Nothing is held"),
            Self::NotAgain(_) => new(409, "no_time_left", "The step cannot be run again"),
            Self::Access(error) => error.problem(),
            Self::TokenNotFound(_) => new(404, "token_not_found", "There is no such token"),
            Self::TokenNameTaken(_) => new(409, "token_name_taken", "The name is taken"),
            Self::HeadersTooLarge { .. } => new(431, "headers_too_large", "The headers are too large"),
            Self::ForeignOrigin(_) => new(403, "foreign_origin", "Requests of other sites are refused"),
            Self::ForeignHost(_) => new(403, "foreign_host", "The server is not known under this name"),
            Self::NotReady(_) => new(503, "not_ready", "The server is not ready").retryable(),
            Self::Store(error) if error.is_transient() => Problem::new(
                503,
                "database_away",
                "The database does not answer",
                "The database does not answer right now; nothing was changed. Try again in a moment.",
            )
            .retryable(),
            Self::Store(_) | Self::Internal(_) => Problem::new(
                500,
                "internal",
                "Something went wrong in fournil",
                "This is a fault of fournil or of its set-up. Its log has the details under this request id.",
            ),
        }
    }

    /// How long the client should wait before it tries again.
    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(BUSY_RETRY),
            Self::KeyInFlight => Some(KEY_IN_FLIGHT_RETRY),
            Self::Store(error) if error.is_transient() => Some(DATABASE_AWAY_RETRY),
            Self::NotReady(_) => Some(DATABASE_AWAY_RETRY),
            Self::Access(error) => error.retry_after(),
            _ => None,
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(Box::new(problem))
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<crate::credentials::vault::VaultError> for ApiError {
    fn from(error: crate::credentials::vault::VaultError) -> Self {
        Self::Store(error.into())
    }
}

/// The error behind a response, for `edge` to write the body and the log.
#[derive(Debug, Clone)]
pub struct Cause(pub Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(wait) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
        }
        if let Self::Access(error) = &self
            && let Some(challenge) = error.challenge()
        {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        let status = StatusCode::from_u16(self.problem().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, headers).into_response();
        response.extensions_mut().insert(Cause(Arc::new(self)));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_tells_nothing_of_its_source() {
        let error = ApiError::from(sqlx::Error::Protocol("password=hunter2".to_owned()));
        let internal = ApiError::Internal("secret path".into());
        for error in [error, internal] {
            let problem = serde_json::to_string(&error.problem()).unwrap();
            assert!(!problem.contains("hunter2") && !problem.contains("secret path"), "{problem}");
        }
    }
}
