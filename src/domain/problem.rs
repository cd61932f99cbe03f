//! One form for everything that went wrong: the body of an error answer (RFC 9457) and the `error` of a build.

use serde::{Deserialize, Serialize};

/// Where the documentation of a problem's code is found; the code is appended.
const DOCUMENTATION: &str = "https://fournil.dev/problems/";

/// A problem in the sense of RFC 9457, with what a client needs to act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// A URI that stands for this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// What this kind of problem is called.
    pub title: String,
    /// The HTTP status; for the error of a build the one a client would have got.
    pub status: u16,
    /// What happened this time, and what can be done about it.
    pub detail: String,
    /// The path of the request or build it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// A short word that programs can switch on, e.g. `ssh_refused`.
    pub code: String,
    /// The id under which the server's log knows the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// What a user can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The step of the run in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The last lines of the script that failed, secrets replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// What the cloud said, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oapi: Option<OapiProblem>,
    /// Each place of the request that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

/// The cloud's own words about a refused call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OapiProblem {
    /// The call, e.g. `CreateVms`.
    pub action: String,
    /// OAPI's code, a string of digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// OAPI's type, e.g. `InvalidResource`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// OAPI's details.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// What OUTSCALE's support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// One wrong place of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the body, e.g. `/template/builders/0/vm_type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Path in the uploaded folder of the file that `line` and `column` count in; absent if the template came without a
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the template, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in the template, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// What is wrong there and what would be right.
    pub detail: String,
}

impl FieldProblem {
    /// A problem at a JSON pointer.
    #[must_use]
    pub fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..Self::new(detail) }
    }

    /// A problem without a place.
    #[must_use]
    pub fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..Self::default() }
    }
}

impl Problem {
    /// A problem of this kind: `code` in snake case, `title` a short sentence without full stop.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{DOCUMENTATION}{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            instance: None,
            code: code.to_owned(),
            request_id: None,
            retryable: false,
            hint: None,
            step: None,
            last_lines: Vec::new(),
            oapi: None,
            errors: Vec::new(),
        }
    }

    /// The same problem, marked as one that can pass by itself.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// The same problem with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same problem with the places it is about.
    #[must_use]
    pub fn with_errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.errors = errors;
        self
    }
}
