//! The oddities of the real cloud, as switches. What is not known for sure about OAPI is decided here and nowhere
//! else, so that a client can be tried against both readings.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{backend::host::DeviceLinks, latency::Latency};

/// All switches. A TOML file or `POST /sandbox/quirks` overrides single ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// How long DeleteSecurityGroup answers 9085 after the group's last VM is terminated.
    pub security_group_release_ms: u64,
    /// How long a terminated VM stays in ReadVms.
    pub terminated_visible_ms: u64,
    /// How long every new resource stays unknown to reads and other calls.
    pub invisible_after_create_ms: u64,
    /// Whether a new snapshot is `in-queue` first (else `pending` at once).
    pub snapshot_in_queue: bool,
    /// Whether the snapshots behind the official images may be used by everybody, as the images may.
    pub official_snapshots_public: bool,
    /// Which links lead to volumes that are linked to this machine from now on: `asked_name`, `by_id`, `none`.
    pub host_vm_links: DeviceLinks,
    /// Whether calls signed by a role's key must bring the token that came with it.
    pub role_token_required: bool,
    /// Whether the `Code` of an error is a number, as in OUTSCALE's own mock, instead of text.
    pub numeric_error_codes: bool,
    /// Whether the region in a signature's scope must be this region.
    pub strict_signature_region: bool,
    /// How far a request's date may be from the region's clock.
    pub signature_window_seconds: i64,
    /// Bad signatures in a row after which the key is locked for a minute; 0: never.
    pub bad_signatures_before_lock: u32,
    /// Code for a request dated outside the window.
    pub clock_skew_code: u32,
    /// Code for a field that the request does not have.
    pub unknown_field_code: u32,
    /// Code for a required field that is missing.
    pub missing_field_code: u32,
    /// Code for a field of the wrong type.
    pub wrong_type_code: u32,
    /// Code for an action that exists nowhere.
    pub unknown_action_code: u32,
    /// Code for a documented action that the sandbox does not play.
    pub unsupported_action_code: u32,
    /// Code for an image name that the account already uses.
    pub duplicate_image_name_code: u32,
    /// Code for a key pair name that is taken.
    pub duplicate_keypair_code: u32,
    /// Code for a security group name that is taken.
    pub duplicate_security_group_code: u32,
    /// Code for a rule that the group already has.
    pub duplicate_rule_code: u32,
    /// Code for a snapshot that an image still uses.
    pub snapshot_in_use_code: u32,
    /// Code for starting a VM that is already running or not there any more.
    pub start_conflict_code: u32,
    /// Code for a boot mode that the image does not have.
    pub boot_mode_code: u32,
    /// Code for a client token that came with other parameters before.
    pub token_mismatch_code: u32,
}

impl Quirks {
    /// The defaults beside a latency profile: what lasts a minute in the cloud lasts moments without latency.
    pub fn beside(latency: &Latency) -> Self {
        let slow = latency.is_slow();
        Self {
            security_group_release_ms: if slow { 90_000 } else { 300 },
            terminated_visible_ms: if slow { 600_000 } else { 10_000 },
            ..Self::default()
        }
    }

    /// This set with the named switches changed; the error names a switch that does not exist.
    pub fn changed_by(&self, changes: &Value) -> Result<Self, String> {
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        let (Some(all_members), Some(changed_members)) = (all.as_object_mut(), changes.as_object()) else {
            return Err("quirks are an object of switches".to_owned());
        };
        for (name, value) in changed_members {
            all_members.insert(name.clone(), value.clone());
        }
        serde_json::from_value(all).map_err(|error| error.to_string())
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            security_group_release_ms: 300,
            terminated_visible_ms: 10_000,
            invisible_after_create_ms: 0,
            snapshot_in_queue: true,
            official_snapshots_public: true,
            host_vm_links: DeviceLinks::AskedName,
            role_token_required: false,
            numeric_error_codes: false,
            strict_signature_region: false,
            signature_window_seconds: 300,
            bad_signatures_before_lock: 4,
            clock_skew_code: 1,
            unknown_field_code: 4045,
            missing_field_code: 7000,
            wrong_type_code: 4108,
            unknown_action_code: 5011,
            unsupported_action_code: 8000,
            duplicate_image_name_code: 9015,
            duplicate_keypair_code: 9011,
            duplicate_security_group_code: 9028,
            duplicate_rule_code: 9000,
            snapshot_in_use_code: 9002,
            start_conflict_code: 9002,
            boot_mode_code: 4047,
            token_mismatch_code: 4091,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_switch_changes_and_the_others_stay() {
        let quirks = Quirks::default();
        let changed = quirks.changed_by(&json!({ "duplicate_image_name_code": 9000 })).unwrap();
        assert_eq!(changed, Quirks { duplicate_image_name_code: 9000, ..quirks.clone() });
        assert!(quirks.changed_by(&json!({ "no_such_switch": 1 })).unwrap_err().contains("no_such_switch"));
    }
}
