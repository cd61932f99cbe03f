//! Takes the volume off the worker's VM, and waits until it is free: what was written to it is on it then.

use std::time::Duration;

use super::{HostVm, WorkVolume, finish_volumes::free};
use crate::bake::{
    error::StepError,
    oven::{Cx, Step},
};

/// Takes the volume off.
pub struct UnlinkVolume<'a> {
    /// The volume.
    pub volume: &'a WorkVolume,
    /// The VM that it is linked to.
    pub vm: &'a HostVm,
}

impl Step for UnlinkVolume<'_> {
    const NAME: &'static str = "unlink_volume";
    type Output = ();

    fn deadline(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        let (volume, vm) = (&self.volume.id, &self.vm.id);
        free(cx, volume, &format!("on VM {vm}")).await?;
        cx.say(format!("volume {volume} is no longer linked to VM {vm}")).await;
        Ok(())
    }
}
