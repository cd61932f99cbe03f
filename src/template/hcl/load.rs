//! The files of an HCL2 configuration: found in the uploaded folder, read, and parsed; with all that is wrong with the
//! form of any of them.

use crate::{
    domain::Problem,
    hcl::{self, Body, Diagnostic, JsonNode, JsonView, Offsets, Schema, SourceMap, Span},
    template::{
        context::ContextFolder,
        json::reader::{self, Kind, Node},
        request::{BuildRequest, TemplateSource},
    },
};

/// Files of one configuration.
const MOST_FILES: usize = 200;

/// The name under which a template is known that came without one.
const NAMELESS: &str = "template.pkr.hcl";

/// A file's content.
pub(super) struct File {
    pub(super) path: String,
    /// Absent if it could not be parsed.
    pub(super) body: Option<Body>,
}

/// The files of a request.
pub(super) struct Loaded {
    pub(super) sources: SourceMap,
    /// Templates, in order of their names.
    pub(super) templates: Vec<File>,
    /// `*.auto.pkrvars.hcl`, then `*.auto.pkrvars.json`.
    pub(super) auto_values: Vec<File>,
    /// What the request names, in its order.
    pub(super) values: Vec<File>,
    /// The folder of the template, relative to the uploaded one; `.` is its top.
    pub(super) root: String,
    /// The texts by path, for showing them.
    pub(super) texts: Vec<(String, String)>,
}

static EMPTY: Schema = Schema(&[]);
/// What stands in the body of a source or a provisioner; its own blocks are told from attributes by nobody.
static OPTIONS: Schema = Schema(&[("dynamic", 1, &Schema(&[("content", 0, &OPTIONS)]))]);
static POST_PROCESSORS: Schema = Schema(&[("post-processor", 1, &OPTIONS)]);
static BUILD: Schema = Schema(&[
    ("source", 1, &OPTIONS),
    ("provisioner", 1, &OPTIONS),
    ("error-cleanup-provisioner", 1, &OPTIONS),
    ("post-processor", 1, &OPTIONS),
    ("post-processors", 0, &POST_PROCESSORS),
    ("hcp_packer_registry", 0, &EMPTY),
    ("dynamic", 1, &Schema(&[("content", 0, &OPTIONS)])),
]);
static TOP: Schema = Schema(&[
    ("packer", 0, &Schema(&[("required_plugins", 0, &EMPTY)])),
    ("variable", 1, &Schema(&[("validation", 0, &EMPTY)])),
    ("variables", 0, &EMPTY),
    ("local", 1, &EMPTY),
    ("locals", 0, &EMPTY),
    ("data", 2, &OPTIONS),
    ("source", 2, &OPTIONS),
    ("build", 0, &BUILD),
    ("hcp_packer_registry", 0, &EMPTY),
]);

impl JsonNode for Node {
    fn at(&self) -> u32 {
        self.at
    }

    fn view(&self) -> JsonView<'_, Self> {
        match &self.kind {
            Kind::Null | Kind::Unknown => JsonView::Null,
            Kind::Bool(value) => JsonView::Bool(*value),
            Kind::Number(number) => JsonView::Number(number),
            Kind::String(text) => JsonView::Text(text),
            Kind::Array(items) => JsonView::List(items),
            Kind::Object(members) => JsonView::Object(
                members.iter().map(|member| (member.name.as_str(), member.at, &member.value)).collect(),
            ),
        }
    }
}

/// Moves a node that was read from a text of its own to where that text stands.
fn shift(node: &mut Node, by: u32) {
    node.at = node.at.saturating_add(by);
    match &mut node.kind {
        Kind::Array(items) => items.iter_mut().for_each(|item| shift(item, by)),
        Kind::Object(members) => {
            for member in members {
                member.at = member.at.saturating_add(by);
                shift(&mut member.value, by);
            }
        }
        _ => {}
    }
}

/// Finds and reads the files.
///
/// # Errors
/// There is no template, or too many or too large files. What is wrong within files is added to `wrong`.
pub(super) fn load(
    request: &BuildRequest,
    folder: Option<&ContextFolder>,
    wrong: &mut Vec<Diagnostic>,
) -> Result<Loaded, Problem> {
    let mut loaded = Loaded {
        sources: SourceMap::default(),
        templates: Vec::new(),
        auto_values: Vec::new(),
        values: Vec::new(),
        root: ".".to_owned(),
        texts: Vec::new(),
    };
    match &request.template {
        TemplateSource::Folder(source) => {
            let root = source.hcl2_folder.as_str();
            if !root.is_empty() {
                loaded.root = root.to_owned();
            }
            let files = folder.map(|folder| files_in(folder, root)).unwrap_or_default();
            let named = |suffix: &str| {
                files.iter().filter(|path| path.ends_with(suffix)).cloned().collect::<Vec<_>>()
            };
            let mut templates = named(".pkr.hcl");
            templates.extend(named(".pkr.json"));
            if templates.is_empty() {
                return Err(no_template(format!(
                    "The folder `{}` has no file `*.pkr.hcl` or `*.pkr.json`.",
                    loaded.root
                )));
            }
            let mut values = named(".auto.pkrvars.hcl");
            values.extend(named(".auto.pkrvars.json"));
            if templates.len() + values.len() > MOST_FILES {
                return Err(no_template(format!("A configuration has at most {MOST_FILES} files.")));
            }
            for path in templates {
                let file = loaded.read_from(folder, &path, &TOP, wrong)?;
                loaded.templates.push(file);
            }
            for path in values {
                let file = loaded.read_from(folder, &path, &EMPTY, wrong)?;
                loaded.auto_values.push(file);
            }
        }
        TemplateSource::Text(text) => {
            let path = request.template_path.as_deref().unwrap_or(NAMELESS);
            if let Some((root, _)) = path.rsplit_once('/') {
                loaded.root = root.to_owned();
            }
            let file = loaded.read(path, text, &TOP, wrong)?;
            loaded.templates.push(file);
        }
        TemplateSource::Json(_) => return Err(no_template("This is no HCL2 template.".to_owned())),
    }
    for path in &request.var_files {
        let file = loaded.read_from(folder, path, &EMPTY, wrong)?;
        loaded.values.push(file);
    }
    Ok(loaded)
}

/// The files of a folder, without those of folders in it, in order of their names.
fn files_in(folder: &ContextFolder, root: &str) -> Vec<String> {
    let mut files: Vec<String> = folder
        .files()
        .filter(|path| match root {
            "" => !path.contains('/'),
            root => path
                .strip_prefix(root)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|rest| !rest.contains('/')),
        })
        .map(str::to_owned)
        .collect();
    files.sort();
    files
}

impl Loaded {
    fn read_from(
        &mut self,
        folder: Option<&ContextFolder>,
        path: &str,
        schema: &Schema,
        wrong: &mut Vec<Diagnostic>,
    ) -> Result<File, Problem> {
        let Some(data) = folder.and_then(|folder| folder.get(path)) else {
            return Err(no_template(format!("The folder has no file `{path}`.")));
        };
        match std::str::from_utf8(data) {
            Ok(text) => self.read(path, text, schema, wrong),
            Err(_) => Err(no_template(format!("The file `{path}` is no UTF-8 text."))),
        }
    }

    fn read(
        &mut self,
        path: &str,
        text: &str,
        schema: &Schema,
        wrong: &mut Vec<Diagnostic>,
    ) -> Result<File, Problem> {
        let Some(base) = self.sources.add(path, text) else {
            return Err(no_template("The files of the configuration are too large.".to_owned()));
        };
        self.texts.push((path.to_owned(), text.to_owned()));
        let is_json = path.ends_with(".json") || (path == NAMELESS && text.trim_start().starts_with('{'));
        let body = if is_json { json(text, base, schema) } else { native(text, base) };
        let body = body.map_err(|errors| wrong.extend(errors)).ok();
        Ok(File { path: path.to_owned(), body })
    }
}

fn native(text: &str, base: u32) -> Result<Body, Vec<Diagnostic>> {
    match text.strip_prefix('\u{feff}') {
        Some(text) => hcl::parse(text, &Offsets::from(base + 3)),
        None => hcl::parse(text, &Offsets::from(base)),
    }
}

fn json(text: &str, base: u32, schema: &Schema) -> Result<Body, Vec<Diagnostic>> {
    let mut node = reader::read(text).map_err(|error| {
        let at = base.saturating_add(u32::try_from(error.at).unwrap_or(u32::MAX));
        vec![Diagnostic { span: Span::new(at, at), message: error.detail }]
    })?;
    shift(&mut node, base);
    hcl::json_body(&node, schema)
}

fn no_template(detail: String) -> Problem {
    Problem::new(422, "template_not_found", "There is no template", detail)
}
