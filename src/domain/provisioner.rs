//! Provisioners of a plan: what happens inside the VM.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{duration::serde_text, secret_text};

/// One provisioner with the options that every kind takes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Provisioner {
    /// What it does.
    pub action: ProvisionerAction,
    /// `pause_before`.
    #[serde(with = "serde_text")]
    pub pause_before: Duration,
    /// `timeout`; absent: none of its own. It holds with `pause_before` too (not so in Packer).
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration")]
    pub timeout: Option<Duration>,
    /// `max_retries`: runs after a failure.
    pub max_retries: u32,
    /// `continue_on_error`: a failure is only warned about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continue_on_error: bool,
}

/// The kinds of provisioner.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ProvisionerAction {
    /// Runs scripts in the VM.
    Shell(Box<ShellPlan>),
    /// Copies files into or out of the VM.
    File(FilePlan),
    /// Runs scripts on the worker's host.
    ShellLocal(Box<ShellLocalPlan>),
    /// Waits.
    Sleep {
        /// `duration`.
        #[serde(with = "serde_text")]
        duration: Duration,
    },
}

impl ProvisionerAction {
    /// Packer's name of the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Shell(_) => "shell",
            Self::File(_) => "file",
            Self::ShellLocal(_) => "shell-local",
            Self::Sleep { .. } => "sleep",
        }
    }
}

/// Options of the shell provisioner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShellPlan {
    /// What to run.
    pub source: ShellSource,
    /// `env` and `environment_vars` together (`env` wins), in order of name; values may hold late templates.
    #[serde(with = "secret_map")]
    pub environment: BTreeMap<String, SecretString>,
    /// `env_var_format`, a late template; absent: Packer's default for the chosen way.
    pub env_var_format: Option<String>,
    /// `use_env_var_file`.
    pub use_env_var_file: bool,
    /// `execute_command`, a late template with `.Path`, `.Vars`, `.EnvVarFile`; absent: Packer's default.
    pub execute_command: Option<String>,
    /// `remote_folder`; a late template.
    pub remote_folder: String,
    /// `remote_file`, a late template; absent: `script_<n>.sh`.
    pub remote_file: Option<String>,
    /// `remote_path`, a late template; absent: `<remote_folder>/<remote_file>`.
    pub remote_path: Option<String>,
    /// `binary`: if false, CR LF becomes LF on upload.
    pub binary: bool,
    /// `valid_exit_codes`.
    pub valid_exit_codes: Vec<i32>,
    /// `expect_disconnect`.
    pub expect_disconnect: bool,
    /// `start_retry_timeout`.
    #[serde(with = "serde_text")]
    pub start_retry_timeout: Duration,
    /// `skip_clean`: leave the script in the VM.
    pub skip_clean: bool,
    /// `pause_after`.
    #[serde(with = "serde_text")]
    pub pause_after: Duration,
}

/// Options of `shell-local`, as provisioner and as post-processor.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShellLocalPlan {
    /// What to run.
    pub source: ShellSource,
    /// `env` and `environment_vars` together (`env` wins), in order of name; values may hold late templates.
    #[serde(with = "secret_map")]
    pub environment: BTreeMap<String, SecretString>,
    /// `env_var_format`, a late template; absent: Packer's.
    pub env_var_format: Option<String>,
    /// `execute_command`, late templates with `.Script` and `.Vars`; empty: the shell runs the script.
    pub execute_command: Vec<String>,
    /// `valid_exit_codes`.
    pub valid_exit_codes: Vec<i32>,
    /// Whether `only_on` allows this host's system.
    pub runs_here: bool,
}

/// What a shell provisioner runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShellSource {
    /// `inline` commands, joined by line ends under the shebang; lines are late templates.
    Inline {
        /// The first line without `#!`: `/bin/sh -e` by default; absent if the commands bring their own.
        shebang: Option<String>,
        /// The commands.
        commands: Vec<String>,
    },
    /// `script` or `scripts`: paths in the uploaded folder.
    Scripts(Vec<String>),
}

/// Options of the file provisioner.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilePlan {
    /// What to copy.
    pub source: FileSource,
    /// `destination`, a late template: in the VM for uploads; a relative path under the build's files for downloads.
    pub destination: String,
}

/// What a file provisioner copies, and in which direction.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileSource {
    /// Upload these paths of the uploaded folder. A trailing slash of a folder means its content.
    Upload(Vec<String>),
    /// Upload this text (`content`); a late template.
    Content(#[serde(with = "secret_text")] SecretString),
    /// Download these paths of the VM; late templates.
    Download(Vec<String>),
}

mod optional_duration {
    use super::{Duration, serde_text};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serde_text::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Text(#[serde(with = "serde_text")] Duration);
        Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
    }
}

mod secret_map {
    use super::{BTreeMap, SecretString};
    use secrecy::ExposeSecret;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(
        map: &BTreeMap<String, SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter()
            .map(|(name, value)| (name, value.expose_secret()))
            .collect::<BTreeMap<_, _>>()
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, SecretString>, D::Error> {
        let map = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
    }
}
