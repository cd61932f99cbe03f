//! Why a step did not succeed, and how that is told to the user: as the same problem object that the API uses.

use crate::{
    communicator::CommunicatorError,
    domain::{Problem, problem::OapiProblem},
    logs::Redactor,
    oapi::{OapiError, WaitError},
    provision::ProvisionError,
    store::StoreError,
};

use super::{oven::Cx, stop::StopReason};

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The cloud refused or did not answer.
    #[error(transparent)]
    Oapi(#[from] OapiError),
    /// A wait on the cloud did not end well.
    #[error("{what}")]
    Wait {
        /// What was waited for, in words.
        what: String,
        /// How it ended.
        #[source]
        source: WaitError,
    },
    /// The VM could not be reached.
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
    /// A provisioner failed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The database did not take what had to be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run has to stop: cancelled, out of time, or no longer ours.
    #[error("stopped: {0}")]
    Stopped(StopReason),
    /// Another worker had begun to provision the VM: that cannot be resumed, the run needs a fresh VM.
    #[error("interrupted while provisioning")]
    Interrupted,
    /// A post-processor failed; what the run made is complete, and stays.
    #[error("{}", .0.detail)]
    PostProcess(Box<Problem>),
    /// A finding of ours, with what to do about it.
    #[error("{}", .0.detail)]
    Found(Box<Problem>),
}

impl StepError {
    /// A finding: `code` in snake case, `title` a short sentence, `detail` what was found.
    pub fn found(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self::Found(Box::new(Problem::new(status, code, title, detail)))
    }

    /// The end of a wait; one that ended because the run has to stop is a stop.
    #[must_use]
    pub fn wait(cx: &Cx, what: String, source: WaitError) -> Self {
        match (&source, cx.stop.reason()) {
            (WaitError::Cancelled, Some(reason)) => Self::Stopped(reason),
            _ => Self::Wait { what, source },
        }
    }

    /// The same finding with advice; other errors stay as they are.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Found(problem) => Self::Found(Box::new(problem.with_hint(hint))),
            other => other,
        }
    }

    /// Whether the worker must stop at once without touching the cloud.
    #[must_use]
    pub fn lost_the_lease(&self) -> bool {
        matches!(self, Self::Store(StoreError::LeaseLost(_)) | Self::Stopped(StopReason::LeaseLost))
    }

    /// A refusal of the cloud as a problem that can be added to.
    #[must_use]
    pub fn describe(error: &OapiError) -> Problem {
        of_oapi(error)
    }

    /// The problem with the run's secrets replaced in every text: the cloud and scripts repeat what they were given.
    #[must_use]
    pub fn shown(&self, step: &str, redactor: &Redactor) -> Problem {
        let mut problem = self.problem(step);
        let clean = |text: &mut String| *text = redactor.redact(text).into_owned();
        clean(&mut problem.detail);
        problem.hint.iter_mut().for_each(clean);
        problem.last_lines.iter_mut().for_each(clean);
        problem.oapi.iter_mut().filter_map(|oapi| oapi.details.as_mut()).for_each(clean);
        problem
    }

    /// The problem, as it is.
    #[must_use]
    pub fn problem(&self, step: &str) -> Problem {
        let mut problem = match self {
            Self::Oapi(error) => of_oapi(error),
            Self::Wait { what, source } => of_wait(what, source),
            Self::Communicator(error) => {
                let mut problem =
                    Problem::new(502, error.code(), "The VM could not be reached", full_text(error));
                problem.hint = error.hint().map(str::to_owned);
                problem
            }
            Self::Provision(error) => {
                let mut problem = Problem::new(422, error.code(), "A provisioner failed", full_text(error));
                problem.hint = error.hint().map(str::to_owned);
                problem
            }
            Self::Store(error) => {
                Problem::new(500, "store", "The database could not be used", error.to_string()).retryable()
            }
            Self::Stopped(reason) => of_stop(*reason),
            Self::Interrupted => {
                Problem::new(500, "interrupted", "The worker was lost while provisioning", self.to_string())
                    .retryable()
            }
            Self::Found(problem) | Self::PostProcess(problem) => (**problem).clone(),
        };
        problem.step = Some(step.to_owned());
        problem
    }
}

fn of_oapi(error: &OapiError) -> Problem {
    let (status, code, title) = match error {
        OapiError::Throttled { .. } => (429, "oapi_throttled", "The cloud limits the calls of the account"),
        OapiError::Unauthorized { skew: Some(_), .. } => (401, "clock_skew", "This machine's clock is wrong"),
        OapiError::Unauthorized { .. } => {
            (401, "oapi_unauthorized", "The cloud did not accept the credentials")
        }
        OapiError::Unreachable { .. } => (502, "oapi_unreachable", "The cloud could not be reached"),
        OapiError::TimedOut { .. } => (504, "oapi_timeout", "The cloud did not answer in time"),
        OapiError::BadAnswer { .. } => {
            (502, "oapi_bad_answer", "The endpoint does not speak the OUTSCALE API")
        }
        OapiError::Unsendable { .. } => (400, "oapi_unsendable", "A call could not be made"),
        OapiError::Refused { .. } if error.is_capacity() => {
            (409, "oapi_capacity", "The cloud has no room for this VM now")
        }
        OapiError::Refused { .. } if error.is_quota() => {
            (409, "oapi_quota", "A quota of the account is used up")
        }
        OapiError::Refused { .. } if error.is_not_found() => {
            (404, "oapi_not_found", "Something the build needs does not exist")
        }
        OapiError::Refused { .. } => (422, "oapi_refused", "The cloud refused a call"),
    };
    let mut problem = Problem::new(status, code, title, full_text(error));
    problem.hint = error.hint();
    problem.retryable = error.is_transient() || error.is_capacity();
    problem.oapi = Some(OapiProblem {
        action: error.action().to_owned(),
        code: error.code().map(|code| code.to_string()),
        kind: error.kind().map(str::to_owned),
        details: match error {
            OapiError::Refused { details, .. } | OapiError::Unauthorized { details, .. } => {
                Some(details.clone())
            }
            _ => None,
        },
        request_id: error.request_id().map(str::to_owned),
    });
    problem
}

fn of_wait(what: &str, error: &WaitError) -> Problem {
    match error {
        WaitError::Oapi(error) => {
            let mut problem = of_oapi(error);
            problem.detail = format!("{what}: {}", problem.detail);
            problem
        }
        error => {
            let code = match error {
                WaitError::TimedOut { .. } => "wait_timeout",
                WaitError::Missing { .. } => "resource_gone",
                _ => "resource_failed",
            };
            Problem::new(502, code, "Something in the cloud did not get ready", format!("{what}: {error}"))
                .retryable()
        }
    }
}

fn of_stop(reason: StopReason) -> Problem {
    match reason {
        StopReason::Cancelled => {
            Problem::new(409, "cancelled", "The build was cancelled", "somebody asked for the cancellation")
        }
        StopReason::TimedOut => Problem::new(
            504,
            "build_timeout",
            "The build ran out of time",
            "the build did not end within its `timeout`",
        )
        .with_hint("Give the build a longer `timeout`, or look in its log for what took so long."),
        StopReason::StepTimedOut => Problem::new(
            504,
            "step_timeout",
            "A step ran out of time",
            "the step did not end within the time that it may take",
        ),
        StopReason::LeaseLost | StopReason::HandOver => {
            Problem::new(503, "handed_over", "Another worker goes on with the run", reason.to_string())
                .retryable()
        }
    }
}

/// The message with those of its causes, so that nothing of what is known is lost.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
