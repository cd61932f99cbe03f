//! Stops the VM, so that its disks are at rest when the OMI is made; or waits until it stops by itself.

use std::time::Duration;

use super::ReadyVm;
use crate::{
    bake::{
        admission::{self, Door},
        error::StepError,
        oven::{Cx, Step},
    },
    oapi::{predicates, types::StopVms},
};

/// How long a VM may take to stop after StopVms.
const SHUTDOWN: Duration = Duration::from_secs(900);

/// How long a VM may take to stop by itself (`disable_stop_vm`: Windows' sysprep takes its time).
const OWN_SHUTDOWN: Duration = Duration::from_secs(3600);

/// Stops the VM.
pub struct StopVm<'a> {
    /// The VM.
    pub vm: &'a ReadyVm,
    /// `disable_stop_vm`.
    pub by_itself: bool,
    /// The way in, if there is one.
    pub door: Option<Door<'a>>,
}

impl Step for StopVm<'_> {
    const NAME: &'static str = "stop_vm";
    type Output = ();

    fn deadline(&self) -> Duration {
        OWN_SHUTDOWN + SHUTDOWN
    }

    async fn run(&self, cx: &Cx) -> Result<(), StepError> {
        if let Some(door) = self.door {
            admission::withdraw_by(cx, door).await?;
        }
        let id = &self.vm.id;
        let limit = if self.by_itself {
            cx.say(format!("waiting until VM {id} stops by itself")).await;
            OWN_SHUTDOWN
        } else {
            cx.say(format!("stopping VM {id}")).await;
            cx.cloud.client.call(&StopVms { vm_ids: vec![id.clone()], force_stop: None }).await?;
            SHUTDOWN
        };
        let wait = cx
            .cloud
            .waits
            .wait_vm(&cx.cloud.client, id, predicates::vm_stopped, limit, cx.stop.token())
            .await;
        wait.map_err(|source| StepError::wait(cx, format!("waiting until VM {id} has stopped"), source))?;
        Ok(())
    }
}
