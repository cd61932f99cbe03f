//! Which VM the worker runs on: the volume is linked to it. Told by its metadata service, and read in the account.

use serde::{Deserialize, Serialize};

use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    config::is_root,
    metadata::MetadataError,
    oapi::types::{FiltersVm, ReadVms},
};

/// Finds out where this is.
pub struct IdentifyVm;

/// The VM that the worker runs on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostVm {
    /// `i-…`.
    pub id: String,
    /// Where its volumes have to be.
    pub subregion: String,
}

impl Step for IdentifyVm {
    const NAME: &'static str = "identify_vm";
    type Output = HostVm;

    async fn run(&self, cx: &Cx) -> Result<HostVm, StepError> {
        if !is_root() {
            return Err(StepError::found(
                422,
                "chroot_needs_root",
                "The worker may not mount volumes",
                "`osc-chroot` mounts and enters a volume on the worker's machine, which only root may do",
            )
            .hint("Run a `fournil serve` with the capability `chroot` as root on an OUTSCALE VM."));
        }
        let id = vm_id(cx).await?;
        let filters = FiltersVm { vm_ids: vec![id.clone()], ..FiltersVm::default() };
        let vms = cx.cloud.client.read_all(&ReadVms::filtered(filters)).await?;
        let found = vms.into_iter().find(|vm| vm.vm_id == id);
        let subregion = found.and_then(|vm| vm.placement?.subregion_name);
        let Some(subregion) = subregion else {
            let detail = format!(
                "this worker runs on VM {id}, which the account of the build's keys does not have in {}",
                cx.cloud.region
            );
            return Err(StepError::found(422, "vm_not_in_account", "The worker's VM is not in the account", detail).hint(
                "A volume can only be linked to a VM of the same account and Region: bake with keys of the account that the \
                 worker's VM belongs to, or run a worker in the account that the build is for.",
            ));
        };
        cx.say(format!("this worker runs on VM {id} in {subregion}")).await;
        Ok(HostVm { id, subregion })
    }
}

/// The id of the VM that this process runs on.
///
/// # Errors
/// It does not run on one.
pub(in crate::bake) async fn vm_id(cx: &Cx) -> Result<String, StepError> {
    cx.metadata.vm_id().await.map_err(|error: MetadataError| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        StepError::found(502, "vm_unknown", "The worker's VM is not known", format!("{error}{cause}"))
    })
}
