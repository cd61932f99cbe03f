//! What the operator decides about `fournil serve`: a TOML file, over it the environment, over both the flags. Past
//! [`Config::load`] every value is checked; what is done with them is the business of whoever reads them.

mod access;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

pub use crate::domain::Capability;
use crate::{
    auth::{AuthSettings, setup::BOOTSTRAP_VARIABLE},
    credentials::{
        endpoints::{AllowedEndpoints, HostPattern},
        vault::MASTER_KEY_VARIABLE,
    },
    domain::duration,
    metadata,
    oapi::Trust,
    telemetry::LogFormat,
};

/// Where fournil listens by default.
pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// Settings: their name in the file (tables joined by dots) and in the environment. The flags carry the name of the
/// file.
const SETTINGS: &[(&str, &str)] = &[
    ("listen", "FOURNIL_LISTEN"),
    ("database_url", "DATABASE_URL"),
    ("data_dir", "FOURNIL_DATA_DIR"),
    ("postgres_bin", "FOURNIL_POSTGRES_BIN"),
    ("workers", "FOURNIL_WORKERS"),
    ("worker_name", "FOURNIL_WORKER_NAME"),
    ("capabilities", "FOURNIL_CAPABILITIES"),
    ("lease", "FOURNIL_LEASE"),
    ("drain_timeout", "FOURNIL_DRAIN_TIMEOUT"),
    ("build_timeout", "FOURNIL_BUILD_TIMEOUT"),
    ("allowed_endpoints", "FOURNIL_ALLOWED_ENDPOINTS"),
    ("env_allowed", "FOURNIL_ENV_ALLOWED"),
    ("metadata_url", "FOURNIL_METADATA_URL"),
    ("log_format", "FOURNIL_LOG_FORMAT"),
    ("limits.archive", "FOURNIL_LIMITS_ARCHIVE"),
    ("limits.request", "FOURNIL_LIMITS_REQUEST"),
    ("limits.log_line", "FOURNIL_LIMITS_LOG_LINE"),
    ("limits.log_build", "FOURNIL_LIMITS_LOG_BUILD"),
    ("oapi.calls_per_second", "FOURNIL_OAPI_CALLS_PER_SECOND"),
    ("oapi.poll_interval", "FOURNIL_OAPI_POLL_INTERVAL"),
    ("oapi.settle", "FOURNIL_OAPI_SETTLE"),
    ("oapi.ca_file", "FOURNIL_OAPI_CA_FILE"),
    ("oapi.proxy", "FOURNIL_OAPI_PROXY"),
];

/// Variables with our prefix that are no settings of `serve`.
const OTHER_VARIABLES: &[&str] =
    &["FOURNIL_CONFIG", MASTER_KEY_VARIABLE, BOOTSTRAP_VARIABLE, "FOURNIL_URL", "FOURNIL_TOKEN"];

/// All settings: those above and those of the groups that have a file of their own.
fn all_settings() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    SETTINGS.iter().chain(access::SETTINGS)
}

/// The configuration of `fournil serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The database.
    pub database: Database,
    /// Absolute path of the folder for the embedded database and the master key.
    pub data_dir: PathBuf,
    /// Folder of `initdb` and `postgres` for the embedded database; absent: the newest installed.
    pub postgres_bin: Option<PathBuf>,
    /// How many runs this process bakes at once; 0: API only.
    pub workers: usize,
    /// What this process is called among the workers; absent: made up from the host's name.
    pub worker_name: Option<String>,
    /// What templates may do on this host.
    pub capabilities: BTreeSet<Capability>,
    /// How long a claimed run stays claimed without a heartbeat.
    pub lease: Duration,
    /// How long runs may go on after SIGTERM before they are handed over.
    pub drain_timeout: Duration,
    /// How long a build may take whose request has no `timeout`.
    pub build_timeout: Duration,
    /// Which API endpoints templates may name.
    pub allowed_endpoints: AllowedEndpoints,
    /// What templates may read with `env` of the server's environment where a request brings no value.
    pub env_allowed: BTreeMap<String, SecretString>,
    /// Where the metadata service of the VM is that fournil runs on, without a final slash.
    pub metadata_url: String,
    /// How fournil's own log looks.
    pub log_format: LogFormat,
    /// Bounds on what clients send and builds write.
    pub limits: Limits,
    /// Calls to the cloud, for each account, at most so many a second.
    pub oapi_calls_per_second: f64,
    /// The shortest pause between two reads of what is waited for.
    pub oapi_poll_interval: Duration,
    /// How long something new in the cloud may stay invisible to reads.
    pub oapi_settle: Duration,
    /// Who may use the service.
    pub access: AuthSettings,
    /// Names of this server beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// The text of `FOURNIL_BOOTSTRAP_TOKEN`; never read from the file.
    pub bootstrap_token: Option<SecretString>,
    /// Whom calls to the cloud trust beside the usual CAs, and their proxy.
    pub oapi_trust: Trust,
    /// The text of `FOURNIL_MASTER_KEY`; never read from the file.
    pub master_key: Option<SecretString>,
    /// What the operator should know, though it is no error.
    pub notices: Vec<String>,
}

/// Which database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A Postgres that somebody else runs.
    Url(SecretString),
    /// A private cluster under the data folder.
    Embedded,
}

/// Bounds, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An uploaded folder, packed.
    pub archive: u64,
    /// A JSON or HCL body.
    pub request: u64,
    /// One line of a build's log.
    pub log_line: u64,
    /// The log of one build.
    pub log_build: u64,
}

/// Why fournil cannot be started like this.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration file {} is no TOML: {message} (line {line})", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the parser says; never a value.
        message: String,
        /// Counted from 1.
        line: usize,
    },
    /// The file has a setting that does not exist.
    #[error("{} has the unknown setting `{name}`; there are: {}", path.display(), known_names())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The setting.
        name: String,
    },
    /// A value has no meaning.
    #[error("{origin}: {why}")]
    Value {
        /// The flag, variable or file with the setting.
        origin: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// There is no place for the data.
    #[error("neither XDG_DATA_HOME nor HOME is set: name a folder with --data-dir or FOURNIL_DATA_DIR")]
    NoDataFolder,
}

/// Whether this process acts as root, by the kernel's word: the second number is the effective user id.
#[must_use]
pub fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().nth(1) == Some("0")
}

/// A value before it is read, and where it came from.
struct Setting {
    text: String,
    origin: String,
}

struct Settings(BTreeMap<&'static str, Setting>);

impl Config {
    /// Joins file, environment and flags and checks everything. `flags` holds the settings that were given on the
    /// command line, by their name in the file, and may hold `config`, the file; `is_root` decides where the data
    /// lies by default.
    ///
    /// # Errors
    /// The first thing that is wrong, with its origin.
    pub fn load(
        flags: &[(&str, String)],
        environment: &BTreeMap<String, String>,
        is_root: bool,
    ) -> Result<Self, ConfigError> {
        let variable = |name: &str| environment.get(name).filter(|value| !value.trim().is_empty());
        let flag = |name: &str| flags.iter().find(|(flag, _)| *flag == name).map(|(_, value)| value);

        let mut settings = Settings(BTreeMap::new());
        if let Some(path) = flag("config").or_else(|| variable("FOURNIL_CONFIG")) {
            settings.read_file(Path::new(path))?;
        }
        for (name, variable_name) in all_settings() {
            if let Some(text) = variable(variable_name) {
                settings.0.insert(name, Setting { text: text.clone(), origin: (*variable_name).to_owned() });
            }
            if let Some(text) = flag(name) {
                let origin = format!("--{}", name.replace('_', "-"));
                settings.0.insert(name, Setting { text: text.clone(), origin });
            }
        }
        let listen = settings.listen()?;
        let (env_allowed, missing) = settings.env_allowed(environment)?;
        let hosts = settings.list("allowed_endpoints", |text| text.parse::<HostPattern>())?;
        Ok(Self {
            listen,
            database: settings.database()?,
            data_dir: settings.data_dir(variable("XDG_DATA_HOME"), variable("HOME"), is_root)?,
            postgres_bin: settings.0.get("postgres_bin").map(|setting| PathBuf::from(&setting.text)),
            workers: settings.bounded("workers", 8, 0, 1000)?,
            worker_name: settings.0.get("worker_name").map(|setting| setting.text.trim().to_owned()),
            capabilities: settings.list("capabilities", capability)?.into_iter().collect(),
            lease: settings.duration("lease", 25, 3, 3600)?,
            drain_timeout: settings.duration("drain_timeout", 20, 0, 24 * 3600)?,
            build_timeout: settings.duration("build_timeout", 12 * 3600, 1, 7 * 24 * 3600)?,
            allowed_endpoints: AllowedEndpoints { hosts, loopback: listen.ip().is_loopback() },
            env_allowed,
            metadata_url: settings.metadata_url()?,
            log_format: settings.parsed("log_format", LogFormat::from_str)?.unwrap_or_default(),
            limits: Limits {
                archive: settings.bytes("limits.archive", 64 << 20, 1 << 30)?,
                request: settings.bytes("limits.request", 4 << 20, 64 << 20)?,
                log_line: settings.bytes("limits.log_line", 16 << 10, 1 << 20)?,
                log_build: settings.bytes("limits.log_build", 64 << 20, 16 << 30)?,
            },
            oapi_calls_per_second: settings.rate("oapi.calls_per_second", 20.0)?,
            oapi_poll_interval: settings.milliseconds("oapi.poll_interval", 250, 10, 60_000)?,
            oapi_settle: settings.milliseconds("oapi.settle", 30_000, 0, 600_000)?,
            access: settings.access(!listen.ip().is_loopback())?,
            hosts: settings.hosts()?,
            bootstrap_token: variable(BOOTSTRAP_VARIABLE).map(|text| SecretString::from(text.trim())),
            oapi_trust: settings.oapi_trust()?,
            master_key: variable(MASTER_KEY_VARIABLE).map(|text| SecretString::from(text.as_str())),
            notices: unknown_variables(environment).into_iter().chain(missing).collect(),
        })
    }
}

impl Settings {
    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text =
            fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
            ConfigError::Toml { path: path.to_owned(), message: error.message().to_owned(), line }
        })?;
        self.read_table(path, "", &table)
    }

    fn read_table(&mut self, path: &Path, prefix: &str, table: &toml::Table) -> Result<(), ConfigError> {
        for (key, value) in table {
            let name = format!("{prefix}{key}");
            if let toml::Value::Table(inner) = value {
                self.read_table(path, &format!("{name}."), inner)?;
                continue;
            }
            let Some((known, _)) = all_settings().find(|(known, _)| *known == name) else {
                return Err(ConfigError::Unknown { path: path.to_owned(), name });
            };
            let origin = format!("`{name}` in {}", path.display());
            let Some(text) = as_text(value) else {
                let why =
                    "only texts, numbers, `true`, `false` and lists of texts have a meaning here".to_owned();
                return Err(ConfigError::Value { origin, why });
            };
            self.0.insert(known, Setting { text, origin });
        }
        Ok(())
    }

    fn parsed<T, E: fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(setting) = self.0.get(name) else { return Ok(None) };
        match parse(setting.text.trim()) {
            Ok(value) => Ok(Some(value)),
            Err(why) => Err(ConfigError::Value { origin: setting.origin.clone(), why: why.to_string() }),
        }
    }

    fn list<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ConfigError> {
        let parse_all = |text: &str| {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            parts.map(&parse).collect::<Result<Vec<_>, _>>()
        };
        Ok(self.parsed(name, parse_all)?.unwrap_or_default())
    }

    fn bounded<T>(&self, name: &str, default: T, least: T, most: T) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        let parse = |text: &str| {
            let number = text.parse().ok().filter(|number| (least..=most).contains(number));
            number.ok_or_else(|| format!("`{text}` is no whole number from {least} to {most}"))
        };
        Ok(self.parsed(name, parse)?.unwrap_or(default))
    }

    fn milliseconds(&self, name: &str, default: u64, least: u64, most: u64) -> Result<Duration, ConfigError> {
        let (least, most) = (Duration::from_millis(least), Duration::from_millis(most));
        let parse = |text: &str| {
            let value = duration::parse(text).map_err(|error| error.to_string())?;
            let is_possible = (least..=most).contains(&value);
            let bounds = || {
                format!("`{text}` is not between {} and {}", duration::format(least), duration::format(most))
            };
            is_possible.then_some(value).ok_or_else(bounds)
        };
        Ok(self.parsed(name, parse)?.unwrap_or(Duration::from_millis(default)))
    }

    /// The same in seconds.
    fn duration(&self, name: &str, default: u64, least: u64, most: u64) -> Result<Duration, ConfigError> {
        self.milliseconds(name, default * 1000, least * 1000, most * 1000)
    }

    fn bytes(&self, name: &str, default: u64, most: u64) -> Result<u64, ConfigError> {
        let parse = |text: &str| match parse_bytes(text) {
            Some(bytes) if (1024..=most).contains(&bytes) => Ok(bytes),
            Some(_) => Err(format!("`{text}` is not between 1KiB and {}MiB", most >> 20)),
            None => {
                Err(format!("`{text}` is no size; write for example `16KiB`, `64MiB` or a number of bytes"))
            }
        };
        Ok(self.parsed(name, parse)?.unwrap_or(default))
    }

    fn rate(&self, name: &str, default: f64) -> Result<f64, ConfigError> {
        let parse = |text: &str| {
            let rate = text.parse().ok().filter(|rate: &f64| (0.1..=10_000.0).contains(rate));
            rate.ok_or_else(|| format!("`{text}` is no number from 0.1 to 10000"))
        };
        Ok(self.parsed(name, parse)?.unwrap_or(default))
    }

    fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let parse = |text: &str| {
            let text = text.replacen("localhost:", "127.0.0.1:", 1);
            text.parse()
                .map_err(|_| format!("`{text}` is no address with port; write for example `127.0.0.1:8080`"))
        };
        Ok(self.parsed("listen", parse)?.unwrap_or(DEFAULT_LISTEN))
    }

    fn metadata_url(&self) -> Result<String, ConfigError> {
        let parse = |text: &str| match reqwest::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(text.trim_end_matches('/').to_owned())
            }
            _ => Err(format!("`{text}` is no URL; write for example `{}`", metadata::DEFAULT_URL)),
        };
        Ok(self.parsed("metadata_url", parse)?.unwrap_or_else(|| metadata::DEFAULT_URL.to_owned()))
    }

    /// The values of the names that are set, and a word about each that is not.
    fn env_allowed(
        &self,
        environment: &BTreeMap<String, String>,
    ) -> Result<(BTreeMap<String, SecretString>, Vec<String>), ConfigError> {
        let names = self.list("env_allowed", |name| {
            // Whoever may send a template could otherwise read what guards the database.
            if name == "DATABASE_URL" || name.starts_with("FOURNIL_") {
                return Err(format!("`{name}` is the server's own and not for templates"));
            }
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_name.then(|| name.to_owned()).ok_or_else(|| format!("`{name}` is no name of a variable"))
        })?;
        let (set, missing): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| environment.contains_key(name));
        let values = set.into_iter().filter_map(|name| {
            let value = SecretString::from(environment.get(&name)?.as_str());
            Some((name, value))
        });
        let say = |name: String| format!("`env_allowed` names {name}, which is not set");
        Ok((values.collect(), missing.into_iter().map(say).collect()))
    }

    fn database(&self) -> Result<Database, ConfigError> {
        let parse = |text: &str| {
            let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
            // The text is not repeated: it may hold a password.
            match sqlx::postgres::PgConnectOptions::from_str(text) {
                Ok(_) if is_postgres => Ok(SecretString::from(text)),
                _ => Err(
                    "this is no URL of a Postgres database; write for example `postgres://user@host/fournil`",
                ),
            }
        };
        Ok(self.parsed("database_url", parse)?.map_or(Database::Embedded, Database::Url))
    }

    fn data_dir(
        &self,
        data_home: Option<&String>,
        home: Option<&String>,
        is_root: bool,
    ) -> Result<PathBuf, ConfigError> {
        let absolute = |text: &str| std::path::absolute(text).map_err(|error| error.to_string());
        if let Some(folder) = self.parsed("data_dir", absolute)? {
            return Ok(folder);
        }
        if is_root {
            return Ok(PathBuf::from("/var/lib/fournil"));
        }
        // The specification of XDG_DATA_HOME says that relative paths are to be ignored.
        data_home
            .map(PathBuf::from)
            .filter(|folder| folder.is_absolute())
            .or_else(|| Some(Path::new(home?).join(".local/share")))
            .map(|folder| folder.join("fournil"))
            .ok_or(ConfigError::NoDataFolder)
    }
}

impl Database {
    /// The URL, if somebody else runs the database.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Url(url) => Some(url.expose_secret()),
            Self::Embedded => None,
        }
    }
}

fn as_text(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(values) => {
            let texts: Option<Vec<_>> = values.iter().map(|value| value.as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

fn capability(text: &str) -> Result<Capability, String> {
    Capability::ALL.iter().copied().find(|capability| capability.as_str() == text).ok_or_else(|| {
        let known: Vec<_> = Capability::ALL.iter().map(|capability| capability.as_str()).collect();
        format!("`{text}` is no capability; there are: {}", known.join(", "))
    })
}

/// `4096`, `16KiB`, `64MiB`, `1GiB`, also without `iB` or with a space.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn known_names() -> String {
    all_settings().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// A misspelt variable would be without effect and without a word.
fn unknown_variables(environment: &BTreeMap<String, String>) -> Vec<String> {
    let is_known =
        |name: &str| OTHER_VARIABLES.contains(&name) || all_settings().any(|(_, variable)| *variable == name);
    environment
        .keys()
        .filter(|name| name.starts_with("FOURNIL_") && !is_known(name))
        .map(|name| format!("the environment variable {name} has no meaning to `fournil serve`"))
        .collect()
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
