//! `outscale-omi`: the options of the data source that finds an image.

use super::{access::access, fields::Fields, lookup, table};
use crate::domain::plan::{AccessPlan, SourceOmi};

/// Reads all options of the data source, which is called `kind` in the template.
pub fn data_omi(fields: &Fields<'_>, kind: &str) -> (AccessPlan, SourceOmi) {
    let access = access(fields);
    let source = lookup::data_omi(fields);
    fields.finish(&format!("`{kind}`"), &table::DATA_OMI);
    (access, source)
}
