//! Runs the steps of one attempt: answers from the journal what is done already, runs and records what is not.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::PgPool;

use super::{
    error::StepError,
    stop::{Stop, StopReason},
};
use crate::{
    credentials::vault::Vault,
    domain::{OnError, RunPlan, StepState},
    logs::LogWriter,
    metadata::MetadataService,
    oapi::{Client, Waits},
    queue::Lease,
    store::{StoreError, journal, sealed::JOURNAL_PLACE},
};

/// How long a step may take that does not say. Throttled calls are tried for ten minutes.
const STEP: Duration = Duration::from_secs(30 * 60);

/// How long a step whose time is over may take to stop by itself: a call that is on its way is waited for, because what it
/// makes must be recorded.
const STOPPING: Duration = Duration::from_secs(5 * 60);

/// How long a write waits before it is tried again while the database is away.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// Runs statements in a transaction and commits it; while the database is away it tries again until the run is lost.
/// A macro, because a closure cannot lend its connection to the future that it returns.
macro_rules! durable {
    ($cx:expr, |$db:ident| $body:expr) => {{
        let (pool, stop) = $cx.store_and_stop();
        loop {
            let tried: Result<_, $crate::store::StoreError> = async {
                let mut transaction = pool.begin().await?;
                let $db = &mut *transaction;
                let value = $body.await?;
                transaction.commit().await?;
                Ok(value)
            }
            .await;
            match tried {
                Err(error) if error.is_transient() && !stop.abandon_token().is_cancelled() => {
                    $crate::bake::oven::wait_for_store(&error).await;
                }
                other => break other.map_err($crate::bake::error::StepError::from),
            }
        }
    }};
}
pub(crate) use durable;

/// Pauses before a statement is tried again.
pub(crate) async fn wait_for_store(error: &StoreError) {
    tracing::warn!(error = %error, cause = ?std::error::Error::source(error), "the database is away, trying again");
    tokio::time::sleep(STORE_RETRY).await;
}

/// What a run works with in the cloud.
#[derive(Clone)]
pub struct Cloud {
    /// Calls, signed and paced.
    pub client: Client,
    /// Shared waits.
    pub waits: Waits,
    /// The region, as artifacts name it.
    pub region: String,
    /// How long a resource may stay invisible after it was made (eventual consistency).
    pub settle: Duration,
}

/// What the cells of chroots are made with.
#[derive(Debug, Clone)]
pub struct CellHome {
    /// fournil itself, which a cell is run by.
    pub program: std::path::PathBuf,
    /// Where cells are noted down.
    pub folder: std::path::PathBuf,
}

impl CellHome {
    /// Run by this very program, also when a newer one has taken its place, and noted down below the data folder.
    #[must_use]
    pub fn of_process(data_dir: &std::path::Path) -> Self {
        Self { program: "/proc/self/exe".into(), folder: data_dir.join("cells") }
    }
}

/// Everything a step can use. Cheap to clone.
#[derive(Clone)]
pub struct Cx {
    /// The database.
    pub store: PgPool,
    /// Seals what the journal must not hold in clear.
    pub vault: Arc<Vault>,
    /// The right to work on the run.
    pub lease: Lease,
    /// What to do.
    pub plan: Arc<RunPlan>,
    /// Which attempt this is, from 1.
    pub attempt: i32,
    /// What happens after an error.
    pub on_error: OnError,
    /// The cloud.
    pub cloud: Cloud,
    /// The log, labelled with the step.
    pub log: LogWriter,
    /// Tells when to stop.
    pub stop: Stop,
    /// The uploaded folder, unpacked; empty if there was none.
    pub files: Arc<std::path::PathBuf>,
    /// Tells which VM this worker runs on.
    pub metadata: MetadataService,
    /// What chroots are made with.
    pub cells: Arc<CellHome>,
}

impl Cx {
    /// The name of something this attempt makes; the next try of the same step finds the same name.
    #[must_use]
    pub fn name(&self, what: &str) -> String {
        format!("fournil-{}-{}-{what}", self.lease.run, self.attempt)
    }

    /// A client token (at most 64 characters) for a creating call of this attempt.
    #[must_use]
    pub fn client_token(&self, what: &str) -> String {
        format!("{}-{}-{what}", self.lease.run, self.attempt).chars().take(64).collect()
    }

    /// Writes a line of fournil's own into the build's log.
    pub async fn say(&self, line: impl AsRef<str>) {
        crate::domain::log::Output::say(&self.log, line.as_ref()).await;
    }

    /// Waits for this long, or until the run has to stop.
    ///
    /// # Errors
    /// The run has to stop.
    pub async fn pause(&self, time: Duration) -> Result<(), StepError> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.stop.token().cancelled() => self.stop.check(),
        }
    }

    /// Seals a secret for the journal.
    ///
    /// # Errors
    /// The vault cannot.
    pub fn seal(&self, secret: &SecretString) -> Result<Vec<u8>, StepError> {
        let sealed = self.vault.seal(JOURNAL_PLACE, self.lease.run.0, secret.expose_secret().as_bytes());
        Ok(sealed.map_err(StoreError::from)?)
    }

    /// Opens what [`Cx::seal`] sealed.
    ///
    /// # Errors
    /// It was sealed for another run or with another master key.
    pub fn open(&self, sealed: &[u8]) -> Result<SecretString, StepError> {
        let opened = self.vault.open(JOURNAL_PLACE, self.lease.run.0, sealed).map_err(StoreError::from)?;
        Ok(SecretString::from(String::from_utf8_lossy(&opened).into_owned()))
    }

    pub(crate) const fn store_and_stop(&self) -> (&PgPool, &Stop) {
        (&self.store, &self.stop)
    }
}

/// One step of a pipeline. Running it again must be safe.
pub trait Step: Send + Sync {
    /// Its name in the journal, in events and in the log.
    const NAME: &'static str;
    /// What later steps need of it.
    type Output: Serialize + DeserializeOwned + Send;

    /// How long it may take at most, so that nothing hangs. What it waits for has limits of its own, which tell more.
    fn deadline(&self) -> Duration {
        STEP
    }

    /// Does the work.
    fn run(&self, cx: &Cx) -> impl Future<Output = Result<Self::Output, StepError>> + Send;
}

/// A failed step with its name, so that the build's error can tell it.
#[derive(Debug)]
pub struct Failure {
    /// The step.
    pub step: &'static str,
    /// Why.
    pub error: StepError,
}

/// Runs the steps of one attempt.
pub struct Oven {
    cx: Cx,
    journal: Mutex<HashMap<String, (StepState, Option<Value>)>>,
    next_ordinal: AtomicI32,
}

impl Oven {
    /// Reads what the journal knows of this attempt.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open(cx: Cx) -> Result<Self, StepError> {
        let entries = durable!(cx, |db| journal::entries(db, &cx.lease, cx.attempt))?;
        let next_ordinal = AtomicI32::new(i32::try_from(entries.len()).unwrap_or(i32::MAX));
        let journal = entries.into_iter().map(|entry| (entry.name, (entry.state, entry.output))).collect();
        Ok(Self { cx, journal: Mutex::new(journal), next_ordinal })
    }

    /// What steps work with.
    #[must_use]
    pub const fn cx(&self) -> &Cx {
        &self.cx
    }

    /// Whether a step began in this attempt on any worker and has not succeeded.
    #[must_use]
    pub fn was_interrupted(&self, name: &str) -> bool {
        self.known(name).is_some_and(|(state, _)| state != StepState::Succeeded)
    }

    /// Whether a step succeeded in this attempt, or at least began, on any worker.
    #[must_use]
    pub fn is_known(&self, name: &str, state: Option<StepState>) -> bool {
        self.known(name).is_some_and(|(known, _)| state.is_none_or(|state| state == known))
    }

    fn known(&self, name: &str) -> Option<(StepState, Option<Value>)> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Answers from the journal if the step is done, else runs and records it.
    ///
    /// # Errors
    /// Why the step did not succeed, with its name.
    pub async fn step<S: Step>(&self, step: S) -> Result<S::Output, Failure> {
        self.journalled(&step).await.map_err(|error| Failure { step: S::NAME, error })
    }

    async fn journalled<S: Step>(&self, step: &S) -> Result<S::Output, StepError> {
        if let Some((StepState::Succeeded, output)) = self.known(S::NAME) {
            let output = output.unwrap_or(Value::Null);
            return serde_json::from_value(output)
                .map_err(|source| StoreError::Unreadable { what: "step output", source }.into());
        }
        self.cx.stop.check()?;
        let ordinal = self.next_ordinal.fetch_add(1, Ordering::Relaxed);
        let stop = self.cx.stop.for_step();
        let cx = Cx { log: self.cx.log.for_step(S::NAME), stop, ..self.cx.clone() };
        let (run, attempt) = (cx.plan.name.as_str(), cx.attempt);
        durable!(cx, |db| journal::begin(db, &cx.lease, run, attempt, S::NAME, ordinal))?;
        let started = std::time::Instant::now();
        let result = in_time(step, &cx).await;
        // What the step said stands before the event that tells how it ended.
        cx.log.flush().await?;
        match result {
            Ok(output) => {
                let value = serde_json::to_value(&output)
                    .map_err(|source| StoreError::Unreadable { what: "step output", source })?;
                durable!(cx, |db| journal::succeed(db, &cx.lease, run, attempt, S::NAME, &value))?;
                let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(run.id = %cx.lease.run, run.name = run, step = S::NAME, step.ms = ms, "step {} done", S::NAME);
                Ok(output)
            }
            Err(error) => {
                if !error.lost_the_lease() {
                    let state = match error {
                        StepError::Stopped(_) | StepError::Interrupted => StepState::Interrupted,
                        _ => StepState::Failed,
                    };
                    let problem = error.shown(S::NAME, cx.log.redactor());
                    durable!(cx, |db| journal::fail(
                        db,
                        &cx.lease,
                        run,
                        attempt,
                        S::NAME,
                        state,
                        Some(&problem)
                    ))?;
                }
                Err(error)
            }
        }
    }
}

/// Runs the step; stops it when its time is over, and drops it if it does not stop.
async fn in_time<S: Step>(step: &S, cx: &Cx) -> Result<S::Output, StepError> {
    let deadline = step.deadline();
    let mut work = Box::pin(step.run(cx));
    if let Ok(result) = tokio::time::timeout(deadline, &mut work).await {
        return result;
    }
    cx.stop.step_is_late();
    let late = || {
        let limit = crate::domain::duration::format(deadline);
        StepError::found(
            504,
            "step_timeout",
            "A step ran out of time",
            format!("the step `{}` did not end within {limit}, the most that it may take", S::NAME),
        )
        .hint("Its log tells what it waited for. docs/reliability.md lists how long each step may take.")
    };
    match tokio::time::timeout(STOPPING, work).await {
        Ok(Err(StepError::Stopped(StopReason::StepTimedOut))) | Err(_) => Err(late()),
        Ok(result) => result,
    }
}
