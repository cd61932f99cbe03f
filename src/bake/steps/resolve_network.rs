//! Where the VM goes: Net, Subnet and Subregion by id or filter, each checked before anything is made.

use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    bake::{
        error::StepError,
        oven::{Cx, Step},
    },
    domain::plan::{Lookup, SubnetChoice, VmPlan},
    oapi::types::{FiltersNet, FiltersSubnet, ReadNets, ReadSubnets, Subnet},
    store::StoreError,
};

/// Finds Net and Subnet.
pub struct ResolveNetwork<'a> {
    /// What the template says.
    pub vm: &'a VmPlan,
}

/// Where the VM goes; all absent: the public cloud, anywhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Network {
    /// `vpc-…`.
    pub net: Option<String>,
    /// `subnet-…`.
    pub subnet: Option<String>,
    /// `eu-west-2a`.
    pub subregion: Option<String>,
}

impl Step for ResolveNetwork<'_> {
    const NAME: &'static str = "resolve_network";
    type Output = Network;

    async fn run(&self, cx: &Cx) -> Result<Network, StepError> {
        let mut network = Network { net: None, subnet: None, subregion: self.vm.subregion.clone() };
        network.net = match &self.vm.net {
            Some(lookup) => Some(find_net(cx, lookup).await?),
            None => None,
        };
        if let Some(lookup) = &self.vm.subnet {
            let subnet = self.find_subnet(cx, lookup, &network).await?;
            let where_it_is = subnet.subregion_name.clone();
            if let (Some(wanted), Some(found)) = (&network.subregion, &where_it_is)
                && wanted != found
            {
                return Err(StepError::found(
                    422,
                    "subnet_elsewhere",
                    "Subnet and Subregion do not go together",
                    format!("`subregion_name` is {wanted}, but {} is in {found}", subnet.subnet_id),
                )
                .hint("Leave out `subregion_name`, or choose a Subnet of that Subregion."));
            }
            cx.say(format!(
                "Subnet: {} in {}",
                subnet.subnet_id,
                where_it_is.as_deref().unwrap_or("an unknown Subregion")
            ))
            .await;
            network.subregion = where_it_is.or(network.subregion);
            network.net = subnet.net_id.or(network.net);
            network.subnet = Some(subnet.subnet_id);
        }
        Ok(network)
    }
}

impl ResolveNetwork<'_> {
    async fn find_subnet(&self, cx: &Cx, lookup: &Lookup, network: &Network) -> Result<Subnet, StepError> {
        let mut filters: FiltersSubnet = match lookup {
            Lookup::Ids(ids) => FiltersSubnet { subnet_ids: ids.clone(), ..FiltersSubnet::default() },
            Lookup::Filters(filters) => typed(filters)?,
        };
        // Packer means to narrow the search to the chosen Net and Subregion, but does not.
        filters.net_ids.extend(network.net.clone());
        if matches!(lookup, Lookup::Filters(_)) {
            filters.subregion_names.extend(network.subregion.clone());
        }
        let mut subnets = cx.cloud.client.read_all(&ReadSubnets::filtered(filters)).await?;
        subnets.sort_by_key(|subnet| std::cmp::Reverse(subnet.available_ips_count));
        if subnets.is_empty() {
            return Err(not_found("Subnet", lookup));
        }
        if subnets.len() == 1 {
            return Ok(subnets.remove(0));
        }
        let chosen = match self.vm.subnet_choice {
            SubnetChoice::MostFree => subnets.first().cloned(),
            SubnetChoice::Random => subnets.choose(&mut rand::rng()).cloned(),
            SubnetChoice::Only => None,
        };
        chosen.ok_or_else(|| {
            let ids: Vec<_> = subnets.iter().map(|subnet| subnet.subnet_id.as_str()).collect();
            StepError::found(
                422,
                "subnet_ambiguous",
                "Several Subnets match",
                format!("`subnet_filter` matches {}", ids.join(", ")),
            )
            .hint("Narrow the filter, or set `most_free` or `random` in it.")
        })
    }
}

async fn find_net(cx: &Cx, lookup: &Lookup) -> Result<String, StepError> {
    let filters: FiltersNet = match lookup {
        Lookup::Ids(ids) => FiltersNet { net_ids: ids.clone(), ..FiltersNet::default() },
        Lookup::Filters(filters) => typed(filters)?,
    };
    let nets = cx.cloud.client.read_all(&ReadNets::filtered(filters)).await?;
    match nets.as_slice() {
        [] => Err(not_found("Net", lookup)),
        [net] => Ok(net.net_id.clone()),
        several => {
            let ids: Vec<_> = several.iter().map(|net| net.net_id.as_str()).collect();
            let detail = format!("`net_filter` matches {}", ids.join(", "));
            Err(StepError::found(422, "net_ambiguous", "Several Nets match", detail)
                .hint("Narrow the filter, or name `net_id`."))
        }
    }
}

fn not_found(what: &str, lookup: &Lookup) -> StepError {
    let asked = match lookup {
        Lookup::Ids(ids) => ids.join(", "),
        Lookup::Filters(filters) => {
            filters.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
        }
    };
    let (code, title) = (format!("{}_not_found", what.to_lowercase()), format!("The {what} was not found"));
    StepError::found(404, &code, &title, format!("no {what} matches {asked}"))
        .hint("Check the id or filter, the account and the Region.")
}

/// OAPI's filters from what the plan holds by name.
pub(super) fn typed<T: DeserializeOwned>(
    filters: &std::collections::BTreeMap<String, Value>,
) -> Result<T, StepError> {
    let value = serde_json::to_value(filters).and_then(serde_json::from_value);
    Ok(value.map_err(|source| StoreError::Unreadable { what: "filter", source })?)
}
