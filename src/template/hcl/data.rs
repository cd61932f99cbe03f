//! Data sources: what they ask the cloud for, and the form of the answer.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    config::Config,
    names::DATA,
    options::{Bound, Reader},
};
use crate::{
    domain::plan::DataQuery,
    hcl::Value,
    template::{
        options::{
            self,
            fields::{Fields, Findings, Reading, holds_unknown},
        },
        or_did_you_mean,
        render::Renderer,
    },
};

/// Values of data sources that were asked, by type and name.
pub type DataValues = BTreeMap<(String, String), Value>;

/// What an image is called in a configuration (`data.outscale-omi.x.id`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OmiFacts {
    /// `id`
    pub id: String,
    /// `name`
    pub name: String,
    /// `creation_date`
    pub creation_date: String,
    /// `owner`: the account's id.
    pub owner: String,
    /// `owner_name`: the account's alias.
    pub owner_name: String,
    /// `tags`
    pub tags: BTreeMap<String, String>,
}

impl OmiFacts {
    /// The value that a configuration sees.
    #[must_use]
    pub fn into_value(self) -> Value {
        let tags = self.tags.into_iter().map(|(name, value)| (name, value.into())).collect();
        let members = [
            ("id", self.id),
            ("name", self.name),
            ("creation_date", self.creation_date),
            ("owner", self.owner),
            ("owner_name", self.owner_name),
        ];
        let mut members: BTreeMap<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        members.insert("tags".to_owned(), Value::map(tags));
        Value::object(members)
    }
}

/// The data sources that are not known yet and whose options are: what to ask the cloud for next. Checks the options of
/// all of them.
pub(super) fn queries(
    config: &Config<'_>,
    data: &DataValues,
    reader: &Reader<'_>,
    renderer: &Renderer,
    findings: &Findings,
) -> Vec<DataQuery> {
    let mut queries = Vec::new();
    for ((kind, name), source) in &config.data {
        let key = (kind.clone(), name.clone());
        if !data.get(&key).is_none_or(Value::is_unknown) {
            continue;
        }
        let is_omi =
            config.plugin_names.iter().any(|plugin| kind.strip_prefix(plugin.as_str()) == Some("-omi"));
        if !is_omi {
            let why = match kind.as_str() {
                "http"
                | "null"
                | "hcp-packer-version"
                | "hcp-packer-artifact"
                | "hcp-packer-image"
                | "hcp-packer-iteration"
                | "amazon-ami" => format!(
                    "the data source `{kind}` is not possible here: only `outscale-omi` is; pass the value as a variable"
                ),
                other => format!(
                    "there is no data source `{other}`; {}",
                    or_did_you_mean(other, ["outscale-omi"], "known is `outscale-omi`")
                ),
            };
            reader.wrong(source.span, why);
            continue;
        }
        let node = reader.object(source.body, &Bound::new(), source.span);
        let secrets = std::cell::RefCell::default();
        // A data source has nothing that would need it.
        let allowed = BTreeSet::new();
        let reading =
            Reading { findings, renderer, folder: reader.world.folder, secrets: &secrets, allowed: &allowed };
        let query = {
            let fields = Fields::new(&reading, &node, String::new());
            let (access, source) = options::data_omi(&fields, kind);
            DataQuery { kind: kind.clone(), name: name.clone(), access, source }
        };
        secrets.into_inner().iter().for_each(|secret: &String| reader.keep_secret(secret));
        if !holds_unknown(&node) {
            queries.push(query);
        }
    }
    queries
}

/// Whether any of the values of a configuration waits for a data source.
pub(super) fn is_open(value: &Value) -> bool {
    value.waits_for().is_some_and(|cause| cause.includes(DATA))
}
