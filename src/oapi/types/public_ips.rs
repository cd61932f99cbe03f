//! Public IPs: CreatePublicIp, ReadPublicIps, LinkPublicIp, UnlinkPublicIp, DeletePublicIp.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::ResourceTag;
use super::request::{Done, paged, request};

/// Takes a public IP from the pool. OAPI takes neither token nor name here: after a lost answer compare the list with
/// the one before.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePublicIp {}
request!(CreatePublicIp => CreatePublicIpAnswer, OnlyIfNotRun);

/// The new public IP.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatePublicIpAnswer {
    pub public_ip: PublicIp,
}

paged! {
    /// Lists public IPs.
    ReadPublicIps, FiltersPublicIp => ReadPublicIpsAnswer { public_ips: PublicIp }
}

/// What ReadPublicIps can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FiltersPublicIp {
    pub link_public_ip_ids: Vec<String>,
    pub nic_account_ids: Vec<String>,
    pub nic_ids: Vec<String>,
    pub placements: Vec<String>,
    pub private_ips: Vec<String>,
    pub public_ip_ids: Vec<String>,
    pub public_ips: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
    pub vm_ids: Vec<String>,
}

/// A public IP; the fields after the id only while it is linked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PublicIp {
    /// The address itself.
    pub public_ip: String,
    /// The allocation (`eipalloc-…`).
    pub public_ip_id: Option<String>,
    pub link_public_ip_id: Option<String>,
    pub vm_id: Option<String>,
    pub nic_id: Option<String>,
    pub nic_account_id: Option<String>,
    pub private_ip: Option<String>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

/// Links a public IP to a VM or a network card.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkPublicIp {
    pub public_ip: Option<String>,
    pub public_ip_id: Option<String>,
    pub vm_id: Option<String>,
    pub nic_id: Option<String>,
    pub private_ip: Option<String>,
    pub allow_relink: Option<bool>,
}
request!(LinkPublicIp => LinkPublicIpAnswer, Always);

/// The link; in a Net only.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LinkPublicIpAnswer {
    pub link_public_ip_id: Option<String>,
}

/// Takes a public IP off its VM.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UnlinkPublicIp {
    pub link_public_ip_id: Option<String>,
    pub public_ip: Option<String>,
}
request!(UnlinkPublicIp => Done, Always);

/// Gives a public IP back, by address or by allocation id. A VM's end never does that by itself.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeletePublicIp {
    pub public_ip: Option<String>,
    /// The allocation (`eipalloc-…`), not the link.
    pub public_ip_id: Option<String>,
}
request!(DeletePublicIp => Done, Always);
