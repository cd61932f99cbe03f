//! Filters: what to search for in the account, from Packer's names to OAPI's. A filter that is not known is an error,
//! because leaving it out would find something else.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fields::{Fields, quoted};
use crate::{
    domain::plan::{Lookup, SourceOmi, SubnetChoice},
    template::{envelope::shorten, suggest::did_you_mean},
};

/// How a filter's value goes into OAPI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Texts,
    Numbers,
    Flag,
}

/// Packer's name, OAPI's name, and how its value is written.
type Known = (&'static str, &'static str, Form);

const IMAGE: [Known; 7] = [
    ("account-alias", "AccountAliases", Form::Texts),
    ("account-id", "AccountIds", Form::Texts),
    ("architecture", "Architectures", Form::Texts),
    ("image-id", "ImageIds", Form::Texts),
    ("image-name", "ImageNames", Form::Texts),
    ("virtualization-type", "VirtualizationTypes", Form::Texts),
    ("root-device-type", "RootDeviceTypes", Form::Texts),
];

const NET: [Known; 6] = [
    ("ip-range", "IpRanges", Form::Texts),
    ("dhcp-options-set-id", "DhcpOptionsSetIds", Form::Texts),
    ("is-default", "IsDefault", Form::Flag),
    ("state", "States", Form::Texts),
    ("tag-key", "TagKeys", Form::Texts),
    ("tag-value", "TagValues", Form::Texts),
];

const SUBNET: [Known; 6] = [
    ("available-ips-counts", "AvailableIpsCounts", Form::Numbers),
    ("ip-ranges", "IpRanges", Form::Texts),
    ("net-ids", "NetIds", Form::Texts),
    ("states", "States", Form::Texts),
    ("subnet-ids", "SubnetIds", Form::Texts),
    ("sub-region-names", "SubregionNames", Form::Texts),
];

const SECURITY_GROUP: [Known; 5] = [
    ("security_group_ids", "SecurityGroupIds", Form::Texts),
    ("security_group_names", "SecurityGroupNames", Form::Texts),
    ("tag_keys", "TagKeys", Form::Texts),
    ("tag_values", "TagValues", Form::Texts),
    ("tags", "Tags", Form::Texts),
];

/// Names that people write and that mean one of ours.
const MEANT: [(&str, &str); 6] = [
    ("name", "image-name"),
    ("ami-id", "image-id"),
    ("owner-id", "account-id"),
    ("owner-alias", "account-alias"),
    ("group-name", "security_group_names"),
    ("group-id", "security_group_ids"),
];

/// Reads `source_omi` and `source_omi_filter`.
pub fn source_omi(fields: &Fields<'_>) -> SourceOmi {
    let id = fields.filled("source_omi");
    if let Some(id) = &id
        && !id.starts_with("ami-")
    {
        fields.fail(
            "source_omi",
            format!("`source_omi` must be the id of an OMI, such as `ami-12345678`, not `{}`", shorten(id)),
        );
    }
    let Some(filter) = fields.object("source_omi_filter") else {
        if id.is_none() {
            fields
                .fail("source_omi", "`source_omi` or `source_omi_filter` is missing: the OMI to start from");
        }
        return SourceOmi { id, filters: BTreeMap::new(), owners: Vec::new(), most_recent: false };
    };
    let found = images(&filter, id);
    filter.finish("`source_omi_filter`", &[]);
    if found.id.is_none() {
        match filter.texts("owners") {
            Some(owners) if !owners.is_empty() => {}
            _ if found.filters.is_empty() => fields.fail(
                "source_omi_filter",
                "`source_omi` or `source_omi_filter` is missing: the OMI to start from",
            ),
            _ => owners_missing(&filter),
        }
    }
    found
}

/// Reads the options of a data source: whose images, and which.
pub fn data_omi(fields: &Fields<'_>) -> SourceOmi {
    let found = images(fields, None);
    if fields.texts("owners").is_none_or(|owners| owners.is_empty()) {
        owners_missing(fields);
    }
    found
}

/// OAPI's filter of the owners' names.
const ALIASES: &str = "AccountAliases";

fn owners_missing(filter: &Fields<'_>) {
    filter.fail("owners", "`owners` is missing: whose OMIs to search, e.g. `[\"Outscale\"]` or `[\"self\"]`");
}

/// `filters`, `filter`, `owners` and `most_recent`.
fn images(filter: &Fields<'_>, id: Option<String>) -> SourceOmi {
    let mut filters: BTreeMap<String, Vec<String>> = given(filter, &IMAGE)
        .into_iter()
        .map(|((_, oapi, _), value)| ((*oapi).to_owned(), vec![value]))
        .collect();
    let given_owners = filter.texts("owners").unwrap_or_default();
    let most_recent = filter.is_on("most_recent");
    let (owners, aliases): (Vec<String>, Vec<String>) = given_owners
        .into_iter()
        .map(|owner| owner.trim().to_owned())
        .filter(|owner| !owner.is_empty())
        .partition(|owner| owner == "self" || owner.bytes().all(|byte| byte.is_ascii_digit()));
    if !owners.is_empty() || !aliases.is_empty() {
        // As in Packer: owners are written over the filters that say the same.
        for (name, oapi) in [("account-id", "AccountIds"), ("account-alias", ALIASES)] {
            if filters.remove(oapi).is_some() {
                filter.notice(name, "of `source_omi_filter` has no effect beside `owners`");
            }
        }
    }
    if !owners.is_empty() && !aliases.is_empty() {
        filter.notice(
            "owners",
            "of `source_omi_filter` mixes ids and aliases; OUTSCALE finds OMIs whose owner matches both",
        );
    }
    if !aliases.is_empty() {
        filters.insert(ALIASES.to_owned(), aliases);
    }
    SourceOmi { id, filters, owners, most_recent }
}

/// Reads `net_id` or `net_filter`.
pub fn net(fields: &Fields<'_>) -> Option<Lookup> {
    let filter = fields.object("net_filter").map(|filter| {
        let filters = oapi_filters(&filter, &NET);
        filter.finish("`net_filter`", &[]);
        filters
    });
    by_id_or_filter(fields, fields.filled("net_id").map(|id| vec![id]), "net_id", "net_filter", filter)
}

/// Reads `subnet_id` or `subnet_filter`.
pub fn subnet(fields: &Fields<'_>) -> (Option<Lookup>, SubnetChoice) {
    let mut choice = SubnetChoice::Only;
    let filter = fields.object("subnet_filter").map(|filter| {
        let filters = oapi_filters(&filter, &SUBNET);
        let (most_free, random) = (filter.is_on("most_free"), filter.is_on("random"));
        filter.finish("`subnet_filter`", &[]);
        choice = match (most_free, random) {
            (true, _) => SubnetChoice::MostFree,
            (false, true) => SubnetChoice::Random,
            (false, false) => SubnetChoice::Only,
        };
        filters
    });
    // `most_free` alone chooses among all subnets.
    let filter = filter.filter(|filters| !filters.is_empty() || choice != SubnetChoice::Only);
    let id = fields.filled("subnet_id").map(|id| vec![id]);
    if id.is_none()
        && let Some(filters) = filter
    {
        return (Some(Lookup::Filters(filters)), choice);
    }
    (by_id_or_filter(fields, id, "subnet_id", "subnet_filter", None), choice)
}

/// Reads `security_group_id`, `security_group_ids` or `security_group_filter`.
pub fn security_groups(fields: &Fields<'_>) -> Option<Lookup> {
    let one = fields.filled("security_group_id");
    let several = fields.texts("security_group_ids").filter(|ids| !ids.is_empty());
    if one.is_some() && several.is_some() {
        fields.fail(
            "security_group_id",
            "`security_group_id` and `security_group_ids` are both given; give one of them",
        );
    }
    let filter = fields.object("security_group_filter").map(|filter| {
        let filters = oapi_filters(&filter, &SECURITY_GROUP);
        filter.finish("`security_group_filter`", &[]);
        filters
    });
    let ids = several.or_else(|| one.map(|id| vec![id]));
    by_id_or_filter(fields, ids, "security_group_ids", "security_group_filter", filter)
}

fn by_id_or_filter(
    fields: &Fields<'_>,
    ids: Option<Vec<String>>,
    id_name: &str,
    filter_name: &'static str,
    filter: Option<BTreeMap<String, Value>>,
) -> Option<Lookup> {
    match (ids, filter) {
        (Some(ids), None) => {
            if fields.has(filter_name) {
                fields.notice(filter_name, &format!("has no effect beside `{id_name}`"));
            }
            Some(Lookup::Ids(ids))
        }
        (Some(ids), Some(_)) => {
            fields.notice(filter_name, &format!("has no effect beside `{id_name}`"));
            Some(Lookup::Ids(ids))
        }
        (None, Some(filters)) if !filters.is_empty() => Some(Lookup::Filters(filters)),
        (None, _) => None,
    }
}

/// The filters as OAPI wants them.
fn oapi_filters(filter: &Fields<'_>, known: &'static [Known]) -> BTreeMap<String, Value> {
    let mut filters = BTreeMap::new();
    for ((name, oapi, form), value) in given(filter, known) {
        let value = match form {
            Form::Texts => json!([value]),
            Form::Numbers => match value.trim().parse::<u32>() {
                Ok(number) => json!([number]),
                Err(_) => {
                    filter.fail(
                        "filters",
                        format!("the filter `{name}` must be a whole number, not `{}`", shorten(&value)),
                    );
                    continue;
                }
            },
            Form::Flag => match value.trim() {
                "true" | "1" => json!(true),
                "false" | "0" => json!(false),
                other => {
                    filter.fail(
                        "filters",
                        format!("the filter `{name}` must be true or false, not `{}`", shorten(other)),
                    );
                    continue;
                }
            },
        };
        filters.insert((*oapi).to_owned(), value);
    }
    filters
}

/// `filters` and the entries of `filter`, each with what is known of it.
fn given(filter: &Fields<'_>, known: &'static [Known]) -> Vec<(&'static Known, String)> {
    let mut pairs: Vec<(String, String, &'static str)> = filter
        .map("filters")
        .unwrap_or_default()
        .into_iter()
        .map(|(name, value)| (name, value, "filters"))
        .collect();
    for entry in filter.objects("filter").unwrap_or_default() {
        let (name, value) = (entry.filled("name"), entry.text("value"));
        entry.finish("an entry of `filter`", &[]);
        match (name, value) {
            (Some(name), Some(value)) => pairs.push((name, value, "filter")),
            _ => entry.fail("name", "an entry of `filter` needs `name` and `value`"),
        }
    }
    let names: Vec<&str> = known.iter().map(|(name, ..)| *name).collect();
    let mut found: Vec<(&'static Known, String)> = Vec::new();
    for (name, value, option) in pairs {
        match known.iter().find(|(known, ..)| *known == name) {
            Some(entry) if found.iter().any(|(other, _)| other.0 == entry.0) => {
                filter.fail(option, format!("the filter `{name}` is given twice"));
            }
            Some(entry) => found.push((entry, value)),
            None => {
                let meant = MEANT.iter().find(|(word, _)| *word == name).map(|(_, meant)| *meant);
                let near = meant
                    .filter(|meant| names.contains(meant))
                    .or_else(|| did_you_mean(&name, names.iter().copied()))
                    .map_or_else(
                        || format!("use one of {}", quoted(&names)),
                        |near| format!("did you mean `{near}`?"),
                    );
                filter.fail(option, format!("there is no filter `{}`; {near}", shorten(&name)));
            }
        }
    }
    found
}
