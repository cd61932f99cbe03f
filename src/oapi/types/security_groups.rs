//! Security groups: CreateSecurityGroup, ReadSecurityGroups, CreateSecurityGroupRule, DeleteSecurityGroup.
#![expect(missing_docs, reason = "fields carry OAPI's names and meaning")]

use serde::{Deserialize, Serialize};

use super::request::{Done, paged, request};
use super::{Flow, ResourceTag};

/// Makes a security group, in a Net or in the public cloud. OAPI takes no token here: after a lost answer look for the
/// name in the Net.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateSecurityGroup {
    /// 1–255 characters; must not start with `sg-`.
    pub security_group_name: String,
    pub description: String,
    pub net_id: Option<String>,
}
request!(CreateSecurityGroup => SecurityGroupAnswer, OnlyIfNotRun);

/// The group that was made or changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroupAnswer {
    pub security_group: SecurityGroup,
}

paged! {
    /// Lists security groups.
    ReadSecurityGroups, FiltersSecurityGroup => ReadSecurityGroupsAnswer { security_groups: SecurityGroup }
}

/// What ReadSecurityGroups can look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FiltersSecurityGroup {
    pub descriptions: Vec<String>,
    pub inbound_rule_account_ids: Vec<String>,
    pub inbound_rule_from_port_ranges: Vec<i32>,
    pub inbound_rule_ip_ranges: Vec<String>,
    pub inbound_rule_protocols: Vec<String>,
    pub inbound_rule_security_group_ids: Vec<String>,
    pub inbound_rule_security_group_names: Vec<String>,
    pub inbound_rule_to_port_ranges: Vec<i32>,
    pub net_ids: Vec<String>,
    pub outbound_rule_account_ids: Vec<String>,
    pub outbound_rule_from_port_ranges: Vec<i32>,
    pub outbound_rule_ip_ranges: Vec<String>,
    pub outbound_rule_protocols: Vec<String>,
    pub outbound_rule_security_group_ids: Vec<String>,
    pub outbound_rule_security_group_names: Vec<String>,
    pub outbound_rule_to_port_ranges: Vec<i32>,
    pub security_group_ids: Vec<String>,
    pub security_group_names: Vec<String>,
    pub tag_keys: Vec<String>,
    pub tag_values: Vec<String>,
    /// `KEY=VALUE`.
    pub tags: Vec<String>,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup {
    pub security_group_id: String,
    pub security_group_name: Option<String>,
    pub description: Option<String>,
    pub account_id: Option<String>,
    /// Absent in the public cloud.
    pub net_id: Option<String>,
    #[serde(default)]
    pub inbound_rules: Vec<SecurityGroupRule>,
    #[serde(default)]
    pub outbound_rules: Vec<SecurityGroupRule>,
    #[serde(default)]
    pub tags: Vec<ResourceTag>,
}

/// A rule of a group. Ports are −1 for "all".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroupRule {
    pub from_port_range: Option<i32>,
    pub to_port_range: Option<i32>,
    /// `tcp`, `udp`, `icmp`, `-1` for all, or a number.
    pub ip_protocol: Option<String>,
    #[serde(default)]
    pub ip_ranges: Vec<String>,
    #[serde(default)]
    pub security_groups_members: Vec<SecurityGroupsMember>,
    #[serde(default)]
    pub service_ids: Vec<String>,
}

/// A group whose VMs a rule lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroupsMember {
    pub account_id: Option<String>,
    pub security_group_id: Option<String>,
    pub security_group_name: Option<String>,
}

/// Opens a group: either one range of ports and addresses, or `rules`. The same rule again is a conflict, which after a
/// lost answer (`OapiError::may_have_taken_effect`) means that the rule is there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateSecurityGroupRule {
    pub security_group_id: String,
    pub flow: Flow,
    pub from_port_range: Option<i32>,
    pub to_port_range: Option<i32>,
    pub ip_protocol: Option<String>,
    pub ip_range: Option<String>,
    pub rules: Vec<SecurityGroupRule>,
    pub security_group_account_id_to_link: Option<String>,
    /// An id, despite its name.
    pub security_group_name_to_link: Option<String>,
}
request!(CreateSecurityGroupRule => SecurityGroupAnswer, Always);

impl CreateSecurityGroupRule {
    /// Lets `ip_range` in to one TCP port.
    pub fn tcp_in(security_group_id: &str, port: u16, ip_range: &str) -> Self {
        Self {
            security_group_id: security_group_id.to_owned(),
            flow: Flow::Inbound,
            from_port_range: Some(port.into()),
            to_port_range: Some(port.into()),
            ip_protocol: Some("tcp".to_owned()),
            ip_range: Some(ip_range.to_owned()),
            rules: Vec::new(),
            security_group_account_id_to_link: None,
            security_group_name_to_link: None,
        }
    }
}

/// Deletes a group by id or name. While a VM that used it is going away OAPI answers `OapiError::is_still_in_use`; that
/// can take some 90 s.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteSecurityGroup {
    pub security_group_id: Option<String>,
    pub security_group_name: Option<String>,
}
request!(DeleteSecurityGroup => Done, Always);
