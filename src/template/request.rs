//! What a client asks for, whatever form it came in: a template, values for its variables, and how to treat the
//! build. Says nothing yet of whether the template is right; that is [`super::parse`]'s work.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{context::ContextFolder, envelope, query::QueryOptions};
use crate::domain::{OnError, Problem, problem::FieldProblem};

/// A build as it was asked for. Its serial form holds secrets (the template, the variables) and is only for the vault.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// The template.
    pub template: TemplateSource,
    /// The form the request came in, so that an error can point to the right place.
    #[serde(default)]
    pub form: RequestForm,
    /// The template's path in the uploaded folder; its folder is `{{template_dir}}`.
    #[serde(default)]
    pub template_path: Option<String>,
    /// Values of variables (`-var`).
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Variables of the client's environment: `PKR_VAR_*`, and those that the template asks for with `env`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files with values of variables (`-var-file`), as paths in the uploaded folder; later ones win.
    #[serde(default)]
    pub var_files: Vec<String>,
    /// Names of the runs to make; empty: all.
    #[serde(default)]
    pub only: Vec<String>,
    /// Names of the runs to leave out.
    #[serde(default)]
    pub except: Vec<String>,
    /// The client's own marks, for finding builds again.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Builds of higher priority start first.
    #[serde(default)]
    pub priority: i32,
    /// How long the build may take from the start of its first run.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// What happens to the resources of a run that failed.
    #[serde(default)]
    pub on_error: OnError,
    /// How long they stay, if they do; absent: the usual time of `on_error`.
    #[serde(default)]
    pub keep_for: Option<Duration>,
    /// Public keys in OpenSSH's form that a held or kept VM lets in.
    #[serde(default)]
    pub authorized_keys: Vec<String>,
    /// Name of a stored set of credentials.
    #[serde(default)]
    pub credentials: Option<String>,
    /// What people call the build.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether an identical build may answer. Always absent for now: a request that asks for it is refused.
    #[serde(default)]
    pub reuse: Option<String>,
}

/// The template of a request.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TemplateSource {
    /// The text of a template; errors in it have a line and a column.
    Text(String),
    /// All HCL2 files of a folder together.
    Folder(FolderSource),
    /// A JSON template that was part of a JSON body; errors in it have a pointer.
    Json(Value),
}

/// An HCL2 template that is a folder: its `*.pkr.hcl` and `*.pkr.json`, not those of folders in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderSource {
    /// Path in the uploaded folder; empty: its top.
    pub hcl2_folder: String,
}

/// The form a request came in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestForm {
    /// `{"template": …, "variables": …}`.
    #[default]
    Envelope,
    /// A Packer JSON template as the body.
    Bare,
    /// `{"builder": …, "provisioners": …}`.
    Short,
    /// A template's text or a folder, with options as query parameters.
    Text,
}

/// How much a request may hold.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Number of labels.
    pub max_labels: usize,
    /// Characters of a label's name.
    pub max_label_name: usize,
    /// Characters of a label's value.
    pub max_label_value: usize,
    /// Number of variables.
    pub max_variables: usize,
    /// Bytes of a variable's value.
    pub max_variable_value: usize,
    /// Number of files with variables.
    pub max_var_files: usize,
    /// Bytes of the path of one.
    pub max_path: usize,
    /// Characters of the build's name.
    pub max_name: usize,
    /// Entries of `only` and of `except`.
    pub max_selected: usize,
    /// The shortest timeout.
    pub min_timeout: Duration,
    /// The longest timeout.
    pub max_timeout: Duration,
    /// Number of public keys.
    pub max_authorized_keys: usize,
    /// `priority` lies between minus this and this.
    pub max_priority: i32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            max_labels: 32,
            max_label_name: 64,
            max_label_value: 256,
            max_variables: 256,
            max_variable_value: 64 * 1024,
            max_var_files: 32,
            max_path: 512,
            max_name: 128,
            max_selected: 128,
            min_timeout: Duration::from_secs(1),
            max_timeout: Duration::from_secs(7 * 24 * 3600),
            max_authorized_keys: 16,
            max_priority: 1000,
        }
    }
}

impl BuildRequest {
    /// Reads a JSON body: the envelope, a bare Packer template, or the short form.
    ///
    /// # Errors
    /// 400 `invalid_json` with line and column; 422 `invalid_request` with every wrong field; 422
    /// `not_supported_yet` if all that is wrong is that fournil does not do it yet.
    pub fn from_json(body: &[u8], limits: &RequestLimits) -> Result<Self, Problem> {
        envelope::read(body, None, limits)
    }

    /// Reads a JSON body that came with a folder; the envelope's `template` may then be left out, which means the
    /// template in the folder.
    ///
    /// # Errors
    /// Those of [`BuildRequest::from_json`] and of [`ContextFolder::find_template`].
    pub fn from_json_and_folder(
        body: &[u8],
        folder: &ContextFolder,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        envelope::read(body, Some(folder), limits)
    }

    /// Takes a template's text, with options from the query string.
    ///
    /// # Errors
    /// 422 `invalid_request` with every wrong option, 422 `not_supported_yet`.
    pub fn from_template_text(
        text: &str,
        options: QueryOptions,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        if options.template.is_some() {
            let detail = "the query parameter `template` names a file of a folder, and this body is the template itself";
            return Err(invalid_request(vec![FieldProblem::new(detail)]));
        }
        options.into_request(TemplateSource::Text(text.to_owned()), None, limits)
    }

    /// Takes the template of an uploaded folder, with options from the query string.
    ///
    /// # Errors
    /// Those of [`BuildRequest::from_template_text`] and of [`ContextFolder::find_template`].
    pub fn from_folder(
        folder: &ContextFolder,
        options: QueryOptions,
        limits: &RequestLimits,
    ) -> Result<Self, Problem> {
        let (template, path) = folder.find_template(options.template.as_deref())?;
        options.into_request(template, path, limits)
    }

    /// A request for this template with everything else left at its default.
    #[must_use]
    pub fn new(template: TemplateSource) -> Self {
        Self {
            template,
            form: RequestForm::default(),
            template_path: None,
            variables: BTreeMap::new(),
            env: BTreeMap::new(),
            var_files: Vec::new(),
            only: Vec::new(),
            except: Vec::new(),
            labels: BTreeMap::new(),
            priority: 0,
            timeout: None,
            on_error: OnError::Cleanup,
            keep_for: None,
            authorized_keys: Vec::new(),
            credentials: None,
            name: None,
            reuse: None,
        }
    }

    /// Whether the template is HCL2 and no legacy JSON: by its file's name as in Packer, else by how the text begins.
    #[must_use]
    pub fn is_hcl2(&self) -> bool {
        match &self.template {
            TemplateSource::Folder(_) => true,
            TemplateSource::Json(_) => false,
            TemplateSource::Text(text) => is_hcl2(self.template_path.as_deref(), text),
        }
    }

    /// Where an option of the request (not of the template) stands in the body, for errors. Query parameters have
    /// no pointer.
    #[must_use]
    pub fn option_pointer(&self, path: &str) -> Option<String> {
        match self.form {
            RequestForm::Envelope | RequestForm::Short => Some(path.to_owned()),
            RequestForm::Bare | RequestForm::Text => None,
        }
    }
}

/// Whether a template of this path and text is HCL2.
#[must_use]
pub fn is_hcl2(path: Option<&str>, text: &str) -> bool {
    match path {
        Some(path) if is_hcl2_path(path) => true,
        Some(path) if path.ends_with(".json") => false,
        _ => {
            let start = text.trim_start_matches('\u{feff}').trim_start();
            !(start.is_empty() || start.starts_with(['{', '[', '"']))
        }
    }
}

/// Whether Packer takes a file of this name for HCL2.
#[must_use]
pub fn is_hcl2_path(path: &str) -> bool {
    path.ends_with(".pkr.hcl") || path.ends_with(".pkr.json")
}

/// Shows nothing that can hold a secret.
impl fmt::Debug for BuildRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BuildRequest")
            .field("form", &self.form)
            .field("name", &self.name)
            .field("labels", &self.labels)
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A template can hold secrets, so its text is not shown.
impl fmt::Debug for TemplateSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Folder(_) => "Folder(…)",
            Self::Json(_) => "Json(…)",
        })
    }
}

/// The problem of a request whose options are wrong.
pub(super) fn invalid_request(errors: Vec<FieldProblem>) -> Problem {
    let detail = match errors.as_slice() {
        [only] => only.detail.clone(),
        several => format!("{} fields of the request are wrong; `errors` lists them.", several.len()),
    };
    Problem::new(422, "invalid_request", "The request is not valid", detail).with_errors(errors)
}

/// The problem of a request that asks for what fournil does not do yet.
pub(super) fn not_supported_yet(errors: Vec<FieldProblem>) -> Problem {
    let detail = match errors.as_slice() {
        [only] => only.detail.clone(),
        several => format!(
            "The request uses {} things that are not supported yet; `errors` lists them.",
            several.len()
        ),
    };
    Problem::new(422, "not_supported_yet", "Not supported yet", detail).with_errors(errors)
}
