//! `osc-bsu`: the options of the builder that makes an OMI of a VM.

use super::{
    access::access,
    block_device::{Role, block_devices},
    fields::Fields,
    omi::omi,
    ssh::communicator,
    table,
    vm::{refuse_termination, vm},
};
use crate::{domain::plan::BsuPlan, template::render::Scope};

/// Reads all options of the builder.
pub fn bsu(fields: &Fields<'_>) -> BsuPlan {
    refuse_termination(fields);
    let devices = block_devices(fields, "launch_block_device_mappings", Role::Vm);
    let plan = BsuPlan {
        access: access(fields),
        omi: omi(fields),
        vm: vm(fields, devices),
        communicator: communicator(fields),
        volume_tags: fields.late_map("run_volume_tags", Scope::Tags).unwrap_or_default(),
        skip_create_omi: fields.is_on("skip_create_omi"),
    };
    // Read by whoever made the run of the builder.
    fields.has("name");
    fields.finish("`osc-bsu`", &table::bsu());
    plan
}
