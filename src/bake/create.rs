//! Making something in the cloud, write-ahead: the intent is committed, an earlier try's result is found again, the call is
//! made, its id is recorded. One mechanism for all kinds.

use std::future::Future;

use super::{
    error::StepError,
    find,
    oven::{Cx, durable},
    stop::StopReason,
};
use crate::{
    oapi::OapiError,
    store::ledger::{self, Intent},
};

/// How often a call is made whose answer was lost and that had no effect.
const ASKED: u32 = 3;

impl Cx {
    /// Makes what `intent` describes by `call`, which answers the new id, unless an earlier try made it.
    ///
    /// # Errors
    /// The cloud refused, or the lease is lost.
    pub async fn create<F, Fut>(&self, intent: Intent, call: F) -> Result<String, StepError>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<String, OapiError>>,
    {
        self.stop.check()?;
        let (row, earlier) = durable!(self, |db| ledger::intend(db, &self.lease, self.attempt, &intent))?;
        if let Some(id) = row.cloud_id {
            return Ok(id);
        }
        if earlier && let Some(id) = find::again(self, &row).await? {
            durable!(self, |db| ledger::created(db, &self.lease, row.id, &id))?;
            return Ok(id);
        }
        if let Err(stopped) = self.stop.check() {
            // Nothing was asked for, so there is nothing that cleanup would have to look for.
            durable!(self, |db| ledger::removed(
                db,
                &self.lease,
                row.id,
                Some("it was not asked for any more")
            ))?;
            return Err(stopped);
        }
        // Whether an earlier call may still have its effect, so that nothing may be taken for "never made".
        let mut asked_before = earlier;
        let mut asked = 0;
        loop {
            asked += 1;
            // A call that goes on after the run is lost could take effect when its next worker has stopped looking for it.
            let answer = tokio::select! {
                biased;
                answer = call() => answer,
                () = self.stop.abandon_token().cancelled() => {
                    return Err(StepError::Stopped(self.stop.reason().unwrap_or(StopReason::LeaseLost)));
                }
            };
            let error = match answer {
                // Without an id it can only be looked for.
                Ok(id) if id.is_empty() => {
                    let found = find::again(self, &row).await?;
                    let id = found.ok_or_else(|| {
                        StepError::found(
                            502,
                            "oapi_bad_answer",
                            "The cloud did not tell what it made",
                            row.slot.clone(),
                        )
                    })?;
                    durable!(self, |db| ledger::created(db, &self.lease, row.id, &id))?;
                    return Ok(id);
                }
                Ok(id) => {
                    durable!(self, |db| ledger::created(db, &self.lease, row.id, &id))?;
                    return Ok(id);
                }
                Err(error) => error,
            };
            if !error.may_have_taken_effect() && !asked_before {
                let why = error.to_string();
                durable!(self, |db| ledger::removed(db, &self.lease, row.id, Some(&why)))?;
                return Err(error.into());
            }
            // The answer was lost. What cannot be found now stays an intent, and cleanup looks for it once more. The call
            // may have taken long and have had its effect at its very end.
            if let Some(id) = find::again(self, &row).await? {
                self.say(format!("{} got no answer, but it took effect: {id}", error.action())).await;
                durable!(self, |db| ledger::created(db, &self.lease, row.id, &id))?;
                return Ok(id);
            }
            // It would be there by now, so asking again makes no second one; a moment without a connection must not cost
            // a bake that took an hour.
            if asked == ASKED || !error.is_transient() {
                return Err(error.into());
            }
            self.stop.check()?;
            asked_before = true;
            self.say(format!("{} got no answer and had no effect: asking again", error.action())).await;
        }
    }

    /// Records something that came along with another resource and whose id is known, such as a VM's volumes.
    ///
    /// # Errors
    /// The lease is lost.
    pub async fn adopt(&self, intent: Intent) -> Result<(), StepError> {
        durable!(self, |db| ledger::intend(db, &self.lease, self.attempt, &intent))?;
        Ok(())
    }
}
