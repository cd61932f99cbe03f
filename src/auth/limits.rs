//! What a token is limited to beyond its role. A limit that is absent does not limit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The limits of a token. Stored as JSON; a field that this version does not know makes the token unusable rather than
/// wider than it was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "Limits")]
pub struct Limits {
    /// It asks for builds with these builders only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builders: Option<BTreeSet<String>>,
    /// Its builds name one of these stored sets of keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<BTreeSet<String>>,
    /// Its builds get these labels, and it sees and acts on builds with all of them only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// So many of its builds may be queued or running at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_builds: Option<u32>,
}

/// What a limit refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Another builder.
    #[error("This token may use the builders {allowed} only, and run `{run}` uses `{builder}`.")]
    Builder {
        /// The run's name.
        run: String,
        /// Its builder.
        builder: String,
        /// What would be right.
        allowed: String,
    },
    /// Other keys, or none by name.
    #[error(
        "This token may use the stored keys {allowed} only{}; name them as `credentials` of the request.",
        .given.as_ref().map(|name| format!(", not `{name}`")).unwrap_or_default()
    )]
    Credentials {
        /// What the request named.
        given: Option<String>,
        /// What would be right.
        allowed: String,
    },
    /// Another value of a label.
    #[error("Builds of this token have the label `{name}={wanted}`, and the request says `{name}={given}`.")]
    Label {
        /// The label.
        name: String,
        /// Its value by the limit.
        wanted: String,
        /// Its value by the request.
        given: String,
    },
}

impl Limits {
    /// Whether a build may use this builder.
    #[must_use]
    pub fn allows_builder(&self, builder: &str) -> bool {
        self.builders.as_ref().is_none_or(|allowed| allowed.contains(builder))
    }

    /// Whether a request may use the stored set of keys of this name; `None`: it names none, and so would use keys of the
    /// template or of the operator.
    #[must_use]
    pub fn allows_credentials(&self, name: Option<&str>) -> bool {
        match &self.credentials {
            None => true,
            Some(allowed) => name.is_some_and(|name| allowed.contains(name)),
        }
    }

    /// Whether builds with these labels are the token's to see. `labels` is an object of texts.
    #[must_use]
    pub fn covers(&self, labels: &serde_json::Value) -> bool {
        self.labels
            .iter()
            .all(|(name, wanted)| labels.get(name).and_then(|value| value.as_str()) == Some(wanted))
    }

    /// Gives a request the labels that its build must have.
    ///
    /// # Errors
    /// The request gives one of them another value.
    pub fn add_labels(&self, labels: &mut BTreeMap<String, String>) -> Result<(), LimitError> {
        for (name, wanted) in &self.labels {
            let given = labels.entry(name.clone()).or_insert_with(|| wanted.clone());
            if given != wanted {
                let (name, wanted, given) = (name.clone(), wanted.clone(), given.clone());
                return Err(LimitError::Label { name, wanted, given });
            }
        }
        Ok(())
    }

    /// Checks the builders of a build, given as pairs of a run's name and its builder.
    ///
    /// # Errors
    /// Names the first that is not allowed.
    pub fn check_builders<'a>(
        &self,
        runs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), LimitError> {
        match runs.into_iter().find(|(_, builder)| !self.allows_builder(builder)) {
            None => Ok(()),
            Some((run, builder)) => Err(LimitError::Builder {
                run: run.to_owned(),
                builder: builder.to_owned(),
                allowed: listed(self.builders.as_ref()),
            }),
        }
    }

    /// The same as [`Limits::allows_credentials`], with the reason.
    ///
    /// # Errors
    /// The set is not allowed, or none is named.
    pub fn check_credentials(&self, name: Option<&str>) -> Result<(), LimitError> {
        if self.allows_credentials(name) {
            return Ok(());
        }
        Err(LimitError::Credentials {
            given: name.map(str::to_owned),
            allowed: listed(self.credentials.as_ref()),
        })
    }
}

fn listed(names: Option<&BTreeSet<String>>) -> String {
    let names: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn limits(json: serde_json::Value) -> Limits {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn without_limits_everything_is_allowed() {
        let none = Limits::default();
        assert!(none.allows_builder("osc-chroot"));
        assert!(none.allows_credentials(None) && none.allows_credentials(Some("prod")));
        assert!(none.covers(&json!({})));
        let mut labels = BTreeMap::new();
        none.add_labels(&mut labels).unwrap();
        assert!(labels.is_empty());
        assert_eq!(serde_json::to_value(&none).unwrap(), json!({}));
    }

    #[test]
    fn limited_credentials_must_be_named() {
        let limits = limits(json!({ "credentials": ["dev", "test"] }));
        assert!(limits.allows_credentials(Some("dev")) && limits.allows_credentials(Some("test")));
        for name in [None, Some("prod"), Some(""), Some("dev ")] {
            assert!(!limits.allows_credentials(name), "{name:?}");
            assert!(limits.check_credentials(name).unwrap_err().to_string().contains("`dev`, `test`"));
        }
        // A list without names allows none.
        assert!(!self::limits(json!({ "credentials": [] })).allows_credentials(Some("dev")));
    }

    #[test]
    fn builders_are_checked_run_by_run() {
        let limits = limits(json!({ "builders": ["osc-bsu"] }));
        assert!(limits.check_builders([("a", "osc-bsu"), ("b", "osc-bsu")]).is_ok());
        let error = limits.check_builders([("a", "osc-bsu"), ("b", "osc-chroot")]).unwrap_err().to_string();
        assert!(error.contains("run `b` uses `osc-chroot`"), "{error}");
    }

    #[test]
    fn labels_are_given_and_not_overridden() {
        let limits = limits(json!({ "labels": { "team": "web" } }));
        let mut labels = BTreeMap::from([("app".to_owned(), "nginx".to_owned())]);
        limits.add_labels(&mut labels).unwrap();
        assert_eq!(labels["team"], "web");
        limits.add_labels(&mut labels).unwrap();
        labels.insert("team".to_owned(), "db".to_owned());
        assert!(limits.add_labels(&mut labels).is_err());
        assert!(limits.covers(&json!({ "team": "web", "app": "x" })));
        assert!(!limits.covers(&json!({ "team": "db" })) && !limits.covers(&json!({})));
    }

    #[test]
    fn a_limit_of_a_later_version_is_not_ignored() {
        assert!(serde_json::from_value::<Limits>(json!({ "regions": ["eu-west-2"] })).is_err());
    }
}
