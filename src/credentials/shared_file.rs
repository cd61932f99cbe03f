//! The shared file of the `osc` tools, `~/.osc/config.json`: profiles with keys, Region, endpoint and trust.

use std::{fs, io, path::PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::{
    client_certificate::InProfile,
    environment::EnvironmentSource,
    error::CredentialsError,
    provider::{Keys, Sourced},
};

/// The profile of the shared file when nothing names one.
pub(super) const DEFAULT_PROFILE: &str = "default";

/// `~/.osc/config.json`: an object of profiles.
pub(super) struct SharedFile {
    path: Option<PathBuf>,
    /// The profile that was looked for.
    name: String,
    pub(super) profile: Option<Profile>,
    state: FileState,
}

pub(super) enum FileState {
    NoHome,
    Absent,
    Unusable(String),
    /// With the names of its profiles.
    Read(Vec<String>),
}

/// A profile, reduced to what fournil uses; other keys are met in the wild and ignored.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) access_key: Option<String>,
    pub(super) secret_key: Option<SecretString>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) tls_skip_verify: bool,
    pub(super) certificate: InProfile,
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
    /// Reads the file. `named`: the profile that the template names; without it that of `OSC_PROFILE`, else the default.
    pub(super) fn read(environment: &EnvironmentSource, named: Option<&str>) -> Self {
        let path = match environment.get("OSC_CONFIG_FILE") {
            Some(path) => Some(PathBuf::from(path)),
            None => environment.home.as_ref().map(|home| home.join(".osc/config.json")),
        };
        let named = named.or(environment.get("OSC_PROFILE"));
        let name = named.unwrap_or(DEFAULT_PROFILE).to_owned();
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
        if named.is_none()
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

    /// The profile's keys; `None` with what is missing if it has none and need not have.
    ///
    /// # Errors
    /// Half a pair, or the file cannot be used although somebody names it or its profile.
    pub(super) fn keys(
        &self,
        environment: &EnvironmentSource,
        is_named: bool,
    ) -> Result<Result<Sourced<Keys>, String>, CredentialsError> {
        let missing = match (&self.profile, &self.state) {
            (Some(Profile { access_key: Some(access_key), secret_key: Some(secret_key), .. }), _) => {
                return Ok(Ok(Sourced {
                    value: Keys { access_key: access_key.clone(), secret_key: secret_key.clone() },
                    place: self.place(),
                }));
            }
            (Some(Profile { access_key: Some(_), .. }), _) => {
                return Err(self.half("access_key", "secret_key"));
            }
            (Some(Profile { secret_key: Some(_), .. }), _) => {
                return Err(self.half("secret_key", "access_key"));
            }
            (Some(_), _) => format!("profile `{}` of {} has no keys", self.name, self.path()),
            (None, FileState::NoHome) => "there is no home folder to look for .osc/config.json".to_owned(),
            (None, FileState::Absent) if environment.get("OSC_CONFIG_FILE").is_some() => {
                return Err(self.unusable("it does not exist, though OSC_CONFIG_FILE names it".to_owned()));
            }
            (None, FileState::Absent) => format!("{} does not exist", self.path()),
            (None, FileState::Unusable(why)) => return Err(self.unusable(why.clone())),
            (None, FileState::Read(profiles)) if is_named || environment.get("OSC_PROFILE").is_some() => {
                // A request must not learn which other profiles the operator has.
                let who = if is_named {
                    "the template".to_owned()
                } else {
                    format!("OSC_PROFILE); it has: {}", profiles.join(", "))
                };
                let close = if is_named { ")" } else { "" };
                return Err(self.unusable(format!("it has no profile `{}` ({who}{close}", self.name)));
            }
            (None, FileState::Read(profiles)) => {
                format!("{} has no profile `{}`, only: {}", self.path(), self.name, profiles.join(", "))
            }
        };
        if is_named {
            return Err(
                self.unusable(format!("the template names its profile `{}`, but {missing}", self.name))
            );
        }
        Ok(Err(missing))
    }

    fn path(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    pub(super) fn place(&self) -> String {
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
