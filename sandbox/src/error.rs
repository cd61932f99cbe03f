//! OAPI's refusals: a numeric code decides the type and the HTTP status. Which code fits which situation is
//! known where the situation is found; this file knows only the families.

use serde_json::{Value, json};

/// A refusal, as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {code}: {details}")]
pub struct ApiError {
    pub code: u32,
    pub kind: String,
    pub status: u16,
    pub details: String,
}

impl ApiError {
    /// A refusal with type and status of the code's family.
    pub fn new(code: u32, details: impl Into<String>) -> Self {
        let (kind, status) = family(code);
        Self { code, kind: kind.to_owned(), status, details: details.into() }
    }

    /// The refusal of an id that names nothing: `The VmId 'i-…' doesn't exist.`
    pub fn missing(code: u32, field: &str, id: &str) -> Self {
        Self::new(code, format!("The {field} '{id}' doesn't exist."))
    }

    /// The sandbox itself failed: a backend or a disk did not do its work.
    pub fn internal(details: impl Into<String>) -> Self {
        Self { code: 2000, kind: "InternalError".to_owned(), status: 500, details: details.into() }
    }

    /// The body of the answer. OAPI writes the code as text; `numeric` is what its mock does.
    pub fn body(&self, request_id: &str, numeric: bool) -> Value {
        let code = if numeric { json!(self.code) } else { json!(self.code.to_string()) };
        json!({
            "Errors": [{ "Type": self.kind, "Details": self.details, "Code": code }],
            "ResponseContext": { "RequestId": request_id },
        })
    }
}

/// Type and HTTP status by code.
fn family(code: u32) -> (&'static str, u16) {
    match code {
        0 => ("DefaultError", 400),
        2 => ("AccessDenied", 405),
        6 => ("AccessDenied", 503),
        8 => ("WrongAuthenticationMethod", 403),
        9 => ("AuthFailure", 401),
        10 => ("MissingLoginPassword", 403),
        20 => ("PasswordExpired", 401),
        24 | 25 => ("AccessDenied", 429),
        1..=99 => ("AccessDenied", 401),
        1000..=1999 => ("DependencyProblem", 424),
        4000..=4999 => ("InvalidParameterValue", 400),
        5000..=5999 => ("InvalidResource", 400),
        6000..=6999 => ("InvalidState", 409),
        7000..=7999 => ("MissingParameter", 400),
        8000..=8999 => ("OperationNotSupported", 400),
        9000..=9999 => ("ResourceConflict", 409),
        10001 | 10002 => ("InsufficientCapacity", 400),
        10003.. => ("TooManyResources (QuotaExceeded)", 400),
        _ => ("InternalError", 500),
    }
}
