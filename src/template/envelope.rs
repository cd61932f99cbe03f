//! The JSON bodies of `POST /builds`: the envelope, the bare Packer template, the short form. Finds every wrong field
//! before it answers.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    context::{ContextFolder, normalise},
    json::{
        pointer_token,
        reader::{self, Kind, Node},
    },
    request::{BuildRequest, RequestForm, RequestLimits, TemplateSource, invalid_request, not_supported_yet},
    suggest::or_did_you_mean,
};
use crate::{
    credentials::sets::check_name,
    domain::{OnError, Problem, duration, problem::FieldProblem},
};

/// Options that stand beside the template in the envelope, or beside the builder in the short form.
const OPTIONS: [&str; 14] = [
    "variables",
    "env",
    "var_files",
    "only",
    "except",
    "labels",
    "priority",
    "timeout",
    "on_error",
    "keep_for",
    "authorized_keys",
    "credentials",
    "name",
    "reuse",
];

/// How the envelope gives the template: itself, or as a path in the folder.
const TEMPLATE: [&str; 2] = ["template", "template_path"];

/// What the short form takes from a template.
const SHORT: [&str; 3] = ["builder", "provisioners", "error-cleanup-provisioner"];

/// Reads a JSON body.
///
/// # Errors
/// See [`BuildRequest::from_json`].
pub fn read(
    body: &[u8],
    folder: Option<&ContextFolder>,
    limits: &RequestLimits,
) -> Result<BuildRequest, Problem> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let readable = String::from_utf8_lossy(&body[..error.valid_up_to()]);
        reader::ReadError { at: error.valid_up_to(), detail: "the body is not UTF-8 from here on".to_owned() }
            .into_problem(&readable)
    })?;
    let root = reader::read(text).map_err(|error| error.into_problem(text))?;
    let Some(members) = root.members() else {
        return Err(invalid_request(vec![FieldProblem::at(
            "",
            format!("the body must be a JSON object, not {}", root.kind_name()),
        )]));
    };
    let has = |name: &str| members.iter().any(|member| member.name == name);
    if let Some(path) = root.get("template_path").filter(|path| !matches!(path.kind, Kind::Null)) {
        return template_at(path, &root, folder, limits);
    }
    if has("template") {
        return envelope(&root, limits);
    }
    if has("builders") {
        let mut request = BuildRequest::new(TemplateSource::Text(text.to_owned()));
        request.form = RequestForm::Bare;
        return Ok(request);
    }
    if has("builder") {
        return short_form(&root, limits);
    }
    match folder {
        Some(folder) => {
            let (template, path) = folder.find_template(None)?;
            Ok(BuildRequest { template, template_path: path, ..options(&root, &TEMPLATE, limits)? })
        }
        None => Err(invalid_request(vec![FieldProblem::at(
            "",
            "the body has neither `template` (with options beside it), nor `builders` (a Packer JSON template), nor \
             `builder` (the short form)",
        )])),
    }
}

/// An envelope that says where in the folder the template is.
fn template_at(
    path: &Node,
    root: &Node,
    folder: Option<&ContextFolder>,
    limits: &RequestLimits,
) -> Result<BuildRequest, Problem> {
    let wrong = |detail: String| Err(invalid_request(vec![FieldProblem::at("/template_path", detail)]));
    if root.get("template").is_some_and(|template| !matches!(template.kind, Kind::Null)) {
        return wrong("`template` and `template_path` are both given; give one of them".to_owned());
    }
    let (Some(asked), Some(folder)) = (path.as_text(), folder) else {
        return wrong(match path.as_text() {
            None => format!("`template_path` must be a text, not {}", path.kind_name()),
            Some(_) => "`template_path` names a file of a folder, and this request came without one; send \
                        `multipart/form-data` with the parts `request` and `context`"
                .to_owned(),
        });
    };
    let request = options(root, &TEMPLATE, limits)?;
    let (template, template_path) = folder.find_template(Some(asked))?;
    Ok(BuildRequest { template, template_path, ..request })
}

fn envelope(root: &Node, limits: &RequestLimits) -> Result<BuildRequest, Problem> {
    let mut request = options(root, &TEMPLATE, limits)?;
    request.template = match root.get("template") {
        Some(Node { kind: Kind::String(text), .. }) => TemplateSource::Text(text.clone()),
        Some(node @ Node { kind: Kind::Object(_), .. }) => TemplateSource::Json(node.to_value()),
        Some(other) => {
            return Err(invalid_request(vec![FieldProblem::at(
                "/template",
                format!(
                    "`template` must be a Packer JSON object or a template's text, not {}",
                    other.kind_name()
                ),
            )]));
        }
        None => TemplateSource::Json(Value::Null),
    };
    Ok(request)
}

/// The short form has no declarations: the values of its variables declare them.
fn short_form(root: &Node, limits: &RequestLimits) -> Result<BuildRequest, Problem> {
    let mut request = options(root, &SHORT, limits)?;
    let variables = std::mem::take(&mut request.variables);
    let mut template = json!({ "builders": [root.get("builder").map(Node::to_value)] });
    // Values given are literal, but the default of a declaration is a template.
    let declared: BTreeMap<&String, String> =
        variables.iter().map(|(name, value)| (name, value.replace("{{", "{{`{{`}}"))).collect();
    template["variables"] = json!(declared);
    for name in &SHORT[1..] {
        if let Some(node) = root.get(name) {
            template[*name] = node.to_value();
        }
    }
    request.template = TemplateSource::Json(template);
    request.form = RequestForm::Short;
    Ok(request)
}

/// Reads the options of a request. The template is left empty.
fn options(root: &Node, beside: &[&'static str], limits: &RequestLimits) -> Result<BuildRequest, Problem> {
    let mut request = BuildRequest::new(TemplateSource::Json(Value::Null));
    let mut checker = Checker::new(limits);
    for member in root.members().unwrap_or_default() {
        let name = member.name.as_str();
        let pointer = format!("/{}", pointer_token(name));
        let node = &member.value;
        if beside.contains(&name) || matches!(node.kind, Kind::Null) && OPTIONS.contains(&name) {
            continue;
        }
        match name {
            "variables" => request.variables = checker.texts(&pointer, name, node, true),
            "env" => request.env = checker.texts(&pointer, name, node, true),
            "var_files" => request.var_files = checker.names(&pointer, name, node),
            "labels" => request.labels = checker.texts(&pointer, name, node, false),
            "only" => request.only = checker.names(&pointer, name, node),
            "except" => request.except = checker.names(&pointer, name, node),
            "priority" => match &node.kind {
                Kind::Number(number) if number.parse::<i32>().is_ok() => {
                    request.priority = number.parse().unwrap_or_default();
                }
                _ => checker.wrong(Some(pointer), "`priority` must be a whole number".to_owned()),
            },
            "timeout" => match node.as_text().map(duration::parse) {
                Some(Ok(timeout)) => request.timeout = Some(timeout),
                Some(Err(error)) => checker.wrong(Some(pointer), format!("`timeout`: {error}")),
                None => {
                    checker.wrong(Some(pointer), "`timeout` must be a text like `2h` or `90m`".to_owned())
                }
            },
            "on_error" => match node.as_text() {
                Some(text) => request.on_error = checker.on_error(Some(pointer), text),
                None => {
                    checker.wrong(Some(pointer), "`on_error` must be a text such as `cleanup`".to_owned())
                }
            },
            "keep_for" => match node.as_text().map(duration::parse) {
                Some(Ok(time)) => request.keep_for = Some(time),
                Some(Err(error)) => checker.wrong(Some(pointer), format!("`keep_for`: {error}")),
                None => {
                    checker.wrong(Some(pointer), "`keep_for` must be a text like `2h` or `90m`".to_owned())
                }
            },
            "authorized_keys" => request.authorized_keys = checker.names(&pointer, name, node),
            "name" => match node.as_text() {
                Some(text) => request.name = Some(text.to_owned()),
                None => checker.wrong(Some(pointer), "`name` must be a text".to_owned()),
            },
            "credentials" => match node.as_text() {
                Some(text) => request.credentials = Some(text.to_owned()),
                None => {
                    checker.wrong(Some(pointer), "`credentials` must be the name of a stored set".to_owned())
                }
            },
            "reuse" => checker.not_yet(Some(pointer), "`reuse` is not supported yet; leave it out"),
            other => {
                let known = beside.iter().chain(OPTIONS.iter()).copied();
                let listed = format!(
                    "known are {}",
                    beside.iter().chain(&OPTIONS).copied().collect::<Vec<_>>().join(", ")
                );
                let hint = or_did_you_mean(other, known, &listed);
                checker.wrong(Some(pointer), format!("there is no field `{other}`; {hint}"));
            }
        }
    }
    checker.bounds(&request);
    checker.finish()?;
    Ok(request)
}

/// Collects what is wrong with a request's options.
pub struct Checker<'a> {
    limits: &'a RequestLimits,
    wrong: Vec<FieldProblem>,
    not_yet: Vec<FieldProblem>,
}

impl<'a> Checker<'a> {
    /// Nothing is wrong yet.
    pub const fn new(limits: &'a RequestLimits) -> Self {
        Self { limits, wrong: Vec::new(), not_yet: Vec::new() }
    }

    /// Something is wrong here.
    pub fn wrong(&mut self, pointer: Option<String>, detail: String) {
        self.wrong.push(FieldProblem { pointer, ..FieldProblem::new(detail) });
    }

    /// fournil does not do this yet.
    pub fn not_yet(&mut self, pointer: Option<String>, detail: &str) {
        self.not_yet.push(FieldProblem { pointer, ..FieldProblem::new(detail) });
    }

    /// Reads what happens after an error.
    pub fn on_error(&mut self, pointer: Option<String>, text: &str) -> OnError {
        text.parse().unwrap_or_else(|why: String| {
            self.wrong(pointer, format!("`on_error` {why}, not `{}`", shorten(text)));
            OnError::default()
        })
    }

    fn texts(&mut self, pointer: &str, name: &str, node: &Node, scalars: bool) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let Some(members) = node.members() else {
            self.wrong(
                Some(pointer.to_owned()),
                format!("`{name}` must be an object, not {}", node.kind_name()),
            );
            return texts;
        };
        for member in members {
            let text = match &member.value.kind {
                Kind::String(text) => text.clone(),
                Kind::Number(number) if scalars => number.clone(),
                Kind::Bool(value) if scalars => value.to_string(),
                _ => {
                    let wanted = if scalars { "a text, a number, true or false" } else { "a text" };
                    self.wrong(
                        Some(format!("{pointer}/{}", pointer_token(&member.name))),
                        format!("must be {wanted}, not {}", member.value.kind_name()),
                    );
                    continue;
                }
            };
            texts.insert(member.name.clone(), text);
        }
        texts
    }

    fn names(&mut self, pointer: &str, name: &str, node: &Node) -> Vec<String> {
        let Kind::Array(items) = &node.kind else {
            self.wrong(
                Some(pointer.to_owned()),
                format!("`{name}` must be a list of names, not {}", node.kind_name()),
            );
            return Vec::new();
        };
        let mut names = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match item.as_text() {
                Some(text) => names.push(text.to_owned()),
                None => self.wrong(
                    Some(format!("{pointer}/{index}")),
                    format!("must be a name, not {}", item.kind_name()),
                ),
            }
        }
        names
    }

    /// Checks how much the request holds.
    pub fn bounds(&mut self, request: &BuildRequest) {
        self.aftermath(request);
        self.surroundings(request);
        let limits = self.limits;
        let at = |path: String| request.option_pointer(&path);
        if request.labels.len() > limits.max_labels {
            self.wrong(at("/labels".to_owned()), format!("a build has at most {} labels", limits.max_labels));
        }
        for (name, value) in &request.labels {
            let pointer = at(format!("/labels/{}", pointer_token(name)));
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
            if name.is_empty() || name.chars().count() > limits.max_label_name || !name.chars().all(is_plain)
            {
                self.wrong(
                    pointer,
                    format!(
                        "the label `{}` must have a name of 1 to {} letters, digits, `.`, `_`, `-` or `/`",
                        shorten(name),
                        limits.max_label_name
                    ),
                );
            } else if value.chars().count() > limits.max_label_value || value.chars().any(char::is_control) {
                self.wrong(
                    pointer,
                    format!(
                        "the value of the label `{name}` must have at most {} characters and no control characters",
                        limits.max_label_value
                    ),
                );
            }
        }
        if request.variables.len() > limits.max_variables {
            self.wrong(
                at("/variables".to_owned()),
                format!("a build has at most {} variables", limits.max_variables),
            );
        }
        for (name, value) in &request.variables {
            if value.len() > limits.max_variable_value {
                self.wrong(
                    at(format!("/variables/{}", pointer_token(name))),
                    format!(
                        "the variable `{}` is longer than {} bytes",
                        shorten(name),
                        limits.max_variable_value
                    ),
                );
            }
        }
        for (field, names) in [("only", &request.only), ("except", &request.except)] {
            if names.len() > limits.max_selected {
                self.wrong(
                    at(format!("/{field}")),
                    format!("`{field}` has at most {} names", limits.max_selected),
                );
            }
        }
        if let Some(Err(why)) = request.credentials.as_deref().map(check_name) {
            self.wrong(at("/credentials".to_owned()), format!("`credentials`: {why}"));
        }
        if let Some(name) = &request.name
            && (name.trim().is_empty()
                || name.chars().count() > limits.max_name
                || name.chars().any(char::is_control))
        {
            self.wrong(
                at("/name".to_owned()),
                format!("`name` must have 1 to {} characters and no control characters", limits.max_name),
            );
        }
        if request.priority.unsigned_abs() > limits.max_priority.unsigned_abs() {
            self.wrong(
                at("/priority".to_owned()),
                format!("`priority` must lie between -{0} and {0}", limits.max_priority),
            );
        }
        if let Some(timeout) = request.timeout
            && !(limits.min_timeout..=limits.max_timeout).contains(&timeout)
        {
            self.wrong(
                at("/timeout".to_owned()),
                format!(
                    "`timeout` must lie between {} and {}",
                    duration::format(limits.min_timeout),
                    duration::format(limits.max_timeout)
                ),
            );
        }
    }

    /// Checks what a template may read besides its variables: environment and variable files.
    fn surroundings(&mut self, request: &BuildRequest) {
        let limits = self.limits;
        let at = |path: String| request.option_pointer(&path);
        if request.env.len() > limits.max_variables {
            let most = limits.max_variables;
            self.wrong(at("/env".to_owned()), format!("`env` has at most {most} variables"));
        }
        for (name, value) in &request.env {
            let pointer = at(format!("/env/{}", pointer_token(name)));
            if name.is_empty() || name.len() > 256 || name.contains('=') || name.chars().any(char::is_control)
            {
                let detail = format!(
                    "an environment variable must have a name of 1 to 256 bytes without `=`, not `{}`",
                    shorten(name)
                );
                self.wrong(pointer, detail);
            } else if value.len() > limits.max_variable_value {
                let most = limits.max_variable_value;
                self.wrong(pointer, format!("the environment variable `{name}` is longer than {most} bytes"));
            }
        }
        if request.var_files.len() > limits.max_var_files {
            let most = limits.max_var_files;
            self.wrong(at("/var_files".to_owned()), format!("`var_files` has at most {most} files"));
        }
        for (index, path) in request.var_files.iter().enumerate().take(limits.max_var_files) {
            let is_inside = normalise(path).is_some_and(|path| !path.is_empty());
            if !is_inside || path.len() > limits.max_path {
                let detail = format!(
                    "the variable file `{}` is outside the folder that is sent; put it into the folder and name it relative to it",
                    shorten(path)
                );
                self.wrong(at(format!("/var_files/{index}")), detail);
            }
        }
    }

    /// Checks what is to happen after an error.
    fn aftermath(&mut self, request: &BuildRequest) {
        let limits = self.limits;
        let at = |path: String| request.option_pointer(&path);
        if let Some(time) = request.keep_for {
            if request.on_error == OnError::Cleanup {
                self.wrong(
                    at("/keep_for".to_owned()),
                    "`keep_for` needs `on_error`: `abort`, `hold` or `run-cleanup-provisioner`; with `cleanup` nothing is kept".to_owned(),
                );
            } else if !(limits.min_timeout..=limits.max_timeout).contains(&time) {
                let (least, most) =
                    (duration::format(limits.min_timeout), duration::format(limits.max_timeout));
                self.wrong(
                    at("/keep_for".to_owned()),
                    format!("`keep_for` must lie between {least} and {most}"),
                );
            }
        }
        if request.authorized_keys.len() > limits.max_authorized_keys {
            let most = limits.max_authorized_keys;
            self.wrong(
                at("/authorized_keys".to_owned()),
                format!("`authorized_keys` has at most {most} keys"),
            );
        }
        for (index, key) in request.authorized_keys.iter().enumerate().take(limits.max_authorized_keys) {
            if !is_public_key(key) {
                self.wrong(
                    at(format!("/authorized_keys/{index}")),
                    format!("`{}` is no public key as `ssh-keygen` writes it, such as `ssh-ed25519 AAAA… you@host`", shorten(key)),
                );
            }
        }
    }

    /// Nothing was wrong, or a problem with all that was.
    ///
    /// # Errors
    /// `invalid_request`, or `not_supported_yet` if nothing is wrong otherwise.
    pub fn finish(mut self) -> Result<(), Problem> {
        if !self.wrong.is_empty() {
            self.wrong.append(&mut self.not_yet);
            self.wrong.truncate(100);
            return Err(invalid_request(self.wrong));
        }
        if self.not_yet.is_empty() { Ok(()) } else { Err(not_supported_yet(self.not_yet)) }
    }
}

/// Whether it is one line with one key, without options: such a line goes into `authorized_keys` as it is.
fn is_public_key(text: &str) -> bool {
    !text.chars().any(char::is_control) && russh::keys::PublicKey::from_openssh(text).is_ok()
}

/// So much of a text that a message stays readable.
pub fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain("…".chars()).collect()
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
