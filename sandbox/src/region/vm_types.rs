//! VM types: the `tina` names, which say their own size, and the AWS-like ones, which are names only.

use std::sync::Arc;

use serde_json::json;

use super::{
    Call, Region, Reply, members,
    view::{Compare::Exact, Filter, Page, View, read},
};
use crate::{error::ApiError, requests::places::ReadVmTypesRequest};

/// What a type is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VmType {
    pub vcores: i64,
    pub memory_gib: f64,
    /// What a `pZ` at the end of the name says.
    pub performance: Option<&'static str>,
}

/// Name, vCores, GiB.
const SAMPLES: [(&str, i64, f64); 22] = [
    ("t2.nano", 1, 0.5),
    ("t2.micro", 1, 1.0),
    ("t2.small", 1, 2.0),
    ("t2.medium", 2, 4.0),
    ("t2.large", 2, 8.0),
    ("m3.large", 2, 7.5),
    ("m4.large", 2, 8.0),
    ("m4.xlarge", 4, 16.0),
    ("m5.large", 2, 8.0),
    ("m5.xlarge", 4, 16.0),
    ("c3.large", 2, 4.0),
    ("c4.large", 2, 4.0),
    ("c4.xlarge", 4, 8.0),
    ("r3.large", 2, 15.0),
    ("r4.large", 2, 15.0),
    ("og4.2xlarge", 8, 16.0),
    ("tinav4.c1r1p2", 1, 1.0),
    ("tinav5.c2r4p1", 2, 4.0),
    ("tinav6.c1r1p2", 1, 1.0),
    ("tinav6.c2r4p2", 2, 4.0),
    ("tinav6.c4r8p2", 4, 8.0),
    ("tinav6.c6r16p3", 6, 16.0),
];

const FILTERS: [Filter; 9] = [
    ("BsuOptimized", "BsuOptimized", Exact),
    ("EphemeralsTypes", "EphemeralsType", Exact),
    ("Eths", "Eth", Exact),
    ("Gpus", "Gpu", Exact),
    ("MemorySizes", "MemorySize", Exact),
    ("VcoreCounts", "VcoreCount", Exact),
    ("VmTypeNames", "VmTypeName", Exact),
    ("VolumeCounts", "VolumeCount", Exact),
    ("VolumeSizes", "VolumeSize", Exact),
];

impl VmType {
    /// Reads a name. Unknown ones are refused (5024).
    pub fn of_name(name: &str) -> Result<Self, ApiError> {
        let unknown = || ApiError::missing(5024, "VmType", name);
        if let Some(size) = name.strip_prefix("tinav") {
            return of_tina(size).ok_or_else(unknown);
        }
        let (_, vcores, memory_gib) =
            SAMPLES.into_iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
        Ok(Self { vcores, memory_gib, performance: None })
    }
}

/// `W.cXrY` or `W.cXrYpZ`: generation, vCores, GiB, performance.
fn of_tina(size: &str) -> Option<VmType> {
    let (generation, size) = size.split_once(".c")?;
    let (vcores, size) = size.split_once('r')?;
    let (memory, performance) = match size.split_once('p') {
        Some((memory, "1")) => (memory, Some("highest")),
        Some((memory, "2")) => (memory, Some("high")),
        Some((memory, "3")) => (memory, Some("medium")),
        Some(_) => return None,
        None => (size, None),
    };
    let generation: i64 = generation.parse().ok()?;
    let (vcores, memory): (i64, i64) = (vcores.parse().ok()?, memory.parse().ok()?);
    let is_sound =
        (1..=7).contains(&generation) && (1..=100).contains(&vcores) && (1..=2048).contains(&memory);
    #[expect(clippy::cast_precision_loss, reason = "at most 2048")]
    is_sound.then_some(VmType { vcores, memory_gib: memory as f64, performance })
}

impl Region {
    pub async fn read_vm_types(self: &Arc<Self>, request: ReadVmTypesRequest, _call: &Call) -> Reply {
        let views = SAMPLES.into_iter().zip(1..).map(|((name, vcores, memory), sequence)| View {
            sequence,
            object: members(json!({
                "BsuOptimized": false,
                "MaxPrivateIps": 4,
                "MemorySize": memory,
                "VcoreCount": vcores,
                "VmTypeName": name,
                "VolumeCount": 0,
            })),
        });
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("VmTypes", views.collect(), &FILTERS, request.filters.as_ref(), page)
    }
}

/// The filters of ReadVmTypes, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadVmTypes", FILTERS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tina_names_say_their_size() {
        assert_eq!(
            VmType::of_name("tinav5.c2r4p1"),
            Ok(VmType { vcores: 2, memory_gib: 4.0, performance: Some("highest") })
        );
        assert_eq!(VmType::of_name("tinav6.c1r2").unwrap().performance, None);
        for name in ["tinav5.c2r4p4", "tinav5", "tinav5.c0r1", "m9.huge", ""] {
            assert_eq!(VmType::of_name(name).unwrap_err().code, 5024, "{name}");
        }
    }
}
