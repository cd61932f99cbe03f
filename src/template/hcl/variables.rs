//! Input variables: what is declared, what the request gives, and of which of several sources a value is taken.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    config::{Config, Variable},
    load::{File, Loaded},
    names::{DATA, Known, Values},
    options::{Bound, Reader},
};
use crate::{
    domain::problem::FieldProblem,
    hcl::{
        Data, Diagnostic, Errors, Evaluator, Offsets, Type, Value,
        ast::{Expr, Kind},
        parse_expression,
    },
    template::{json::pointer_token, or_did_you_mean, request::BuildRequest},
};

/// What environment variables for variables begin with.
const PREFIX: &str = "PKR_VAR_";

/// Where a value comes from.
#[derive(Clone, Copy)]
enum Given<'a> {
    /// A text: of the environment, or of the request.
    Text(&'a str),
    /// An expression of a file.
    File(&'a Expr),
}

/// Finds the value of every declared variable. What is wrong is noted.
pub(super) fn resolve(
    config: &Config<'_>,
    loaded: &Loaded,
    request: &BuildRequest,
    reader: &Reader<'_>,
    request_errors: &mut Vec<FieldProblem>,
    notices: &mut Vec<String>,
) -> Values {
    let mut given: BTreeMap<&str, Given<'_>> = BTreeMap::new();
    for (name, value) in &request.env {
        if let Some(variable) = name.strip_prefix(PREFIX)
            && config.variables.contains_key(variable)
        {
            given.insert(variable, Given::Text(value));
        }
    }
    for file in loaded.auto_values.iter().chain(&loaded.values) {
        from_file(file, config, reader, &mut given, notices);
    }
    for (name, value) in &request.variables {
        if config.variables.contains_key(name) {
            given.insert(name, Given::Text(value));
            continue;
        }
        let known = config.variables.keys().map(String::as_str);
        let hint = or_did_you_mean(name, known, "declare it with a `variable` block");
        request_errors.push(FieldProblem {
            file: None,
            pointer: request.option_pointer(&format!("/variables/{}", pointer_token(name))),
            line: None,
            column: None,
            detail: format!("the template declares no variable `{name}`; {hint}"),
        });
    }
    let mut values = Values::new();
    for (name, variable) in &config.variables {
        match value_of(name, variable, given.get(name.as_str()).copied(), reader) {
            Some(value) => {
                validate(name, variable, &value, reader);
                values.insert(name.clone(), value);
            }
            // Not known, so that nothing else follows from the one error.
            None => {
                values.insert(name.clone(), Value::unknown(DATA));
            }
        }
    }
    values
}

fn from_file<'a>(
    file: &'a File,
    config: &Config<'_>,
    reader: &Reader<'_>,
    given: &mut BTreeMap<&'a str, Given<'a>>,
    notices: &mut Vec<String>,
) {
    let Some(body) = &file.body else { return };
    for block in &body.blocks {
        reader.wrong(block.name_span, "a file of variables has names and values only, no blocks");
    }
    for attribute in &body.attributes {
        if config.variables.contains_key(&attribute.name) {
            given.insert(&attribute.name, Given::File(&attribute.expr));
        } else {
            let known = config.variables.keys().map(String::as_str);
            let hint = or_did_you_mean(&attribute.name, known, "it has no effect");
            notices.push(format!(
                "`{}` sets `{}`, which the template does not declare; {hint}",
                file.path, attribute.name
            ));
        }
    }
}

/// The value of a variable, converted and marked.
fn value_of(
    name: &str,
    variable: &Variable<'_>,
    given: Option<Given<'_>>,
    reader: &Reader<'_>,
) -> Option<Value> {
    let constant = |expr: &Expr| constant(expr, reader);
    let of = match variable.of.map(|of| type_of(of, &constant)).transpose() {
        Ok(of) => of,
        Err(diagnostic) => {
            reader.wrong(diagnostic.span, diagnostic.message);
            return None;
        }
    };
    let sensitive = match variable.sensitive.map(|expr| (expr.span, constant(expr))) {
        None => false,
        Some((_, Ok(Value { data: Data::Bool(sensitive), .. }))) => sensitive,
        Some((span, _)) => {
            reader.wrong(span, "`sensitive` must be true or false");
            true
        }
    };
    let (value, span) = match given {
        Some(Given::File(expr)) => (constant(expr).map_err(|error| note(reader, error)).ok()?, expr.span),
        Some(Given::Text(text)) => match of_text(text, of.as_ref()) {
            Ok(value) => (value, variable.span),
            Err(message) => {
                reader.wrong(variable.span, format!("the value given for the variable `{name}`: {message}"));
                return None;
            }
        },
        None => match variable.default {
            Some(default) => {
                // Only here functions see the environment.
                let names = Values::new();
                let known = Known::variables(&names, reader.known.root);
                let evaluated = Evaluator::new(&known, reader.world, reader.budget)
                    .evaluate(default)
                    .map_err(|Errors(errors)| {
                        reader.wrong.borrow_mut().extend(errors);
                    });
                (evaluated.ok()?, default.span)
            }
            None => {
                reader.wrong(
                    variable.span,
                    format!("the variable `{name}` has no default, so the request must give it a value, e.g. `-var {name}=…`"),
                );
                return None;
            }
        },
    };
    let converted = match &of {
        Some(of) => of.convert(value),
        None => Ok(value),
    };
    match converted {
        Ok(value) => Some(if sensitive { deep(value) } else { value }),
        Err(message) => {
            reader.wrong(span, format!("the variable `{name}`: {message}"));
            None
        }
    }
    .inspect(|value| {
        value.sensitive_texts(&mut |text| reader.keep_secret(text));
    })
}

fn note(reader: &Reader<'_>, error: Diagnostic) {
    reader.wrong(error.span, error.message);
}

/// The same with every part of it marked, so that what is taken out of it by whatever way is marked too.
pub(super) fn deep(value: Value) -> Value {
    let data = match value.data {
        Data::Sequence(kind, items) => {
            Data::Sequence(kind, Arc::new(items.iter().cloned().map(deep).collect()))
        }
        Data::Map(kind, members) => Data::Map(
            kind,
            Arc::new(members.iter().map(|(name, value)| (name.clone(), deep(value.clone()))).collect()),
        ),
        other => other,
    };
    Value { data, sensitive: true }
}

/// A type; the JSON form and the oldest templates write it as a text.
fn type_of(expr: &Expr, constant: &dyn Fn(&Expr) -> Result<Value, Diagnostic>) -> Result<Type, Diagnostic> {
    match &expr.kind {
        Kind::Text(text) => {
            let inner = parse_expression(text, &Offsets::fixed(expr.span.start))?;
            Type::of_expression(&inner, constant)
        }
        _ => Type::of_expression(expr, constant),
    }
}

/// The value of an expression without names.
fn constant(expr: &Expr, reader: &Reader<'_>) -> Result<Value, Diagnostic> {
    let names = Values::new();
    let world = super::world::World { env: None, ..*reader.world };
    Evaluator::new(&names, &world, reader.budget).evaluate(expr).map_err(|Errors(mut errors)| {
        match errors.is_empty() {
            true => Diagnostic { span: expr.span, message: "this cannot be evaluated".to_owned() },
            false => errors.swap_remove(0),
        }
    })
}

/// A text as the value of a variable: taken as it is for simple types, read as an expression for all others.
fn of_text(text: &str, of: Option<&Type>) -> Result<Value, String> {
    match of {
        None | Some(Type::Text | Type::Number | Type::Any) => Ok(text.into()),
        Some(Type::Bool) => Ok(text.trim().into()),
        Some(_) => {
            let broken = || "it must be written as an expression, such as `[\"a\", \"b\"]`".to_owned();
            let expr = parse_expression(text, &Offsets::fixed(0)).map_err(|_| broken())?;
            let names = Values::new();
            let budget = crate::hcl::Budget::default();
            let nothing = super::world::Unpacked { folder: None, now: chrono::Utc::now() };
            Evaluator::new(&names, &nothing, &budget).evaluate(&expr).map_err(|_| broken())
        }
    }
}

/// Holds a variable's value to its `validation` blocks.
fn validate(name: &str, variable: &Variable<'_>, value: &Value, reader: &Reader<'_>) {
    // A condition sees only its own variable.
    let own = Values::from([(name.to_owned(), value.clone())]);
    let known = Known::variables(&own, reader.known.root);
    let world = super::world::World { env: None, ..*reader.world };
    let reader = Reader { known, world: &world, ..*reader };
    for validation in &variable.validations {
        super::config::only(
            &validation.body,
            "validation",
            &["condition", "error_message"],
            &mut reader.wrong.borrow_mut(),
        );
        let (Some(condition), Some(message)) =
            (validation.body.attribute("condition"), validation.body.attribute("error_message"))
        else {
            reader.wrong(validation.name_span, "a block `validation` needs `condition` and `error_message`");
            continue;
        };
        let (Some(holds), Some(message_value)) =
            (reader.value(&condition.expr, &Bound::new()), reader.value(&message.expr, &Bound::new()))
        else {
            continue;
        };
        match Type::Bool.convert(holds).map(|value| value.data) {
            Ok(Data::Bool(true)) => {}
            Ok(Data::Bool(false)) => {
                let text = match (&message_value.data, message_value.sensitive) {
                    (Data::Text(text), false) => text.to_string(),
                    _ => "its value is not valid".to_owned(),
                };
                reader.wrong(variable.span, format!("the variable `{name}`: {text}"));
            }
            _ => reader.wrong(condition.expr.span, "`condition` must be true or false"),
        }
    }
}
