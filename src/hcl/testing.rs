//! What the tests of this module share: evaluates expressions against a small world.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeZone, Utc};

use super::{Budget, Data, Errors, Evaluator, Host, Offsets, Value, parse_expression};

/// A world of two files and one environment variable, at noon of 2 March 2026.
pub(crate) struct World;

impl Host for World {
    fn now(&self) -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 2, 12, 0, 0).unwrap()
    }

    fn started(&self) -> DateTime<Utc> {
        self.now()
    }

    fn env(&self, name: &str) -> Result<String, String> {
        if name == "HOME_TOWN" { Ok("Saint-Cloud".to_owned()) } else { Ok(String::new()) }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        match path {
            "hello.txt" => Ok(b"hello\n".to_vec()),
            "greeting.tpl" => Ok(b"%{ for name in names ~}\nHi ${name}!\n%{ endfor ~}\n".to_vec()),
            "binary" => Ok(vec![0, 159, 146, 150]),
            _ => Err(format!("the folder has no `{path}`")),
        }
    }

    fn exists(&self, path: &str) -> Result<bool, String> {
        Ok(self.read(path).is_ok())
    }

    fn files_below(&self, folder: &str) -> Result<Vec<String>, String> {
        match folder {
            "" | "." => Ok(["hello.txt", "greeting.tpl", "binary", "sub/a.sh", "sub/deep/b.sh"]
                .map(str::to_owned)
                .to_vec()),
            "sub" => Ok(["a.sh", "deep/b.sh"].map(str::to_owned).to_vec()),
            _ => Err(format!("the folder has no `{folder}`")),
        }
    }

    fn absolute(&self, path: &str) -> String {
        format!("/{path}")
    }
}

/// Evaluates an expression in which these names are known.
pub(crate) fn evaluate(text: &str, names: &BTreeMap<String, Value>) -> Result<Value, Vec<String>> {
    let expr = parse_expression(text, &Offsets::from(0)).map_err(|error| vec![error.message])?;
    let budget = Budget::default();
    let evaluated = Evaluator::new(names, &World, &budget).evaluate(&expr);
    evaluated.map_err(|Errors(errors)| errors.into_iter().map(|error| error.message).collect())
}

/// The value of an expression, written as JSON; what is sensitive or unknown says so.
pub(crate) fn shown(text: &str) -> String {
    match evaluate(text, &BTreeMap::new()) {
        Ok(value) => show(&value),
        Err(errors) => format!("error: {}", errors.join("; ")),
    }
}

/// A value written as JSON. Sets stand in `<…>`.
pub(crate) fn show(value: &Value) -> String {
    let text = match &value.data {
        Data::Null => "null".to_owned(),
        Data::Bool(value) => value.to_string(),
        Data::Number(number) => number.to_string(),
        Data::Text(text) => serde_json::to_string(&text[..]).unwrap(),
        Data::Sequence(kind, items) => {
            let items: Vec<String> = items.iter().map(show).collect();
            let items = items.join(",");
            if *kind == super::SequenceKind::Set { format!("<{items}>") } else { format!("[{items}]") }
        }
        Data::Map(_, members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", serde_json::to_string(name).unwrap(), show(value)))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Data::Unknown(unknown) => format!("unknown({})", unknown.cause.0),
    };
    if value.sensitive { format!("sensitive({text})") } else { text }
}
