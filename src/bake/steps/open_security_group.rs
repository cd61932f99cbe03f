//! The security group that lets fournil in: the template's own ones, or a temporary one with one open port.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Network, resolve_network::typed};
use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
        tags,
    },
    domain::plan::{Communicator, Lookup, VmPlan},
    oapi::types::{
        CreateSecurityGroup, CreateSecurityGroupRule, FiltersSecurityGroup, ReadSecurityGroups, SecurityGroup,
    },
    store::ledger::{Intent, Keep, ResourceKind},
};

/// Provides the security groups.
pub struct OpenSecurityGroup<'a> {
    /// What the template says.
    pub vm: &'a VmPlan,
    /// Whose port is opened.
    pub communicator: &'a Communicator,
    /// Where the VM goes.
    pub network: &'a Network,
}

/// The groups that the VM gets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SecurityGroups {
    /// `sg-…`; empty: the default group.
    pub ids: Vec<String>,
}

impl Step for OpenSecurityGroup<'_> {
    const NAME: &'static str = "open_security_group";
    type Output = SecurityGroups;

    async fn run(&self, cx: &Cx) -> Result<SecurityGroups, StepError> {
        if let Some(lookup) = &self.vm.security_groups {
            return existing(cx, lookup).await;
        }
        let Communicator::Ssh(ssh) = self.communicator else {
            return Ok(SecurityGroups::default());
        };
        let name = cx.name("group");
        let intent = Intent {
            slot: "group".to_owned(),
            kind: ResourceKind::SecurityGroup,
            lookup: json!({ "name": name }),
            cloud_id: None,
            region: cx.cloud.region.clone(),
            keep: Keep::Never,
        };
        let request = CreateSecurityGroup {
            security_group_name: name.clone(),
            description: "Temporary group of a fournil build".to_owned(),
            net_id: self.network.net.clone(),
        };
        let id = cx
            .create(intent, || async {
                Ok(cx.cloud.client.call(&request).await?.security_group.security_group_id)
            })
            .await?;
        self.open_port(cx, &id, ssh.port).await?;
        cx.say(format!("temporary security group: {id}, port {} open to {}", ssh.port, self.vm.source_cidr))
            .await;
        tags::mark(cx, std::slice::from_ref(&id)).await;
        Ok(SecurityGroups { ids: vec![id] })
    }
}

impl OpenSecurityGroup<'_> {
    /// An earlier try may have added the rule already; the same rule again is refused with a conflict.
    async fn open_port(&self, cx: &Cx, id: &str, port: u16) -> Result<(), StepError> {
        match cx.cloud.client.call(&CreateSecurityGroupRule::tcp_in(id, port, &self.vm.source_cidr)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

async fn existing(cx: &Cx, lookup: &Lookup) -> Result<SecurityGroups, StepError> {
    let filters: FiltersSecurityGroup = match lookup {
        Lookup::Ids(ids) => {
            FiltersSecurityGroup { security_group_ids: ids.clone(), ..FiltersSecurityGroup::default() }
        }
        Lookup::Filters(filters) => typed(filters)?,
    };
    let groups = cx.cloud.client.read_all(&ReadSecurityGroups::filtered(filters)).await?;
    let found: BTreeSet<&str> =
        groups.iter().map(|group: &SecurityGroup| group.security_group_id.as_str()).collect();
    let missing: Vec<&str> = match lookup {
        Lookup::Ids(ids) => ids.iter().map(String::as_str).filter(|id| !found.contains(id)).collect(),
        Lookup::Filters(_) if found.is_empty() => vec!["anything for `security_group_filter`"],
        Lookup::Filters(_) => Vec::new(),
    };
    if !missing.is_empty() {
        let detail = format!("the account does not have {}", missing.join(", "));
        return Err(StepError::found(
            404,
            "security_group_not_found",
            "A security group was not found",
            detail,
        )
        .hint("Check the ids or the filter, the account and the Region."));
    }
    let ids: Vec<String> = found.into_iter().map(str::to_owned).collect();
    cx.say(format!("security groups: {}", ids.join(", "))).await;
    Ok(SecurityGroups { ids })
}
