//! Where VMs can be put: ReadNets, ReadSubnets, ReadSubregions.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::ResourceTag;
use super::request::paged;

paged! {
    /// Lists Nets.
    ReadNets, FiltersNet => ReadNetsAnswer { nets: Net }
}

/// What ReadNets can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FiltersNet {
    pub dhcp_options_set_ids: Vec<String>,
    pub ip_ranges: Vec<String>,
    pub is_default: Option<bool>,
    pub net_ids: Vec<String>,
    pub states: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// A Net.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Net {
    pub net_id: String,
    pub ip_range: Option<String>,
    pub state: Option<String>,
    pub tenancy: Option<String>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

paged! {
    /// Lists Subnets.
    ReadSubnets, FiltersSubnet => ReadSubnetsAnswer { subnets: Subnet }
}

/// What ReadSubnets can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FiltersSubnet {
    pub available_ips_counts: Vec<u32>,
    pub ip_ranges: Vec<String>,
    pub net_ids: Vec<String>,
    pub states: Vec<String>,
    pub subnet_ids: Vec<String>,
    pub subregion_names: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// A Subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subnet {
    pub subnet_id: String,
    pub net_id: Option<String>,
    pub subregion_name: Option<String>,
    pub ip_range: Option<String>,
    pub available_ips_count: Option<u32>,
    pub map_public_ip_on_launch: Option<bool>,
    pub state: Option<String>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

paged! {
    /// Lists the Subregions of the Region.
    ReadSubregions, FiltersSubregion => ReadSubregionsAnswer { subregions: Subregion }
}

/// What ReadSubregions can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersSubregion {
    pub region_names: Vec<String>,
    pub states: Vec<String>,
    pub subregion_names: Vec<String>,
}

/// A Subregion. Which letter is which building differs from account to account; `location_code` names the building.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Subregion {
    pub subregion_name: String,
    pub region_name: Option<String>,
    pub location_code: Option<String>,
    pub state: Option<String>,
}
