//! Packer's template language inside a template's texts: `{{user "region"}}`, `{{timestamp}}`, `{{.SourceOMI}}`.
//! Most texts are rendered when the request is read; those that need the VM or the source OMI are checked then, and
//! rendered by [`render_late`] when the run gets there. Everything is bounded: a template is not trusted.

mod check;
pub mod functions;
mod rewrite;

use std::{cell::Cell, collections::BTreeMap, fmt, path::PathBuf, rc::Rc, sync::Arc};

pub use check::{DEFERRED, Scope};
use functions::Facts;
use gotmpl::{
    FuncMap, Template, TemplateError, ToValue, Value,
    parse::{CommandNode, ListNode, Parser},
};

/// Bytes of a text that has templates in it.
const MAX_SOURCE: usize = 64 * 1024;
/// Bytes of a text with a loop in it; a loop multiplies its work.
const MAX_SOURCE_WITH_RANGE: usize = 4 * 1024;
/// Bytes of a rendered text.
const MAX_RENDERED: usize = 1024 * 1024;
/// Rounds of all loops of a text together.
const MAX_ROUNDS: u64 = 200;
/// Texts with loops in a request.
const MAX_LOOPS: u32 = 20;
/// Texts with templates in a request, each counted for each build it is rendered for.
const MAX_RENDERS: u32 = 100_000;

/// What is known when a run renders its late templates.
#[derive(Debug, Clone, Default)]
pub struct LateData {
    /// `{{.SourceOMI}}`: the id of the source OMI.
    pub source_omi: String,
    /// `{{.SourceOMIName}}`
    pub source_omi_name: String,
    /// `{{.SourceOMITags.key}}`
    pub source_omi_tags: BTreeMap<String, String>,
    /// `{{.BuildRegion}}`
    pub build_region: String,
    /// The run's name.
    pub build_name: String,
    /// The builder's kind.
    pub builder_type: String,
    /// Further fields, e.g. `Path`, `Vars` and `EnvVarFile` of `execute_command`.
    pub vars: BTreeMap<String, String>,
    /// `{{build "ID"}}`, also as `{{.ID}}`.
    pub generated: BTreeMap<String, String>,
    /// What `{{hcl 0}}` and so on stand for.
    pub deferred: Arc<BTreeMap<usize, crate::hcl::Deferred>>,
    /// The uploaded folder as it lies unpacked, for functions that read files.
    pub files: Option<PathBuf>,
}

/// Renders a text of a plan that is a late template. `secret` hears of every value in it that is sensitive and was not
/// known before.
///
/// # Errors
/// A sentence that says what the template lacks. A template that passed [`super::parse`] fails only if a value it asks
/// for was not given.
pub fn render_late(template: &str, data: &LateData, secret: &mut dyn FnMut(&str)) -> Result<String, String> {
    let template = &*super::hcl::fill_in(template, data, secret)?;
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    let text = |value: &String| Value::String(value.as_str().into());
    let mut fields: BTreeMap<Arc<str>, Value> = data
        .generated
        .iter()
        .chain(&data.vars)
        .map(|(name, value)| (name.as_str().into(), text(value)))
        .collect();
    for (name, value) in [
        ("SourceOMI", &data.source_omi),
        ("SourceOMIName", &data.source_omi_name),
        ("BuildRegion", &data.build_region),
    ] {
        fields.insert(name.into(), text(value));
    }
    fields.insert("SourceOMITags".into(), data.source_omi_tags.to_value());
    let mut functions = functions::pure();
    functions::add_build(&mut functions, data.generated.clone());
    for (name, value) in [("build_name", &data.build_name), ("build_type", &data.builder_type)] {
        let value = text(value);
        functions.insert(name.to_owned(), Arc::new(move |_: &[Value]| Ok(value.clone())));
    }
    let template = compile(template, functions)?;
    execute(&template, &Value::Map(Arc::new(fields)))
}

/// Renders the texts of one request, for one of its builds.
pub struct Renderer {
    functions: FuncMap,
    depends_on_build: Cell<bool>,
    effort: Rc<Effort>,
    has_deferred: bool,
}

/// How much a request has made us render; shared by its renderers.
#[derive(Debug, Default)]
pub struct Effort {
    loops: Cell<u32>,
    renders: Cell<u32>,
    notices: Arc<functions::Notices>,
}

impl Effort {
    /// What the user should know of the texts that were rendered.
    pub fn notices(&self) -> Vec<String> {
        self.notices.all()
    }
}

impl Renderer {
    /// A renderer that answers from these facts.
    pub fn new(facts: Facts, effort: &Rc<Effort>) -> Self {
        let facts = Arc::new(facts);
        let functions = functions::of_request(&facts, &effort.notices);
        Self { functions, depends_on_build: Cell::new(false), effort: Rc::clone(effort), has_deferred: false }
    }

    /// The same for texts of an HCL2 template, in which `{{hcl 0}}` stands for an expression that waits for the VM.
    #[must_use]
    pub fn with_deferred(mut self) -> Self {
        self.has_deferred = true;
        self
    }

    /// Whether any text since the last call named the build, so that it differs from build to build.
    pub fn take_depends_on_build(&self) -> bool {
        self.depends_on_build.replace(false)
    }

    /// Renders a text now.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the template.
    pub fn now(&self, source: &str, scope: Scope) -> Result<String, String> {
        if !source.contains("{{") {
            return Ok(source.to_owned());
        }
        self.read(source, scope)?;
        let template = compile(source, self.functions.clone())?;
        execute(&template, &Value::Map(Arc::default()))
    }

    /// Checks a text that is rendered late, and settles in it what is known now.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the template.
    pub fn later(&self, source: &str, scope: Scope) -> Result<String, String> {
        if !source.contains("{{") {
            return Ok(source.to_owned());
        }
        let mut tree = self.read(source, scope)?;
        let total = Cell::new(0_usize);
        let answer = |call: &CommandNode| {
            let text = self.answer(call)?;
            total.set(total.get() + text.len());
            if total.get() > MAX_RENDERED {
                return Err(format!("the rendered text has more than {MAX_RENDERED} bytes"));
            }
            Ok(text)
        };
        if rewrite::settle(&mut tree, &answer)? { Ok(rewrite::print(&tree)) } else { Ok(source.to_owned()) }
    }

    /// Parses and checks.
    fn read(&self, source: &str, scope: Scope) -> Result<ListNode, String> {
        if source.len() > MAX_SOURCE {
            return Err(format!("a text with templates in it has at most {MAX_SOURCE} bytes"));
        }
        self.effort.renders.set(self.effort.renders.get() + 1);
        if self.effort.renders.get() > MAX_RENDERS {
            return Err(format!("the request has more than {MAX_RENDERS} texts with templates in them"));
        }
        check::refuse_stray_ends(source)?;
        let (tree, defines) =
            Parser::new(source, "{{", "}}").and_then(Parser::parse).map_err(|error| message(&error))?;
        if !defines.is_empty() {
            return Err("`define` and `block` are not offered here; write the text out".to_owned());
        }
        check::check(&tree, scope, self.has_deferred)?;
        if check::has_loop_or_variable(&tree) {
            self.effort.loops.set(self.effort.loops.get() + 1);
            let is_too_much = source.len() > MAX_SOURCE_WITH_RANGE || self.effort.loops.get() > MAX_LOOPS;
            if is_too_much || scope == Scope::Variables {
                return Err(format!(
                    "a text with `range` or `:=` in it has at most {MAX_SOURCE_WITH_RANGE} bytes, and a template at \
                     most {MAX_LOOPS} of them"
                ));
            }
        }
        if source.contains("build_name") || source.contains("build_type") {
            self.depends_on_build.set(true);
        }
        Ok(tree)
    }

    /// What one call of a request's function says.
    fn answer(&self, call: &CommandNode) -> Result<String, String> {
        let Some((gotmpl::parse::Expr::Identifier(_, name), arguments)) = call.args.split_first() else {
            return Err("this is no call".to_owned());
        };
        let values: Vec<Value> = arguments
            .iter()
            .filter_map(|argument| match argument {
                gotmpl::parse::Expr::String(_, text) => Some(Value::String(Arc::clone(text))),
                gotmpl::parse::Expr::Bool(_, value) => Some(Value::Bool(*value)),
                gotmpl::parse::Expr::Number(_, gotmpl::parse::Number::Int(number)) => {
                    Some(Value::Int(*number))
                }
                _ => None,
            })
            .collect();
        let function = self.functions.get(name.as_str()).ok_or_else(|| functions::unknown(name))?;
        function(&values).map(|value| value.to_string()).map_err(|error| message(&error))
    }
}

/// The user variables that a text names, for putting variables into an order.
///
/// # Errors
/// The text is no template, or takes a variable's name from elsewhere.
pub fn variables_named(source: &str) -> Result<Vec<String>, String> {
    if !source.contains("{{") {
        return Ok(Vec::new());
    }
    if source.len() > MAX_SOURCE {
        return Err(format!("a text with templates in it has at most {MAX_SOURCE} bytes"));
    }
    let (tree, _) =
        Parser::new(source, "{{", "}}").and_then(Parser::parse).map_err(|error| message(&error))?;
    check::variables_named(&tree)
}

/// Keeps `{{.Field}}` in the value of a variable as it stands, which Packer does, for it has a meaning only where the value
/// is used, if at all.
pub fn keep_fields(source: &str) -> String {
    let mut kept = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        let inside = &rest[start + 2..];
        let space = inside.chars().next().filter(|c| c.is_whitespace()).map_or(0, char::len_utf8);
        let end = inside.find("}}").filter(|end| !inside[..*end].contains(['`', '\n']));
        let end = end.filter(|_| inside[space..].starts_with('.'));
        let (before, after) = rest.split_at(start + 2 + end.map_or(0, |end| end + 2));
        match end {
            Some(_) => {
                kept.push_str(&before[..start]);
                kept.push_str(&format!("{{{{`{}`}}}}", &before[start..]));
            }
            None => kept.push_str(before),
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

fn compile(source: &str, functions: FuncMap) -> Result<Template, String> {
    Template::new("")
        .funcs(functions)
        .max_range_iters(MAX_ROUNDS)
        .parse(source)
        .map_err(|error| message(&error))
}

fn execute(template: &Template, data: &Value) -> Result<String, String> {
    let mut sink = Sink(String::new());
    match template.execute_fmt(&mut sink, data) {
        Ok(()) => Ok(sink.0),
        Err(TemplateError::Write) => Err(format!("the rendered text has more than {MAX_RENDERED} bytes")),
        Err(error) => Err(message(&error)),
    }
}

/// A text that refuses to become too long.
struct Sink(String);

impl fmt::Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_RENDERED {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The engine's error as a part of our sentence.
fn message(error: &TemplateError) -> String {
    match error {
        TemplateError::Parse { message, .. } | TemplateError::Lex { message, .. } => {
            format!("the template between `{{{{` and `}}}}` is broken: {message}")
        }
        TemplateError::Exec(message) => message.clone(),
        TemplateError::RangeIterLimit => format!("loops have at most {MAX_ROUNDS} rounds together"),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
