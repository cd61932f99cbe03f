//! Waits until the OMI is available and notes the snapshots behind it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::OmiId;
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
        remove::snapshot_intent,
    },
    oapi::predicates,
    store::ledger::Keep,
};

/// How long an OMI may take: the copy of a large disk takes hours.
const COPY: Duration = Duration::from_secs(4 * 3600);

/// What follows the wait.
const TAGGING: Duration = Duration::from_secs(1800);

/// Waits for the OMI.
pub struct WaitForOmi<'a> {
    /// The OMI.
    pub omi: &'a OmiId,
    /// Its snapshots that are in the ledger already; others that it has are not ours. Absent: all were made with it.
    pub snapshots: Option<&'a [String]>,
}

/// An OMI that can be launched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Omi {
    /// `ami-…`.
    pub id: String,
    /// `snap-…` of its volumes.
    pub snapshots: Vec<String>,
}

impl Step for WaitForOmi<'_> {
    const NAME: &'static str = "wait_for_omi";
    type Output = Omi;

    fn deadline(&self) -> Duration {
        COPY + TAGGING
    }

    async fn run(&self, cx: &Cx) -> Result<Omi, StepError> {
        let id = &self.omi.id;
        let wait = cx
            .cloud
            .waits
            .wait_image(&cx.cloud.client, id, predicates::image_available, COPY, cx.stop.token())
            .await;
        let image = wait
            .map_err(|source| StepError::wait(cx, format!("waiting until OMI {id} is available"), source))?;
        let snapshots: Vec<String> = match self.snapshots {
            Some(known) => known.to_vec(),
            None => image.snapshot_ids().into_iter().map(str::to_owned).collect(),
        };
        if self.snapshots.is_none() {
            for snapshot in &snapshots {
                cx.adopt(snapshot_intent(&cx.cloud.region, snapshot, Keep::OnSuccess)).await?;
            }
        }
        cx.say(format!("OMI {id} is available")).await;
        Ok(Omi { id: id.clone(), snapshots })
    }
}
