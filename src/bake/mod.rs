//! The pipeline engine, its steps, and one file per builder. A bake talks to the cloud and to the VM, and records what it
//! does in the journal and the ledger; who runs it, and what happens after its end, is `worker`'s.

pub mod admission;
mod chroot_omi;
pub mod cleanup;
mod create;
pub mod destroy;
mod devices;
pub mod error;
mod find;
mod finish;
pub mod images;
mod in_vm;
mod late;
pub mod osc_bsu;
pub mod osc_bsusurrogate;
pub mod osc_bsuvolume;
pub mod osc_chroot;
pub mod oven;
pub mod reach;
pub(crate) mod remove;
pub mod steps;
pub mod stop;
pub mod tags;

pub use error::StepError;
pub use oven::{CellHome, Cloud, Cx, Failure, Oven};
pub use stop::{Stop, StopReason};

use crate::domain::{Artifact, RunPlan, plan::Builder};

/// What a run has made.
#[derive(Debug)]
pub struct Baked {
    /// What is complete, and stays.
    pub artifacts: Vec<Artifact>,
    /// What failed after that: the run fails, and its artifacts stay all the same.
    pub failure: Option<Failure>,
}

/// Runs what is left to do of an attempt, and answers what was made.
///
/// # Errors
/// The step that did not succeed, and why.
pub async fn bake(cx: Cx) -> Result<Baked, Failure> {
    let plan = cx.plan.clone();
    let oven = Oven::open(cx).await.map_err(|error| Failure { step: "journal", error })?;
    match &plan.builder {
        // Boxed, since the future of a whole pipeline is large.
        Builder::OscBsu(bsu) => Box::pin(osc_bsu::bake(&oven, bsu)).await,
        Builder::OscBsusurrogate(surrogate) => Box::pin(osc_bsusurrogate::bake(&oven, surrogate)).await,
        Builder::OscBsuvolume(volume) => Box::pin(osc_bsuvolume::bake(&oven, volume)).await,
        Builder::OscChroot(chroot) => Box::pin(osc_chroot::bake(&oven, chroot)).await,
    }
}

/// How many steps a run has, for the progress that readers see.
#[must_use]
pub fn steps_total(plan: &RunPlan) -> i32 {
    let of_builder = match &plan.builder {
        Builder::OscBsu(bsu) => osc_bsu::steps_total(bsu),
        Builder::OscBsusurrogate(surrogate) => osc_bsusurrogate::steps_total(surrogate),
        Builder::OscBsuvolume(volume) => osc_bsuvolume::steps_total(volume),
        Builder::OscChroot(chroot) => osc_chroot::steps_total(chroot),
    };
    of_builder + i32::from(plan.has_post_processing())
}
