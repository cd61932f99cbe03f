//! The settings about who may use the service.

use std::collections::BTreeMap;

use super::{ConfigError, Settings};
use crate::auth::{
    AuthSettings, Network, Role,
    oidc::{self, OidcSettings},
};

/// Their names in the file and in the environment.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("hosts", "FOURNIL_HOSTS"),
    ("trusted_proxies", "FOURNIL_TRUSTED_PROXIES"),
    ("metrics_open", "FOURNIL_METRICS_OPEN"),
    ("limits.streams", "FOURNIL_LIMITS_STREAMS"),
    ("limits.streams_each", "FOURNIL_LIMITS_STREAMS_EACH"),
    ("limits.builds", "FOURNIL_LIMITS_BUILDS"),
    ("limits.builds_each", "FOURNIL_LIMITS_BUILDS_EACH"),
    ("oidc.issuer", "FOURNIL_OIDC_ISSUER"),
    ("oidc.audience", "FOURNIL_OIDC_AUDIENCE"),
    ("oidc.role_claim", "FOURNIL_OIDC_ROLE_CLAIM"),
    ("oidc.roles", "FOURNIL_OIDC_ROLES"),
];

impl Settings {
    /// Who may use the service; `required`: nobody without a token.
    pub(super) fn access(&self, required: bool) -> Result<AuthSettings, ConfigError> {
        let usual = AuthSettings::default();
        Ok(AuthSettings {
            required,
            metrics_open: self.parsed("metrics_open", flag)?.unwrap_or(usual.metrics_open),
            trusted_proxies: self.list("trusted_proxies", |text| text.parse::<Network>())?,
            streams: self.bounded("limits.streams", usual.streams, 1, 100_000)?,
            streams_each: self.bounded("limits.streams_each", usual.streams_each, 1, 100_000)?,
            builds: self.bounded("limits.builds", usual.builds, 1, 1_000_000)?,
            builds_each: self.bounded("limits.builds_each", usual.builds_each, 1, 1_000_000)?,
            oidc: self.oidc()?,
        })
    }

    /// Names of this server, lower case.
    pub(super) fn hosts(&self) -> Result<Vec<String>, ConfigError> {
        self.list("hosts", |text| {
            let is_name = text == "*"
                || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
            is_name.then(|| text.to_ascii_lowercase()).ok_or_else(|| {
                format!(
                    "`{text}` is no name of a host; write for example `bakery.example.com`, without a port"
                )
            })
        })
    }

    fn oidc(&self) -> Result<Option<OidcSettings>, ConfigError> {
        let issuer = self.parsed("oidc.issuer", |text| oidc::check_url(text).map(|_| text.to_owned()))?;
        let Some(issuer) = issuer else {
            let others = ["oidc.audience", "oidc.role_claim", "oidc.roles"];
            return match others.into_iter().find_map(|name| self.0.get(name)) {
                Some(setting) => Err(ConfigError::Value {
                    origin: setting.origin.clone(),
                    why: "this has no meaning without `oidc.issuer`".to_owned(),
                }),
                None => Ok(None),
            };
        };
        let text = |name: &str| self.parsed(name, |text| Ok::<_, String>(text.to_owned()));
        let missing = |name: &str, example: &str| ConfigError::Value {
            origin: format!("`{name}`"),
            why: format!("this is needed with `oidc.issuer`; write for example `{example}`"),
        };
        let pairs = self.list("oidc.roles", |pair| {
            let (name, role) = pair
                .rsplit_once('=')
                .filter(|(name, _)| !name.trim().is_empty())
                .ok_or_else(|| format!("`{pair}` is no pair; write for example `ops=admin,dev=builder`"))?;
            Ok((name.trim().to_owned(), role.trim().parse::<Role>()?))
        })?;
        let roles: BTreeMap<_, _> = pairs.into_iter().collect();
        if roles.is_empty() {
            return Err(missing("oidc.roles", "ops=admin,dev=builder"));
        }
        Ok(Some(OidcSettings {
            issuer,
            audience: text("oidc.audience")?.ok_or_else(|| missing("oidc.audience", "fournil"))?,
            role_claim: text("oidc.role_claim")?.unwrap_or_else(|| "roles".to_owned()),
            roles,
            pause: oidc::PAUSE,
        }))
    }
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    fn load(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let home = ("HOME", "/home/me");
        let variables = pairs.iter().chain([&home]);
        let environment: BTreeMap<_, _> =
            variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::load(&[], &environment, false).map_err(|error| error.to_string())
    }

    const ISSUER: (&str, &str) = ("FOURNIL_OIDC_ISSUER", "https://id.example.com/realms/a");
    const AUDIENCE: (&str, &str) = ("FOURNIL_OIDC_AUDIENCE", "fournil");
    const ROLES: (&str, &str) = ("FOURNIL_OIDC_ROLES", "ops=admin, dev = builder,a=b=viewer");

    #[test]
    fn without_settings_loopback_is_open_and_the_rest_is_not() {
        let config = load(&[]).unwrap();
        assert!(!config.access.required && !config.access.metrics_open && config.access.oidc.is_none());
        assert!(load(&[("FOURNIL_LISTEN", "0.0.0.0:80")]).unwrap().access.required);
        assert!(!load(&[("FOURNIL_LISTEN", "[::1]:80")]).unwrap().access.required);
    }

    #[test]
    fn a_provider_is_read() {
        let oidc = load(&[ISSUER, AUDIENCE, ROLES]).unwrap().access.oidc.unwrap();
        assert_eq!((oidc.issuer.as_str(), oidc.role_claim.as_str()), (ISSUER.1, "roles"));
        let expected = [("a=b", Role::Viewer), ("dev", Role::Builder), ("ops", Role::Admin)];
        assert_eq!(oidc.roles, expected.map(|(name, role)| (name.to_owned(), role)).into());
        for (pairs, word) in [
            (&[ISSUER, AUDIENCE][..], "oidc.roles"),
            (&[ISSUER, ROLES], "oidc.audience"),
            (&[ROLES], "oidc.issuer"),
            (&[("FOURNIL_OIDC_ISSUER", "http://id.example.com"), AUDIENCE, ROLES], "https://"),
            (&[ISSUER, AUDIENCE, ("FOURNIL_OIDC_ROLES", "ops=root")], "root"),
            (&[ISSUER, AUDIENCE, ("FOURNIL_OIDC_ROLES", "ops")], "ops=admin"),
        ] {
            let error = load(pairs).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        assert!(load(&[("FOURNIL_OIDC_ISSUER", "http://127.0.0.1:9000"), AUDIENCE, ROLES]).is_ok());
    }

    #[test]
    fn the_rest_is_read_and_checked() {
        let config = load(&[
            ("FOURNIL_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
            ("FOURNIL_METRICS_OPEN", "true"),
            ("FOURNIL_HOSTS", "Bakery.example.com"),
            ("FOURNIL_LIMITS_STREAMS", "10"),
            ("FOURNIL_LIMITS_STREAMS_EACH", "2"),
            ("FOURNIL_LIMITS_BUILDS", "7"),
            ("FOURNIL_LIMITS_BUILDS_EACH", "3"),
        ]);
        let config = config.unwrap();
        assert_eq!(config.hosts, ["bakery.example.com"]);
        assert!(config.access.metrics_open);
        assert_eq!(config.access.trusted_proxies.len(), 2);
        assert_eq!((config.access.streams, config.access.streams_each), (10, 2));
        assert_eq!((config.access.builds, config.access.builds_each), (7, 3));
        for pair in [
            ("FOURNIL_TRUSTED_PROXIES", "proxy"),
            ("FOURNIL_METRICS_OPEN", "maybe"),
            ("FOURNIL_HOSTS", "http://a"),
            ("FOURNIL_LIMITS_STREAMS", "0"),
        ] {
            assert!(load(&[pair]).unwrap_err().contains(pair.0), "{pair:?}");
        }
    }
}
