//! The functions of Packer's templates. Which of them exist, where each may be used, and what they answer. None of
//! them can make a text grow without bound.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use gotmpl::{FuncMap, Template, TemplateError, Value};

use crate::{
    hcl::layout,
    template::{envelope::shorten, suggest::or_did_you_mean},
};

/// Most bytes that a function takes or gives.
const MAX_BYTES: usize = 256 * 1024;

/// What `{{packer_version}}` says: the Packer whose templates we read.
pub const PACKER_VERSION: &str = "1.16.0";

/// Go's own functions that are offered.
pub const BUILTINS: [&str; 18] = [
    "and", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];

/// Functions of their arguments alone; they work at any time.
pub const PURE: [&str; 7] =
    ["upper", "lower", "replace", "replace_all", "split", "clean_resource_name", "clean_omi_name"];

/// Functions of the request; what they say is known when it is read.
pub const REQUEST: [&str; 11] = [
    "user",
    "env",
    "timestamp",
    "isotime",
    "strftime",
    "uuid",
    "build_name",
    "build_type",
    "packer_version",
    "pwd",
    "template_dir",
];

/// What `{{build "…"}}` can ask for.
pub const BUILD_KEYS: [&str; 9] =
    ["ID", "Host", "Port", "User", "Password", "ConnType", "PackerRunUUID", "SSHPublicKey", "SSHPrivateKey"];

/// What the functions of a request answer from.
#[derive(Debug, Default)]
pub struct Facts {
    /// The one moment of the request.
    pub now: DateTime<Utc>,
    /// The values of the user variables.
    pub variables: BTreeMap<String, String>,
    /// What `env` can see.
    pub env: BTreeMap<String, String>,
    /// `build_name`; absent where there is no build, as in the variables.
    pub build: Option<(String, String)>,
    /// The folder of the template, relative to the uploaded folder.
    pub template_dir: String,
}

/// What the user should know though it is no error, said once.
#[derive(Debug, Default)]
pub struct Notices(Mutex<BTreeSet<String>>);

impl Notices {
    fn add(&self, notice: String) {
        let mut notices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < 100 {
            notices.insert(notice);
        }
    }

    /// All of them, in the order of the alphabet.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Why a function is known but not to be had, if it is so.
pub fn refusal(name: &str) -> Option<&'static str> {
    match name {
        "consul_key" | "vault" | "aws_secretsmanager" | "aws_secretsmanager_raw" => {
            Some("is not supported yet; pass the secret as a sensitive variable")
        }
        "sed" => Some("was removed from Packer; use `replace_all`"),
        "call" => Some("is not offered here: there is nothing that could be called"),
        _ => None,
    }
}

/// The message for a function that does not exist.
pub fn unknown(name: &str) -> String {
    let known = REQUEST.into_iter().chain(PURE).chain(BUILTINS).chain(["build"]);
    let hint = or_did_you_mean(name, known, "see Packer's template engine for the functions there are");
    format!("there is no function `{name}`; {hint}")
}

/// The functions that work at any time, and Go's that could make texts grow.
pub fn pure() -> FuncMap {
    let mut map = FuncMap::new();
    add(&mut map, "upper", |arguments| Ok(text("upper", arguments, 0, 1)?.to_uppercase()));
    add(&mut map, "lower", |arguments| Ok(text("lower", arguments, 0, 1)?.to_lowercase()));
    add(&mut map, "replace_all", |arguments| {
        let name = "replace_all";
        replace(
            text(name, arguments, 0, 3)?,
            text(name, arguments, 1, 3)?,
            None,
            text(name, arguments, 2, 3)?,
        )
    });
    add(&mut map, "replace", |arguments| {
        let name = "replace";
        let most = number(name, arguments, 2, 4)?;
        let most = usize::try_from(most).ok(); // A negative count means all.
        replace(
            text(name, arguments, 0, 4)?,
            text(name, arguments, 1, 4)?,
            most,
            text(name, arguments, 3, 4)?,
        )
    });
    add(&mut map, "split", |arguments| {
        let (whole, separator) = (text("split", arguments, 0, 3)?, text("split", arguments, 1, 3)?);
        let index = number("split", arguments, 2, 3)?;
        if separator.is_empty() {
            return Err("`split` needs a separator".to_owned());
        }
        let part = usize::try_from(index).ok().and_then(|index| whole.split(separator).nth(index));
        part.map(str::to_owned).ok_or_else(|| {
            format!("`split` found {} parts, there is none of number {index}", whole.split(separator).count())
        })
    });
    for name in ["clean_resource_name", "clean_omi_name"] {
        add(&mut map, name, move |arguments| Ok(clean_omi_name(text(name, arguments, 0, 1)?)));
    }
    add(&mut map, "print", |arguments| {
        let mut whole = String::new();
        for (index, argument) in arguments.iter().enumerate() {
            let is_text = |value: &Value| matches!(value, Value::String(_));
            if index > 0 && !is_text(argument) && !is_text(&arguments[index - 1]) {
                whole.push(' ');
            }
            whole.push_str(&argument.to_string());
        }
        Ok(whole)
    });
    add(&mut map, "println", |arguments| {
        Ok(arguments.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ") + "\n")
    });
    add(&mut map, "printf", printf);
    escaper(&mut map, "html", gotmpl::html_escape);
    escaper(&mut map, "js", gotmpl::js_escape);
    escaper(&mut map, "urlquery", gotmpl::url_encode);
    map
}

/// The engine's own, but bounded: each makes a text up to six times as long.
fn escaper(map: &mut FuncMap, name: &'static str, escape: fn(&str) -> String) {
    add(map, name, move |arguments| {
        Ok(escape(&arguments.iter().map(ToString::to_string).collect::<String>()))
    });
}

/// All functions that a request can use early.
pub fn of_request(facts: &Arc<Facts>, notices: &Arc<Notices>) -> FuncMap {
    let mut map = pure();
    let (shared, told) = (Arc::clone(facts), Arc::clone(notices));
    add(&mut map, "user", move |arguments| {
        let name = text("user", arguments, 0, 1)?;
        Ok(shared.variables.get(name).cloned().unwrap_or_else(|| {
            let known = shared.variables.keys().map(String::as_str);
            let hint = or_did_you_mean(name, known, "declare it under `variables`");
            told.add(format!(
                "there is no variable `{}`, so it is empty, as in Packer; {hint}",
                shorten(name)
            ));
            String::new()
        }))
    });
    let (shared, told) = (Arc::clone(facts), Arc::clone(notices));
    add(&mut map, "env", move |arguments| {
        let name = text("env", arguments, 0, 1)?;
        Ok(shared.env.get(name).cloned().unwrap_or_else(|| {
            told.add(format!(
                "the environment variable `{}` is not set, so it is empty, as in Packer; pass it on with the request's \
                 `env`, as `fournil build` does with what is set where it runs",
                shorten(name)
            ));
            String::new()
        }))
    });
    let now = facts.now;
    add(&mut map, "timestamp", move |_| Ok(now.timestamp().to_string()));
    add(&mut map, "isotime", move |arguments| match arguments {
        [] => Ok(layout::format(&now, layout::RFC3339)),
        _ => Ok(layout::format(&now, text("isotime", arguments, 0, 1)?)),
    });
    add(&mut map, "strftime", move |arguments| {
        Ok(layout::strftime(&now, text("strftime", arguments, 0, 1)?))
    });
    add(&mut map, "uuid", |_| Ok(uuid::Uuid::now_v7().to_string()));
    let shared = Arc::clone(facts);
    add(&mut map, "build_name", move |_| {
        shared
            .build
            .as_ref()
            .map(|(name, _)| name.clone())
            .ok_or_else(|| "`build_name` has no value here".to_owned())
    });
    let shared = Arc::clone(facts);
    add(&mut map, "build_type", move |_| {
        shared
            .build
            .as_ref()
            .map(|(_, kind)| kind.clone())
            .ok_or_else(|| "`build_type` has no value here".to_owned())
    });
    add(&mut map, "packer_version", |_| Ok(PACKER_VERSION.to_owned()));
    // The uploaded folder is the working directory; paths in a plan are relative to it.
    add(&mut map, "pwd", |_| Ok(".".to_owned()));
    let shared = Arc::clone(facts);
    add(&mut map, "template_dir", move |_| Ok(shared.template_dir.clone()));
    map
}

/// `{{build "Key"}}` from the values known late.
pub fn add_build(map: &mut FuncMap, generated: BTreeMap<String, String>) {
    add(map, "build", move |arguments| {
        let key = text("build", arguments, 0, 1)?;
        generated.get(key).cloned().ok_or_else(|| format!("`build \"{key}\"` has no value here"))
    });
}

/// Every byte that an OMI's name must not hold becomes `-`, as in the OUTSCALE plugin.
pub fn clean_omi_name(name: &str) -> String {
    name.bytes().map(|byte| if is_omi_name_byte(byte) { char::from(byte) } else { '-' }).collect()
}

/// Whether the byte may stand in `omi_name`.
pub const fn is_omi_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'(' | b')' | b'[' | b']' | b' ' | b'.' | b'/' | b'-' | b'\'' | b'@' | b'_')
}

/// Adds a function whose arguments and answer are bounded.
fn add(
    map: &mut FuncMap,
    name: &'static str,
    answer: impl Fn(&[Value]) -> Result<String, String> + Send + Sync + 'static,
) {
    let function = move |arguments: &[Value]| {
        let taken: usize = arguments
            .iter()
            .map(|argument| match argument {
                Value::String(text) => text.len(),
                Value::List(_) | Value::Map(_) => argument.to_string().len(),
                _ => 32,
            })
            .sum();
        if taken > MAX_BYTES {
            return Err(TemplateError::Exec(format!("`{name}` was given more than {MAX_BYTES} bytes")));
        }
        let text = answer(arguments).map_err(TemplateError::Exec)?;
        if text.len() > MAX_BYTES {
            return Err(TemplateError::Exec(format!("`{name}` made more than {MAX_BYTES} bytes")));
        }
        Ok(Value::String(text.into()))
    };
    map.insert(name.to_owned(), Arc::new(function));
}

fn text<'a>(name: &str, arguments: &'a [Value], index: usize, wanted: usize) -> Result<&'a str, String> {
    if arguments.len() != wanted {
        return Err(format!("`{name}` takes {wanted} argument(s), not {}", arguments.len()));
    }
    arguments[index].as_str().ok_or_else(|| format!("argument {} of `{name}` must be a text", index + 1))
}

fn number(name: &str, arguments: &[Value], index: usize, wanted: usize) -> Result<i64, String> {
    if arguments.len() != wanted {
        return Err(format!("`{name}` takes {wanted} argument(s), not {}", arguments.len()));
    }
    arguments[index]
        .as_int()
        .ok_or_else(|| format!("argument {} of `{name}` must be a whole number", index + 1))
}

fn replace(from: &str, to: &str, most: Option<usize>, whole: &str) -> Result<String, String> {
    let most = most.unwrap_or(usize::MAX);
    let count = whole.matches(from).take(most).count();
    if count.saturating_mul(to.len()) > MAX_BYTES {
        return Err(format!("`replace` made more than {MAX_BYTES} bytes"));
    }
    Ok(whole.replacen(from, to, most))
}

/// Go's `printf`, of which the engine's own is used, once it is sure that the answer cannot be huge: widths are short
/// and verbs few.
fn printf(arguments: &[Value]) -> Result<String, String> {
    let format = arguments.first().and_then(Value::as_str).ok_or("`printf` takes a format first")?;
    let wide = format.as_bytes().windows(4).any(|window| window.iter().all(u8::is_ascii_digit));
    if format.matches('%').count() > 32 || (format.contains('%') && (wide || format.contains('*'))) {
        return Err(
            "this `printf` format is too elaborate: at most 32 verbs, no `*`, numbers up to 999".to_owned()
        );
    }
    let names: String = (0..arguments.len()).map(|index| format!(" (index . {index})")).collect();
    Template::new("")
        .parse(&format!("{{{{printf{names}}}}}"))
        .and_then(|template| template.execute_to_string(&Value::List(arguments.to_vec().into())))
        .map_err(|error| super::message(&error))
}
