//! Where things are and how many there may be: Nets, Subnets, Subregions, Regions, the account and its quotas.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;

use super::{
    ACCOUNT_ID, Call, Meta, Region, Reply, State,
    addresses::Range,
    members,
    view::{Compare::Exact, Compare::Wildcard, Filter, Page, TAG_FILTERS, View, read},
};
use crate::{
    error::ApiError,
    requests::places::{
        ReadAccountsRequest, ReadNetsRequest, ReadQuotasRequest, ReadRegionsRequest, ReadSubnetsRequest,
        ReadSubregionsRequest,
    },
};

/// A Net. The sandbox is born with one and makes no others.
pub struct Net {
    pub meta: Meta,
    pub id: String,
    pub range: Range,
    pub dhcp_options_set_id: String,
}

/// A Subnet of that Net.
pub struct Subnet {
    pub meta: Meta,
    pub id: String,
    pub net_id: String,
    pub range: Range,
    pub subregion: String,
}

const NET_FILTERS: [Filter; 8] = [
    ("DhcpOptionsSetIds", "DhcpOptionsSetId", Exact),
    ("IpRanges", "IpRange", Exact),
    ("IsDefault", "_IsDefault", Exact),
    ("NetIds", "NetId", Exact),
    ("States", "State", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
];

const SUBNET_FILTERS: [Filter; 9] = [
    ("AvailableIpsCounts", "AvailableIpsCount", Exact),
    ("IpRanges", "IpRange", Exact),
    ("NetIds", "NetId", Exact),
    ("States", "State", Exact),
    ("SubnetIds", "SubnetId", Exact),
    ("SubregionNames", "SubregionName", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
];

const SUBREGION_FILTERS: [Filter; 3] = [
    ("RegionNames", "RegionName", Exact),
    ("States", "State", Exact),
    ("SubregionNames", "SubregionName", Exact),
];

const QUOTA_FILTERS: [Filter; 4] = [
    ("Collections", "_Collections[]", Exact),
    ("QuotaNames", "_Names[]", Wildcard),
    ("QuotaTypes", "QuotaType", Exact),
    ("ShortDescriptions", "_ShortDescriptions[]", Exact),
];

/// Kind, name in ReadQuotas, collection, description.
const QUOTAS: [(&str, &str, &str, &str, i64); 7] = [
    ("vms", "vm_limit", "Compute", "VM Limit", 400),
    ("volumes", "volume_limit", "Compute", "Volume Limit", 800),
    ("snapshots", "snapshot_limit", "Compute", "Snapshot Limit", 2000),
    ("public_ips", "eip_limit", "Network", "Public IP Limit", 200),
    ("security_groups", "sg_limit", "Network", "Security Group Limit", 500),
    ("keypairs", "keypair_limit", "Compute", "Keypair Limit", 5000),
    ("nets", "vpc_limit", "VPC", "Net Limit", 5),
];

/// The quotas of an account at first.
pub fn default_quotas() -> BTreeMap<String, i64> {
    QUOTAS.into_iter().map(|(kind, .., limit)| (kind.to_owned(), limit)).collect()
}

impl Region {
    pub async fn read_nets(self: &Arc<Self>, request: ReadNetsRequest, _call: &Call) -> Reply {
        let views = self.state().nets.values().map(view_net).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Nets", views, &NET_FILTERS, request.filters.as_ref(), page)
    }

    pub async fn read_subnets(self: &Arc<Self>, request: ReadSubnetsRequest, _call: &Call) -> Reply {
        let state = self.state();
        let views = state.subnets.values().map(|subnet| view_subnet(&state, subnet)).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Subnets", views, &SUBNET_FILTERS, request.filters.as_ref(), page)
    }

    pub async fn read_subregions(self: &Arc<Self>, request: ReadSubregionsRequest, _call: &Call) -> Reply {
        let views = self.subregions().into_iter().zip(["SBX1", "SBX2"]).zip(1..);
        let views = views.map(|((name, location), sequence)| View {
            sequence,
            object: members(json!({
                "LocationCode": location,
                "RegionName": self.name,
                "State": "available",
                "SubregionName": name,
            })),
        });
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Subregions", views.collect(), &SUBREGION_FILTERS, request.filters.as_ref(), page)
    }

    pub async fn read_regions(self: &Arc<Self>, _request: ReadRegionsRequest, _call: &Call) -> Reply {
        let endpoint = format!("api.{}.outscale.com", self.name);
        Ok(json!({ "Regions": [{ "Endpoint": endpoint, "RegionName": self.name }] }))
    }

    pub async fn read_accounts(self: &Arc<Self>, _request: ReadAccountsRequest, _call: &Call) -> Reply {
        Ok(json!({ "Accounts": [{
            "AccountId": ACCOUNT_ID,
            "AdditionalEmails": [],
            "City": "Saint-Cloud",
            "CompanyName": "Sandbox",
            "Country": "France",
            "CustomerId": "00000001",
            "Email": "sandbox@example.com",
            "FirstName": "Sandy",
            "LastName": "Box",
            "OutscaleLoginAllowed": false,
            "ZipCode": "92210",
        }] }))
    }

    pub async fn read_quotas(self: &Arc<Self>, request: ReadQuotasRequest, _call: &Call) -> Reply {
        let state = self.state();
        let quotas: Vec<_> = QUOTAS
            .into_iter()
            .filter(|(_, name, collection, description, _)| {
                let wanted = |list: Option<&Vec<String>>, have: &str| {
                    list.is_none_or(|list| list.is_empty() || list.iter().any(|wanted| wanted == have))
                };
                let filters = request.filters.as_ref();
                wanted(filters.and_then(|filters| filters.quota_names.as_ref()), name)
                    && wanted(filters.and_then(|filters| filters.collections.as_ref()), collection)
                    && wanted(filters.and_then(|filters| filters.short_descriptions.as_ref()), description)
            })
            .map(|(kind, name, collection, description, _)| {
                json!({
                    "AccountId": ACCOUNT_ID,
                    "Description": format!("{description} of the account"),
                    // The cloud says 0 where there is no limit.
                    "MaxValue": state.quotas.get(kind).copied().unwrap_or(0),
                    "Name": name,
                    "QuotaCollection": collection,
                    "ShortDescription": description,
                    "UsedValue": state.used(kind),
                })
            })
            .collect();
        let names = |member: &str| -> Vec<_> { quotas.iter().map(|quota| quota[member].clone()).collect() };
        let view = View {
            sequence: 1,
            object: members(json!({
                "QuotaType": "global",
                "Quotas": quotas,
                "_Names": names("Name"),
                "_Collections": names("QuotaCollection"),
                "_ShortDescriptions": names("ShortDescription"),
            })),
        };
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("QuotaTypes", vec![view], &QUOTA_FILTERS, request.filters.as_ref(), page)
    }
}

impl State {
    /// The Subnet of an id.
    pub fn subnet(&self, id: &str) -> Result<&Subnet, ApiError> {
        self.subnets.get(id).ok_or_else(|| ApiError::missing(5057, "SubnetId", id))
    }
}

fn view_net(net: &Net) -> View {
    let mut object = members(json!({
        "DhcpOptionsSetId": net.dhcp_options_set_id,
        "IpRange": net.range.text(),
        "NetId": net.id,
        "State": "available",
        "Tags": net.meta.tags_json(),
        "Tenancy": "default",
        "_IsDefault": false,
    }));
    net.meta.hidden(&mut object);
    View { sequence: net.meta.sequence, object }
}

fn view_subnet(state: &State, subnet: &Subnet) -> View {
    let mut object = members(json!({
        "AvailableIpsCount": subnet.range.offers().saturating_sub(state.addresses.taken_in(subnet.range)),
        "IpRange": subnet.range.text(),
        "MapPublicIpOnLaunch": false,
        "NetId": subnet.net_id,
        "State": "available",
        "SubnetId": subnet.id,
        "SubregionName": subnet.subregion,
        "Tags": subnet.meta.tags_json(),
    }));
    subnet.meta.hidden(&mut object);
    View { sequence: subnet.meta.sequence, object }
}

/// The filters of this file's calls, for the test that holds them to the requests.
#[cfg(test)]
pub fn filters() -> Vec<(&'static str, Vec<Filter>)> {
    vec![
        ("ReadNets", NET_FILTERS.to_vec()),
        ("ReadSubnets", SUBNET_FILTERS.to_vec()),
        ("ReadSubregions", SUBREGION_FILTERS.to_vec()),
        ("ReadQuotas", QUOTA_FILTERS.to_vec()),
    ]
}
