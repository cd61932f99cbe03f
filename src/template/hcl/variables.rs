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
        Data, Diagnostic, Errors, Evaluator, Offsets, Span, Type, Value,
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
    /// A text, and where it stands in the request.
    Text(&'a str, Where<'a>),
    /// An expression of a file.
    File(&'a Expr),
}

/// Where the request has a text.
#[derive(Clone, Copy)]
enum Where<'a> {
    Environment(&'a str),
    Variables(&'a str),
}

impl Where<'_> {
    fn pointer(self) -> String {
        match self {
            Self::Environment(name) => format!("/env/{}", pointer_token(name)),
            Self::Variables(name) => format!("/variables/{}", pointer_token(name)),
        }
    }
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
            given.insert(variable, Given::Text(value, Where::Environment(name)));
        }
    }
    for file in loaded.auto_values.iter().chain(&loaded.values) {
        from_file(file, config, reader, &mut given, notices);
    }
    for (name, value) in &request.variables {
        if config.variables.contains_key(name) {
            given.insert(name, Given::Text(value, Where::Variables(name)));
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
        let found = value_of(name, variable, given.get(name.as_str()).copied(), reader);
        let value = match found {
            Ok(value) => {
                value.sensitive_texts(&mut |text| reader.keep_secret(text));
                validate(name, variable, &value, reader);
                value
            }
            // Not known, so that nothing else follows from the one error.
            Err(Wrong::InRequest(place, detail)) => {
                request_errors.push(FieldProblem {
                    pointer: request.option_pointer(&place.pointer()),
                    ..FieldProblem::new(format!("the variable `{name}`: {detail}"))
                });
                Value::unknown(DATA)
            }
            Err(Wrong::InTemplate(errors)) => {
                reader.wrong.borrow_mut().extend(errors);
                Value::unknown(DATA)
            }
        };
        values.insert(name.clone(), value);
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

/// Why a variable has no value.
enum Wrong<'a> {
    /// What the request gives cannot be it.
    InRequest(Where<'a>, String),
    InTemplate(Vec<Diagnostic>),
}

impl From<Diagnostic> for Wrong<'_> {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::InTemplate(vec![diagnostic])
    }
}

/// The value of a variable, converted and marked.
fn value_of<'a>(
    name: &str,
    variable: &Variable<'_>,
    given: Option<Given<'a>>,
    reader: &Reader<'_>,
) -> Result<Value, Wrong<'a>> {
    let constant = |expr: &Expr| constant(expr, reader);
    let of = variable.of.map(|of| type_of(of, &constant)).transpose()?;
    let sensitive = match variable.sensitive.map(|expr| (expr.span, constant(expr))) {
        None => false,
        Some((_, Ok(Value { data: Data::Bool(sensitive), .. }))) => sensitive,
        Some((span, _)) => {
            reader.wrong(span, "`sensitive` must be true or false");
            true
        }
    };
    // Only here functions see the environment.
    let default = |expr: &Expr| {
        let names = Values::new();
        let known = Known::variables(&names, reader.known.root);
        let evaluated = Evaluator::new(&known, reader.world, reader.budget).evaluate(expr);
        evaluated.map_err(|Errors(errors)| Wrong::InTemplate(errors))
    };
    let wrong = |span: Span, message: String| Diagnostic {
        span,
        message: format!("the variable `{name}`: {message}"),
    };
    let value = match (given, variable.default) {
        (None, Some(expr)) => {
            let wanted = of.as_ref().map_or(Wanted::Anything, Wanted::Of);
            wanted.fit(default(expr)?).map_err(|message| wrong(expr.span, message))?
        }
        (None, None) => {
            let message = format!(
                "the variable `{name}` has no default, so the request must give it a value, e.g. `-var {name}=…`"
            );
            return Err(Diagnostic { span: variable.span, message }.into());
        }
        (Some(given), expr) => {
            // Without a type it is the default that says what a value must be.
            let wanted = match (&of, expr) {
                (Some(of), _) => Wanted::Of(of),
                (None, Some(expr)) => Wanted::Like(default(expr)?),
                (None, None) => Wanted::Anything,
            };
            match given {
                Given::File(expr) => {
                    wanted.fit(constant(expr)?).map_err(|message| wrong(expr.span, message))?
                }
                Given::Text(text, place) => of_text(text, wanted.is_text())
                    .and_then(|value| wanted.fit(value))
                    .map_err(|message| Wrong::InRequest(place, message))?,
            }
        }
    };
    Ok(if sensitive { deep(value) } else { value })
}

/// What a value must be.
enum Wanted<'t> {
    Of(&'t Type),
    /// Of the kind of the default. Packer wants as many items as that has, and the same members; any will do here.
    Like(Value),
    Anything,
}

impl Wanted<'_> {
    /// Whether a text that is given is taken as it is; else it is an expression.
    const fn is_text(&self) -> bool {
        match self {
            Self::Of(of) => matches!(of, Type::Text | Type::Number | Type::Bool | Type::Any),
            Self::Like(default) => !matches!(default.data, Data::Sequence(..) | Data::Map(..)),
            Self::Anything => true,
        }
    }

    fn fit(&self, value: Value) -> Result<Value, String> {
        let default = match self {
            Self::Of(of) => return of.convert(value),
            Self::Anything => return Ok(value),
            Self::Like(default) => default,
        };
        match &default.data {
            Data::Bool(_) => Type::Bool.convert(value),
            Data::Number(_) => Type::Number.convert(value),
            Data::Text(_) => Type::Text.convert(value),
            Data::Sequence(..) if value.items().is_none() && !value.is_null() => {
                Err(format!("a list is needed, as its default is one, not {}", value.kind_name()))
            }
            Data::Map(..) if value.members().is_none() && !value.is_null() => {
                Err(format!("an object is needed, as its default is one, not {}", value.kind_name()))
            }
            _ => Ok(value),
        }
    }
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

/// A text as the value of a variable.
fn of_text(text: &str, is_text: bool) -> Result<Value, String> {
    if is_text {
        return Ok(text.into());
    }
    let broken = || "it must be written as an expression, such as `true` or `[\"a\", \"b\"]`".to_owned();
    let expr = parse_expression(text, &Offsets::fixed(0)).map_err(|_| broken())?;
    let names = Values::new();
    let budget = crate::hcl::Budget::default();
    let nothing = super::world::Unpacked { folder: None, now: chrono::Utc::now() };
    Evaluator::new(&names, &nothing, &budget).evaluate(&expr).map_err(|_| broken())
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
