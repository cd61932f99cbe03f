//! `osc-bsu`: the options of the builder that makes an OMI of a VM.

use super::{access::access, fields::Fields, omi::omi, ssh::communicator, table, vm::vm};
use crate::{domain::plan::BsuPlan, template::render::Scope};

/// Reads all options of the builder.
pub fn bsu(fields: &Fields<'_>) -> BsuPlan {
    let plan = BsuPlan {
        access: access(fields),
        omi: omi(fields),
        vm: vm(fields),
        communicator: communicator(fields),
        volume_tags: fields.late_map("run_volume_tags", Scope::Tags).unwrap_or_default(),
        skip_create_omi: fields.is_on("skip_create_omi"),
    };
    // Read by whoever made the run of the builder.
    fields.has("name");
    fields.finish("`osc-bsu`", &table::BSU);
    plan
}
