//! Where the keys of a build come from: the request, else the environment, else the shared file of the `osc` tools.
//! Each value remembers its source, so that a wrong one can be found; nothing here talks to the cloud.

use std::{collections::BTreeMap, env, fmt, fs, io, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    client_certificate::{self, InProfile},
    endpoints::{AllowedEndpoints, EndpointUrl, InvalidEndpoint},
};
use crate::{
    domain::plan::AccessPlan,
    oapi::{ClientConfig, Endpoint, EndpointError},
};

/// Used when nothing names a Region, as OUTSCALE's own tools do.
pub const DEFAULT_REGION: &str = "eu-west-2";

/// The profile of the shared file when `OSC_PROFILE` names none.
const DEFAULT_PROFILE: &str = "default";

/// Variables of the environment: today's name, then the one that older tools used.
const ACCESS_KEY: &[&str] = &["OSC_ACCESS_KEY", "OUTSCALE_ACCESSKEYID"];
const SECRET_KEY: &[&str] = &["OSC_SECRET_KEY", "OUTSCALE_SECRETKEYID"];
const REGION: &[&str] = &["OSC_REGION", "OUTSCALE_REGION"];
const ENDPOINT: &[&str] = &["OSC_ENDPOINT_API", "OUTSCALE_OAPI_URL"];

/// What a process sees of its surroundings: taken once at the start, or made up by a test.
#[derive(Clone, Default)]
pub struct EnvironmentSource {
    /// The environment variables.
    pub variables: BTreeMap<String, String>,
    /// The home folder.
    pub home: Option<PathBuf>,
}

impl EnvironmentSource {
    /// The surroundings of this process. Variables that are no UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let variables = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self { variables: variables.collect(), home: env::home_dir() }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn first<'a>(&'a self, names: &[&'a str]) -> Option<(&'a str, &'a str)> {
        names.iter().find_map(|name| Some((*name, self.get(name)?)))
    }
}

impl fmt::Debug for EnvironmentSource {
    /// Names only: values may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentSource")
            .field("variables", &self.variables.keys())
            .field("home", &self.home)
            .finish()
    }
}

/// All that is needed to call the API.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Access key.
    pub access_key: String,
    /// Secret key.
    pub secret_key: SecretString,
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
        config.tls.insecure_skip_verify = self.insecure;
        config.tls.client_certificate = self.client_certificate.clone();
        Ok(config)
    }
}

/// Why a build has no way to the cloud.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No source has keys.
    #[error(
        "no keys were found: {}. Keys from a VM's role are not supported yet. Set `access_key` and `secret_key` in the \
         template, or OSC_ACCESS_KEY and OSC_SECRET_KEY in the environment of `fournil serve`", .tried.join("; ")
    )]
    NoKeys {
        /// Each source with what is missing there.
        tried: Vec<String>,
    },
    /// One key of the pair is there, the other is not. Filling it from elsewhere would mix accounts.
    #[error("{present} is set in {place}, but {missing} is not: both keys must come from the same place")]
    HalfAPair {
        /// The place.
        place: String,
        /// What is there.
        present: String,
        /// What is not.
        missing: String,
    },
    /// The shared file cannot be used, and it is needed.
    #[error("the credentials file {} cannot be used: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason, without any content.
        why: String,
    },
    /// The client certificate or its key cannot be used.
    #[error("the client certificate cannot be used: {what}: {why}")]
    Certificate {
        /// The variable or the profile's member.
        what: String,
        /// The reason, without any content.
        why: String,
    },
    /// The Region is no name.
    #[error("`{region}` (from {place}) is no Region name; write for example `eu-west-2`")]
    Region {
        /// The text.
        region: String,
        /// Where it came from.
        place: String,
    },
    /// The endpoint is no URL.
    #[error("the endpoint from {place} cannot be used")]
    Endpoint {
        /// Where it came from.
        place: String,
        /// The cause.
        #[source]
        source: InvalidEndpoint,
    },
    /// The request names a host that the operator has not allowed.
    #[error(
        "the template's endpoint {endpoint} is not allowed: {why}. The operator can allow it with \
             `allowed_endpoints` (FOURNIL_ALLOWED_ENDPOINTS={host})"
    )]
    NotAllowed {
        /// The endpoint.
        endpoint: String,
        /// Its host and port.
        host: String,
        /// The rule.
        why: &'static str,
    },
}

/// A value and where it came from.
struct Sourced<T> {
    value: T,
    place: String,
}

struct Keys {
    access_key: String,
    secret_key: SecretString,
}

/// Finds keys, Region and endpoint for a build. The two keys come from one source; Region and endpoint are each taken
/// from the first source that has them: request, environment, shared file.
///
/// # Errors
/// No or half a pair of keys, an unusable file, Region or endpoint, or an endpoint of the request's that the operator
/// has not allowed.
pub fn resolve(
    plan: &AccessPlan,
    environment: &EnvironmentSource,
    allowed: &AllowedEndpoints,
) -> Result<Resolved, CredentialsError> {
    let file = SharedFile::read(environment);
    let from_request = request_keys(plan)?;
    let keys_are_the_requests = from_request.is_some();
    let keys = match from_request {
        Some(keys) => keys,
        None => match environment_keys(environment)? {
            Some(keys) => keys,
            None => file_keys(&file, environment)?,
        },
    };
    let (region, mut notices) = region(plan, environment, &file)?;
    let endpoint = endpoint(plan, environment, &file, keys_are_the_requests, allowed)?;

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
    // It shows who the operator is: not to a server that a request chose for keys of its own.
    let is_requests_own = keys_are_the_requests && own_endpoint(plan).is_some();
    let certificate = if is_requests_own {
        None
    } else {
        client_certificate::find(environment, profile.map(|profile| (&profile.certificate, file.place())))?
    };
    if let Some(certificate) = &certificate {
        source.push_str(&format!(", client certificate from {}", certificate.place));
    }
    Ok(Resolved {
        access_key: keys.value.access_key,
        secret_key: keys.value.secret_key,
        region: region.value,
        endpoint: endpoint.map(|endpoint| endpoint.value.to_string()),
        insecure,
        client_certificate: certificate.map(|certificate| certificate.pem),
        source,
        notices,
    })
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

fn file_keys(file: &SharedFile, environment: &EnvironmentSource) -> Result<Sourced<Keys>, CredentialsError> {
    let in_file = match (&file.profile, &file.state) {
        (Some(Profile { access_key: Some(access_key), secret_key: Some(secret_key), .. }), _) => {
            return Ok(Sourced {
                value: Keys { access_key: access_key.clone(), secret_key: secret_key.clone() },
                place: file.place(),
            });
        }
        (Some(Profile { access_key: Some(_), .. }), _) => return Err(file.half("access_key", "secret_key")),
        (Some(Profile { secret_key: Some(_), .. }), _) => return Err(file.half("secret_key", "access_key")),
        (Some(_), _) => format!("profile `{}` of {} has no keys", file.name, file.path()),
        (None, FileState::NoHome) => "there is no home folder to look for .osc/config.json".to_owned(),
        (None, FileState::Absent) if environment.get("OSC_CONFIG_FILE").is_some() => {
            return Err(file.unusable("it does not exist, though OSC_CONFIG_FILE names it".to_owned()));
        }
        (None, FileState::Absent) => format!("{} does not exist", file.path()),
        (None, FileState::Unusable(why)) => return Err(file.unusable(why.clone())),
        (None, FileState::Read(profiles)) if environment.get("OSC_PROFILE").is_some() => {
            let known = profiles.join(", ");
            return Err(
                file.unusable(format!("it has no profile `{}` (OSC_PROFILE); it has: {known}", file.name))
            );
        }
        (None, FileState::Read(profiles)) => {
            format!("{} has no profile `{}`, only: {}", file.path(), file.name, profiles.join(", "))
        }
    };
    Err(CredentialsError::NoKeys {
        tried: vec![
            "the template has no `access_key` and `secret_key`".to_owned(),
            format!("the environment has neither {} nor {}", ACCESS_KEY[0], ACCESS_KEY[1]),
            in_file,
        ],
    })
}

fn region(
    plan: &AccessPlan,
    environment: &EnvironmentSource,
    file: &SharedFile,
) -> Result<(Sourced<String>, Vec<String>), CredentialsError> {
    let found = plan
        .region
        .as_deref()
        .filter(|region| !region.trim().is_empty())
        .map(|region| (region.trim(), "the template".to_owned()))
        .or_else(|| {
            environment.first(REGION).map(|(name, region)| (region, format!("the environment ({name})")))
        })
        .or_else(|| file.profile.as_ref()?.region.as_deref().map(|region| (region, file.place())));
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

fn endpoint(
    plan: &AccessPlan,
    environment: &EnvironmentSource,
    file: &SharedFile,
    keys_are_the_requests: bool,
    allowed: &AllowedEndpoints,
) -> Result<Option<Sourced<EndpointUrl>>, CredentialsError> {
    let read = |text: &str, scheme: &str, place: String| match EndpointUrl::parse(text, scheme) {
        Ok(value) => Ok(Sourced { value, place }),
        Err(source) => Err(CredentialsError::Endpoint { place, source }),
    };
    let protocol = |text: Option<&str>| if text == Some("http") { "http" } else { "https" };
    let operators = match (environment.first(ENDPOINT), &file.profile) {
        (Some((name, text)), _) => {
            let scheme = protocol(environment.get("OSC_PROTOCOL"));
            Some(read(text, scheme, format!("the environment ({name})"))?)
        }
        (None, Some(Profile { endpoint: Some(text), protocol: scheme, .. })) => {
            Some(read(text, protocol(scheme.as_deref()), file.place())?)
        }
        (None, _) => None,
    };
    let Some(text) = own_endpoint(plan) else {
        return Ok(operators);
    };

    let requests = read(text, "https", "the template".to_owned())?;
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

/// The endpoint that the request names.
fn own_endpoint(plan: &AccessPlan) -> Option<&str> {
    plan.endpoint.as_deref().filter(|text| !text.trim().is_empty())
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "yes" | "true" | "1")
}

/// `~/.osc/config.json`: an object of profiles.
struct SharedFile {
    path: Option<PathBuf>,
    /// The profile that was looked for.
    name: String,
    profile: Option<Profile>,
    state: FileState,
}

enum FileState {
    NoHome,
    Absent,
    Unusable(String),
    /// With the names of its profiles.
    Read(Vec<String>),
}

/// A profile, reduced to what fournil uses; other keys are met in the wild and ignored.
#[derive(Default)]
struct Profile {
    access_key: Option<String>,
    secret_key: Option<SecretString>,
    region: Option<String>,
    endpoint: Option<String>,
    protocol: Option<String>,
    tls_skip_verify: bool,
    certificate: InProfile,
}

/// As it is written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProfile {
    access_key: Option<String>,
    secret_key: Option<SecretString>,
    region: Option<String>,
    region_name: Option<String>,
    endpoint: Option<String>,
    endpoints: RawEndpoints,
    protocol: Option<String>,
    tls_skip_verify: bool,
    x509_client_cert: Option<String>,
    x509_client_key: Option<String>,
    x509_client_cert_b64: Option<String>,
    x509_client_key_b64: Option<SecretString>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawEndpoints {
    api: Option<String>,
}

impl SharedFile {
    fn read(environment: &EnvironmentSource) -> Self {
        let path = match environment.get("OSC_CONFIG_FILE") {
            Some(path) => Some(PathBuf::from(path)),
            None => environment.home.as_ref().map(|home| home.join(".osc/config.json")),
        };
        let name = environment.get("OSC_PROFILE").unwrap_or(DEFAULT_PROFILE).to_owned();
        let mut file = Self { path, name, profile: None, state: FileState::NoHome };
        let Some(path) = &file.path else { return file };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file.state = FileState::Absent;
                return file;
            }
            Err(error) => {
                file.state = FileState::Unusable(error.to_string());
                return file;
            }
        };
        // Each profile is read by itself: an odd one that is not asked for does no harm.
        let profiles: serde_json::Map<String, serde_json::Value> = match serde_json::from_str(&text) {
            Ok(profiles) => profiles,
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                file.state =
                    FileState::Unusable(format!("it is no JSON object (line {line}, column {column})"));
                return file;
            }
        };
        let marked = || {
            let is_marked =
                |value: &serde_json::Value| value.get("default").and_then(serde_json::Value::as_bool);
            profiles.iter().find(|(_, value)| is_marked(value) == Some(true)).map(|(name, _)| name.clone())
        };
        if environment.get("OSC_PROFILE").is_none()
            && let Some(marked) = marked()
        {
            file.name = marked;
        }
        file.state = FileState::Read(profiles.keys().cloned().collect());
        if let Some(value) = profiles.get(&file.name) {
            match RawProfile::deserialize(value) {
                Ok(raw) => file.profile = Some(raw.into()),
                // The library's words could quote a value, and a value could be a key.
                Err(_) => {
                    file.state =
                        FileState::Unusable(format!("profile `{}` has a value of the wrong type", file.name));
                }
            }
        }
        file
    }

    fn path(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn place(&self) -> String {
        format!("profile `{}` of {}", self.name, self.path())
    }

    fn unusable(&self, why: String) -> CredentialsError {
        CredentialsError::File { path: self.path.clone().unwrap_or_default(), why }
    }

    fn half(&self, present: &str, missing: &str) -> CredentialsError {
        CredentialsError::HalfAPair {
            place: self.place(),
            present: format!("`{present}`"),
            missing: format!("`{missing}`"),
        }
    }
}

impl From<RawProfile> for Profile {
    fn from(raw: RawProfile) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Self {
            access_key: filled(raw.access_key),
            secret_key: raw.secret_key.filter(|key| !key.expose_secret().is_empty()),
            region: filled(raw.region).or(filled(raw.region_name)),
            endpoint: filled(raw.endpoints.api).or(filled(raw.endpoint)),
            protocol: filled(raw.protocol),
            tls_skip_verify: raw.tls_skip_verify,
            certificate: InProfile {
                certificate: filled(raw.x509_client_cert),
                key: filled(raw.x509_client_key),
                certificate_b64: filled(raw.x509_client_cert_b64),
                key_b64: raw.x509_client_key_b64.filter(|key| !key.expose_secret().is_empty()),
            },
        }
    }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
