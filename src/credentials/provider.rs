//! Where the keys of a build come from, in this order: the template, the stored set that the request names, the profile that
//! the template names, the environment, the shared file of the `osc` tools, a file in AWS's form if the operator names one,
//! the role of the VM. Each value remembers its source, so that a wrong one can be found.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{
    aws_file,
    client_certificate::{self, ClientCertificate},
    endpoints::{AllowedEndpoints, EndpointUrl},
    role::{RoleKeys, Roles},
    sets::StoredSet,
    shared_file::{Profile, SharedFile},
};
pub use super::{environment::EnvironmentSource, error::CredentialsError};
use crate::{
    domain::plan::AccessPlan,
    oapi::{ClientConfig, Endpoint, EndpointError, KeyPair, KeySource},
};

/// Used when nothing names a Region, as OUTSCALE's own tools do.
pub const DEFAULT_REGION: &str = "eu-west-2";

/// Variables of the environment: today's name, then the one that older tools used.
const ACCESS_KEY: &[&str] = &["OSC_ACCESS_KEY", "OUTSCALE_ACCESSKEYID"];
const SECRET_KEY: &[&str] = &["OSC_SECRET_KEY", "OUTSCALE_SECRETKEYID"];
const REGION: &[&str] = &["OSC_REGION", "OUTSCALE_REGION"];
const ENDPOINT: &[&str] = &["OSC_ENDPOINT_API", "OUTSCALE_OAPI_URL"];

/// All that is needed to call the API.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
    /// Where the keys come from, if they have an end; the two above are those of now.
    pub key_source: Option<Arc<dyn KeySource>>,
    /// Region, never empty.
    pub region: String,
    /// Base URL; absent: that of the Region. Checked, with scheme, without a final slash.
    pub endpoint: Option<String>,
    /// Whether TLS certificates are not checked.
    pub insecure: bool,
    /// Client certificate and its key, as PEM one after the other.
    pub client_certificate: Option<SecretString>,
    /// Which source gave what, for people.
    pub source: String,
    /// What the user should know.
    pub notices: Vec<String>,
}

impl Resolved {
    /// The client's configuration with all of this in it.
    ///
    /// # Errors
    /// The endpoint has no meaning for the client.
    pub fn client_config(&self, user_agent: String) -> Result<ClientConfig, EndpointError> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => Endpoint::parse(endpoint, &self.region)?,
            None => Endpoint::from_region(&self.region)?,
        };
        let mut config = ClientConfig::new(endpoint, &self.region, &self.access_key, self.secret_key.clone());
        config.user_agent = user_agent;
        config.key_source = self.key_source.clone();
        config.tls.insecure_skip_verify = self.insecure;
        config.tls.client_certificate = self.client_certificate.clone();
        Ok(config)
    }
}

/// A value and where it came from.
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) place: String,
}

/// A pair of keys.
pub(super) struct Keys {
    pub(super) access_key: String,
    pub(super) secret_key: SecretString,
}

/// Keys of the VM's role as they are now, and where those of later come from.
pub(super) struct OfRole {
    pub(super) keys: Arc<KeyPair>,
    pub(super) source: Arc<RoleKeys>,
}

/// Finds keys, Region and endpoint for a build. The two keys come from one source; Region and endpoint are each taken
/// from the first source that has them. The VM's role is asked for only when nothing else has keys.
///
/// # Errors
/// No or half a pair of keys, an unusable file, Region or endpoint, or an endpoint of the request's that the operator
/// has not allowed.
pub async fn resolve(
    plan: &AccessPlan,
    set: Option<&StoredSet>,
    environment: &EnvironmentSource,
    allowed: &AllowedEndpoints,
    roles: &Roles,
) -> Result<Resolved, CredentialsError> {
    let mut tried = match find(plan, set, environment, allowed, None) {
        Err(CredentialsError::NoKeys { tried }) => tried,
        found => return found,
    };
    match roles.current().await {
        Ok(role) => find(plan, set, environment, allowed, Some(role)),
        Err(error) => {
            tried.push(error.to_string());
            Err(CredentialsError::NoKeys { tried })
        }
    }
}

/// The same without asking the metadata service.
pub(super) fn find(
    plan: &AccessPlan,
    set: Option<&StoredSet>,
    environment: &EnvironmentSource,
    allowed: &AllowedEndpoints,
    role: Option<OfRole>,
) -> Result<Resolved, CredentialsError> {
    let named = plan.profile.as_deref().filter(|name| !name.is_empty());
    let file = SharedFile::read(environment, named);
    let sources = Sources { plan, set, environment, file: &file, is_named: named.is_some() };
    let from_request = request_keys(plan)?;
    let keys_are_the_requests = from_request.is_some();
    let keys = match from_request {
        Some(keys) => keys,
        None => sources.operators_keys(role.as_ref())?,
    };
    let (region, mut notices) = sources.region()?;
    let endpoint = sources.endpoint(keys_are_the_requests, allowed)?;

    let profile = file.profile.as_ref();
    let insecure = plan.insecure_skip_tls_verify
        || environment.get("OSC_TLS_SKIP_VERIFY").is_some_and(is_yes)
        || profile.is_some_and(|profile| profile.tls_skip_verify);
    if insecure {
        notices.push("TLS certificates of the API are not checked".to_owned());
    }
    let mut source = format!("keys from {}, region {} from {}", keys.place, region.value, region.place);
    if let Some(endpoint) = &endpoint {
        source.push_str(&format!(", endpoint from {}", endpoint.place));
    }
    let certificate = sources.certificate(keys_are_the_requests)?;
    if let Some(certificate) = &certificate {
        source.push_str(&format!(", client certificate from {}", certificate.place));
    }
    let is_role = role.as_ref().is_some_and(|role| role.keys.access_key == keys.value.access_key);
    Ok(Resolved {
        access_key: keys.value.access_key,
        secret_key: keys.value.secret_key,
        key_source: role.filter(|_| is_role).map(|role| role.source as Arc<dyn KeySource>),
        region: region.value,
        endpoint: endpoint.map(|endpoint| endpoint.value.to_string()),
        insecure,
        client_certificate: certificate.map(|certificate| certificate.pem),
        source,
        notices,
    })
}

/// Everything that may have an answer.
struct Sources<'a> {
    plan: &'a AccessPlan,
    set: Option<&'a StoredSet>,
    environment: &'a EnvironmentSource,
    file: &'a SharedFile,
    /// Whether the template names the file's profile, which then goes before the environment.
    is_named: bool,
}

impl Sources<'_> {
    /// Keys that the request does not bring itself.
    fn operators_keys(&self, role: Option<&OfRole>) -> Result<Sourced<Keys>, CredentialsError> {
        if let Some(set) = self.set {
            let (access_key, secret_key) = (set.secrets.access_key.clone(), set.secrets.secret_key.clone());
            return Ok(Sourced { value: Keys { access_key, secret_key }, place: place_of(set) });
        }
        if !self.is_named
            && let Some(keys) = environment_keys(self.environment)?
        {
            return Ok(keys);
        }
        let in_file = match self.file.keys(self.environment, self.is_named)? {
            Ok(keys) => return Ok(keys),
            Err(missing) => missing,
        };
        let in_aws_file = match aws_file::keys(self.environment)? {
            Ok(keys) => return Ok(keys),
            Err(missing) => missing,
        };
        if let Some(OfRole { keys, source }) = role {
            let (access_key, secret_key) = (keys.access_key.clone(), keys.secret_key.clone());
            let place = format!("the role `{}` of this VM (metadata service)", source.role());
            return Ok(Sourced { value: Keys { access_key, secret_key }, place });
        }
        Err(CredentialsError::NoKeys {
            tried: vec![
                "the template has no `access_key` and `secret_key`".to_owned(),
                "the request names no stored set (`credentials`)".to_owned(),
                format!("the environment has neither {} nor {}", ACCESS_KEY[0], ACCESS_KEY[1]),
                in_file,
                in_aws_file,
            ],
        })
    }

    fn region(&self) -> Result<(Sourced<String>, Vec<String>), CredentialsError> {
        let of_template = self.plan.region.as_deref().map(|region| (region, "the template".to_owned()));
        let of_set = || Some((self.set?.region.as_deref()?, place_of(self.set?)));
        let of_file = || Some((self.file.profile.as_ref()?.region.as_deref()?, self.file.place()));
        let of_named = || if self.is_named { of_file() } else { None };
        let of_environment = || {
            let (name, region) = self.environment.first(REGION)?;
            Some((region, format!("the environment ({name})")))
        };
        let found = of_template
            .map(|(region, place)| (region.trim(), place))
            .filter(|(region, _)| !region.is_empty())
            .or_else(of_set)
            .or_else(of_named)
            .or_else(of_environment)
            .or_else(of_file);
        let Some((region, place)) = found else {
            let notice =
                format!("no Region is named anywhere; {DEFAULT_REGION} is used (OSC_REGION sets another)");
            let region = Sourced { value: DEFAULT_REGION.to_owned(), place: "fournil's default".to_owned() };
            return Ok((region, vec![notice]));
        };
        // It becomes part of a host name; anything else in it would lead the keys to another host.
        let is_name = region.len() <= 63
            && region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name {
            return Err(CredentialsError::Region { region: region.to_owned(), place });
        }
        Ok((Sourced { value: region.to_owned(), place }, Vec::new()))
    }

    /// The operator's endpoint: of the stored set, of the environment, of the shared file.
    fn operators_endpoint(&self) -> Result<Option<Sourced<EndpointUrl>>, CredentialsError> {
        let protocol = |text: Option<&str>| if text == Some("http") { "http" } else { "https" };
        let of_set = || Some((self.set?.endpoint.as_deref()?, "https", place_of(self.set?)));
        let of_file = || match &self.file.profile {
            Some(Profile { endpoint: Some(text), protocol: scheme, .. }) => {
                Some((text.as_str(), protocol(scheme.as_deref()), self.file.place()))
            }
            _ => None,
        };
        let of_named = || if self.is_named { of_file() } else { None };
        let of_environment = || {
            let (name, text) = self.environment.first(ENDPOINT)?;
            let scheme = protocol(self.environment.get("OSC_PROTOCOL"));
            Some((text, scheme, format!("the environment ({name})")))
        };
        let found = of_set().or_else(of_named).or_else(of_environment).or_else(of_file);
        found.map(|(text, scheme, place)| read_endpoint(text, scheme, place)).transpose()
    }

    fn endpoint(
        &self,
        keys_are_the_requests: bool,
        allowed: &AllowedEndpoints,
    ) -> Result<Option<Sourced<EndpointUrl>>, CredentialsError> {
        let operators = self.operators_endpoint()?;
        let Some(text) = own_endpoint(self.plan) else {
            return Ok(operators);
        };
        let requests = read_endpoint(text, "https", "the template".to_owned())?;
        let is_operators = operators.is_some_and(|operators| operators.value.is_same_server(&requests.value));
        let is_own_machine = keys_are_the_requests && allowed.loopback && requests.value.is_loopback();
        if is_operators || is_own_machine || allowed.covers(&requests.value) {
            return Ok(Some(requests));
        }
        let why = if keys_are_the_requests {
            "it is neither OUTSCALE's nor one that this fournil is set up for"
        } else {
            "the keys are the operator's, and those are used only with OUTSCALE's hosts and the operator's own endpoint"
        };
        let port = requests.value.port().map(|port| format!(":{port}")).unwrap_or_default();
        Err(CredentialsError::NotAllowed {
            endpoint: requests.value.to_string(),
            host: format!("{}{port}", requests.value.host()),
            why,
        })
    }

    fn certificate(
        &self,
        keys_are_the_requests: bool,
    ) -> Result<Option<ClientCertificate>, CredentialsError> {
        if let Some(pem) = &self.plan.client_certificate {
            return Ok(Some(ClientCertificate { pem: pem.clone(), place: "the template".to_owned() }));
        }
        if let Some(set) = self.set
            && let Some(pem) = &set.secrets.client_certificate
        {
            return Ok(Some(ClientCertificate { pem: pem.clone(), place: place_of(set) }));
        }
        // It shows who the operator is: not to a server that a request chose for keys of its own.
        if keys_are_the_requests && own_endpoint(self.plan).is_some() {
            return Ok(None);
        }
        let profile = self.file.profile.as_ref();
        client_certificate::find(
            self.environment,
            profile.map(|profile| (&profile.certificate, self.file.place())),
        )
    }
}

fn place_of(set: &StoredSet) -> String {
    format!("the stored set `{}`", set.name)
}

fn read_endpoint(text: &str, scheme: &str, place: String) -> Result<Sourced<EndpointUrl>, CredentialsError> {
    match EndpointUrl::parse(text, scheme) {
        Ok(value) => Ok(Sourced { value, place }),
        Err(source) => Err(CredentialsError::Endpoint { place, source }),
    }
}

fn request_keys(plan: &AccessPlan) -> Result<Option<Sourced<Keys>>, CredentialsError> {
    let half = |present: &str, missing: &str| CredentialsError::HalfAPair {
        place: "the template".to_owned(),
        present: present.to_owned(),
        missing: missing.to_owned(),
    };
    let access_key = plan.access_key.as_deref().filter(|key| !key.is_empty());
    let secret_key = plan.secret_key.as_ref().filter(|key| !key.expose_secret().is_empty());
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => Ok(Some(Sourced {
            value: Keys { access_key: access_key.to_owned(), secret_key: secret_key.clone() },
            place: "the template".to_owned(),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("`access_key`", "`secret_key`")),
        (None, Some(_)) => Err(half("`secret_key`", "`access_key`")),
    }
}

fn environment_keys(environment: &EnvironmentSource) -> Result<Option<Sourced<Keys>>, CredentialsError> {
    let half = |present: &str, missing: &str| CredentialsError::HalfAPair {
        place: "the environment of fournil".to_owned(),
        present: present.to_owned(),
        missing: missing.to_owned(),
    };
    match (environment.first(ACCESS_KEY), environment.first(SECRET_KEY)) {
        (Some((access_name, access_key)), Some((secret_name, secret_key))) => Ok(Some(Sourced {
            value: Keys { access_key: access_key.to_owned(), secret_key: SecretString::from(secret_key) },
            place: format!("the environment ({access_name}, {secret_name})"),
        })),
        (None, None) => Ok(None),
        (Some((name, _)), None) => Err(half(name, SECRET_KEY[0])),
        (None, Some((name, _))) => Err(half(name, ACCESS_KEY[0])),
    }
}

/// The endpoint that the request names.
fn own_endpoint(plan: &AccessPlan) -> Option<&str> {
    plan.endpoint.as_deref().filter(|text| !text.trim().is_empty())
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "yes" | "true" | "1")
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
