//! Which actions there are, and which method of the region answers each.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::{
    region::{Call, Region, Reply},
    requests::{self, documented, known::Known, parse},
};

macro_rules! actions {
    ($($name:literal $module:ident :: $request:ident => $method:ident,)*) => {
        /// Runs an action. A dry run ends where the request has been found to be well formed.
        pub async fn run(region: &Arc<Region>, action: &str, body: &Value, call: &Call) -> Option<Reply> {
            let is_dry_run = body.get("DryRun") == Some(&Value::Bool(true));
            let quirks = region.quirks();
            match action {
                $($name => Some(match parse::<requests::$module::$request>(body, &quirks) {
                    Ok(_) if is_dry_run => Ok(json!({})),
                    Ok(request) => Box::pin(region.$method(request, call)).await,
                    Err(error) => Err(error),
                }),)*
                _ => None,
            }
        }

        /// What each action knows, for `oapi-sandbox schema`.
        pub fn schema() -> Value {
            let mut actions = Map::new();
            $(actions.insert($name.to_owned(), requests::$module::$request::shape().to_json());)*
            Value::Object(actions)
        }
    };
}

actions! {
    "ReadVms" vms::ReadVmsRequest => read_vms,
    "CreateVms" vms::CreateVmsRequest => create_vms,
    "StartVms" vms::StartVmsRequest => start_vms,
    "StopVms" vms::StopVmsRequest => stop_vms,
    "RebootVms" vms::RebootVmsRequest => reboot_vms,
    "DeleteVms" vms::DeleteVmsRequest => delete_vms,
    "UpdateVm" vms::UpdateVmRequest => update_vm,
    "ReadVmsState" vms::ReadVmsStateRequest => read_vms_state,
    "ReadConsoleOutput" vms::ReadConsoleOutputRequest => read_console_output,
    "ReadAdminPassword" vms::ReadAdminPasswordRequest => read_admin_password,
    "CreateImage" images::CreateImageRequest => create_image,
    "ReadImages" images::ReadImagesRequest => read_images,
    "UpdateImage" images::UpdateImageRequest => update_image,
    "DeleteImage" images::DeleteImageRequest => delete_image,
    "CreateSnapshot" snapshots::CreateSnapshotRequest => create_snapshot,
    "ReadSnapshots" snapshots::ReadSnapshotsRequest => read_snapshots,
    "UpdateSnapshot" snapshots::UpdateSnapshotRequest => update_snapshot,
    "DeleteSnapshot" snapshots::DeleteSnapshotRequest => delete_snapshot,
    "CreateVolume" volumes::CreateVolumeRequest => create_volume,
    "ReadVolumes" volumes::ReadVolumesRequest => read_volumes,
    "UpdateVolume" volumes::UpdateVolumeRequest => update_volume,
    "LinkVolume" volumes::LinkVolumeRequest => link_volume,
    "UnlinkVolume" volumes::UnlinkVolumeRequest => unlink_volume,
    "DeleteVolume" volumes::DeleteVolumeRequest => delete_volume,
    "CreateKeypair" keypairs::CreateKeypairRequest => create_keypair,
    "ReadKeypairs" keypairs::ReadKeypairsRequest => read_keypairs,
    "DeleteKeypair" keypairs::DeleteKeypairRequest => delete_keypair,
    "CreateSecurityGroup" security_groups::CreateSecurityGroupRequest => create_security_group,
    "ReadSecurityGroups" security_groups::ReadSecurityGroupsRequest => read_security_groups,
    "DeleteSecurityGroup" security_groups::DeleteSecurityGroupRequest => delete_security_group,
    "CreateSecurityGroupRule" security_groups::CreateSecurityGroupRuleRequest => create_security_group_rule,
    "DeleteSecurityGroupRule" security_groups::DeleteSecurityGroupRuleRequest => delete_security_group_rule,
    "CreateTags" tags::CreateTagsRequest => create_tags,
    "ReadTags" tags::ReadTagsRequest => read_tags,
    "DeleteTags" tags::DeleteTagsRequest => delete_tags,
    "CreatePublicIp" public_ips::CreatePublicIpRequest => create_public_ip,
    "ReadPublicIps" public_ips::ReadPublicIpsRequest => read_public_ips,
    "LinkPublicIp" public_ips::LinkPublicIpRequest => link_public_ip,
    "UnlinkPublicIp" public_ips::UnlinkPublicIpRequest => unlink_public_ip,
    "DeletePublicIp" public_ips::DeletePublicIpRequest => delete_public_ip,
    "ReadNets" places::ReadNetsRequest => read_nets,
    "ReadSubnets" places::ReadSubnetsRequest => read_subnets,
    "ReadSubregions" places::ReadSubregionsRequest => read_subregions,
    "ReadRegions" places::ReadRegionsRequest => read_regions,
    "ReadAccounts" places::ReadAccountsRequest => read_accounts,
    "ReadQuotas" places::ReadQuotasRequest => read_quotas,
    "ReadVmTypes" places::ReadVmTypesRequest => read_vm_types,
}

/// Whether the official document has this action.
pub fn is_documented(action: &str) -> bool {
    documented::ACTIONS.binary_search(&action).is_ok()
}

/// Whether an action can be called without credentials.
pub fn is_open(action: &str) -> bool {
    [
        "ReadFlexibleGpuCatalog",
        "ReadLocations",
        "ReadNetAccessPointServices",
        "ReadProductTypes",
        "ReadPublicCatalog",
        "ReadPublicIpRanges",
        "ReadRegions",
        "ReadVmTypes",
    ]
    .contains(&action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::{
        images, keypairs, places, public_ips, security_groups, snapshots, tags, view::Filter, vm_types,
        vm_view, volumes,
    };

    #[test]
    fn every_action_is_a_documented_one() {
        for action in schema().as_object().unwrap().keys() {
            assert!(is_documented(action), "{action}");
        }
        assert!(!is_documented("MakeCoffee") && is_documented("CreateNet"));
    }

    #[test]
    fn every_filter_of_a_reading_call_is_played_and_no_other() {
        let mut known: Vec<(&str, Vec<Filter>)> = vec![
            images::filters(),
            keypairs::filters(),
            public_ips::filters(),
            security_groups::filters(),
            snapshots::filters(),
            tags::filters(),
            vm_types::filters(),
            volumes::filters(),
        ];
        known.extend(places::filters());
        known.extend(vm_view::filters());
        let schema = schema();
        for (action, filters) in &known {
            let documented = schema[action]["properties"]["Filters"]["properties"].as_object().unwrap();
            let mut documented: Vec<&str> = documented.keys().map(String::as_str).collect();
            let mut played: Vec<&str> = filters.iter().map(|(name, ..)| *name).collect();
            documented.sort_unstable();
            played.sort_unstable();
            assert_eq!(played, documented, "{action}");
        }
        let with_filters = schema.as_object().unwrap().values();
        let with_filters = with_filters.filter(|shape| shape["properties"].get("Filters").is_some()).count();
        assert_eq!(with_filters, known.len());
    }
}
