//! Calls: arguments are converted to what the function takes; the few functions that see their arguments unevaluated are
//! here.

use std::{collections::BTreeMap, sync::Arc};

use super::{Errors, Evaluated, Evaluator, Scope, unknown, wrong};
use crate::hcl::{
    Cause, Data, Span, Type, Value,
    ast::{Call, Expr, Kind},
    functions::{self, Arguments, Failure, Function, Parameter},
    parse::{Offsets, parse_template},
};

/// Steps that an error costs which nobody sees: its message is work, too.
const HIDDEN_ERROR: usize = 200;

/// Functions that see their arguments unevaluated, or evaluate something themselves.
pub const SPECIAL: [&str; 4] = ["try", "can", "convert", "templatefile"];

impl Evaluator<'_> {
    pub(super) fn call(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Evaluated {
        match call.name.as_ref() {
            "try" => self.attempt(call, span, scope),
            "can" => self.can(call, span, scope),
            "convert" => self.convert(call, span, scope),
            name => {
                if name != "templatefile" && !functions::all().contains_key(name) {
                    return Err(wrong(call.name_span, self.unknown_function(name)));
                }
                let values = self.arguments(call, scope)?;
                match values {
                    Given::Unknown(value) => Ok(value),
                    Given::Values(values) if name == "templatefile" => {
                        self.template_file(&values, call, span)
                    }
                    Given::Values(values) => match functions::all().get(name) {
                        Some(function) => self.invoke(function, values, call, span),
                        None => Err(wrong(call.name_span, self.unknown_function(name))),
                    },
                }
            }
        }
    }

    /// The arguments' values; the last one is spread if it is followed by `...`.
    fn arguments(&self, call: &Call, scope: &Scope<'_>) -> Result<Given, Errors> {
        let mut values = self.all(&call.arguments, scope)?;
        if !call.expand_last {
            return Ok(Given::Values(values));
        }
        let span = call.arguments.last().map_or(call.name_span, |last| last.span);
        let Some(last) = values.pop() else {
            return Err(wrong(call.name_span, "there is nothing before `...`"));
        };
        match &last.data {
            Data::Unknown(found) => Ok(Given::Unknown(unknown(found.cause, last.sensitive))),
            Data::Sequence(_, items) => {
                values.extend(items.iter().map(|item| item.clone().marked(last.sensitive)));
                Ok(Given::Values(values))
            }
            _ => {
                Err(wrong(span, format!("what stands before `...` must be a list, not {}", last.kind_name())))
            }
        }
    }

    fn invoke(&self, function: &Function, values: Vec<Value>, call: &Call, span: Span) -> Evaluated {
        let place = |index: usize| {
            call.arguments.get(index).or(call.arguments.last()).map_or(span, |argument| argument.span)
        };
        let name = function.name;
        let least = function.parameters.len();
        if values.len() < least || (function.rest.is_none() && values.len() > least) {
            let wanted = match (least, function.rest.is_some()) {
                (least, true) => format!("at least {least} argument{}", plural(least)),
                (0, false) => "no arguments".to_owned(),
                (least, false) => format!("{least} argument{}", plural(least)),
            };
            return Err(wrong(span, format!("`{name}` takes {wanted}, not {}", values.len())));
        }
        let mut errors = Errors::default();
        let mut converted = Vec::with_capacity(values.len());
        let mut waits_for: Option<Cause> = None;
        let mut sensitive = false;
        for (index, value) in values.into_iter().enumerate() {
            let parameter =
                function.parameters.get(index).copied().or(function.rest).unwrap_or(Parameter::Any);
            if !function.moves_only {
                self.budget.walk(&value).map_err(|message| wrong(place(index), message))?;
            }
            let waits = if function.moves_only {
                match &value.data {
                    Data::Unknown(unknown) => Some(unknown.cause),
                    _ => None,
                }
            } else {
                value.waits_for()
            };
            waits_for = match (waits_for, waits) {
                (Some(before), Some(more)) => Some(before.and(more)),
                (before, more) => before.or(more),
            };
            sensitive |= if function.moves_only { value.sensitive } else { value.holds_sensitive() };
            match fit(parameter, value) {
                Ok(value) => converted.push(value),
                Err(message) => {
                    let number = index + 1;
                    errors
                        .0
                        .extend(wrong(place(index), format!("argument {number} of `{name}`: {message}")).0);
                }
            }
        }
        if !errors.0.is_empty() {
            return Err(errors);
        }
        if let Some(cause) = waits_for {
            return Ok(unknown(cause, sensitive));
        }
        let arguments = Arguments { values: converted, host: self.host, budget: self.budget };
        match (function.body)(&arguments) {
            Ok(answer) => Ok(answer.marked(sensitive)),
            Err(Failure { argument: Some(index), message }) => {
                Err(wrong(place(index), format!("argument {} of `{name}` {message}", index + 1)))
            }
            Err(Failure { argument: None, message }) => Err(wrong(span, format!("`{name}`: {message}"))),
        }
    }

    /// `try(…)`: the first argument that evaluates.
    fn attempt(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Evaluated {
        let mut last = wrong(span, "`try` takes at least one argument");
        for argument in &call.arguments {
            match self.eval(argument, scope) {
                // What is not known yet may still fail, and then another argument would be the answer.
                Ok(value) => match value.waits_for() {
                    Some(cause) if call.arguments.len() > 1 => return Ok(unknown(cause, value.sensitive)),
                    _ => return Ok(value),
                },
                Err(errors) if self.budget.is_spent() => return Err(errors),
                Err(errors) => {
                    self.budget.steps(HIDDEN_ERROR).map_err(|message| wrong(span, message))?;
                    last = errors;
                }
            }
        }
        Err(last)
    }

    /// `can(…)`: whether its argument evaluates.
    fn can(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Evaluated {
        let [argument] = call.arguments.as_slice() else {
            return Err(wrong(span, "`can` takes one argument"));
        };
        match self.eval(argument, scope) {
            Ok(value) => Ok(match value.waits_for() {
                Some(cause) => unknown(cause, value.sensitive),
                None => true.into(),
            }),
            Err(errors) if self.budget.is_spent() => Err(errors),
            Err(_) => {
                self.budget.steps(HIDDEN_ERROR).map_err(|message| wrong(span, message))?;
                Ok(false.into())
            }
        }
    }

    /// `convert(value, type)`
    fn convert(&self, call: &Call, span: Span, scope: &Scope<'_>) -> Evaluated {
        let [value, wanted] = call.arguments.as_slice() else {
            return Err(wrong(span, "`convert` takes a value and a type, such as `list(string)`"));
        };
        let value = self.eval(value, scope)?;
        let constant =
            |expr: &Expr| self.eval(expr, scope).map_err(|Errors(mut errors)| errors.swap_remove(0));
        let wanted = Type::of_expression(wanted, &constant)?;
        // What a part becomes shows once it is known, and for a set how many there are.
        if let Some(cause) = value.waits_for().filter(|_| wanted != Type::Any) {
            return Ok(unknown(cause, value.holds_sensitive()));
        }
        wanted.convert(value).map_err(|message| wrong(span, message))
    }

    /// `templatefile(path, values)`: a file as a template. Only the values given can be named in it.
    fn template_file(&self, values: &[Value], call: &Call, span: Span) -> Evaluated {
        if self.is_in_file {
            return Err(wrong(span, "`templatefile` cannot be called within such a file"));
        }
        let [path, given] = values else {
            return Err(wrong(
                span,
                format!(
                    "`templatefile` takes a path and an object of values, not {} arguments",
                    values.len()
                ),
            ));
        };
        let place = |index: usize| call.arguments.get(index).map_or(span, |argument| argument.span);
        if let Some(cause) = path.waits_for() {
            return Ok(unknown(cause, path.sensitive));
        }
        if let Data::Unknown(found) = &given.data {
            return Ok(unknown(found.cause, given.sensitive));
        }
        let path = fit(Parameter::Text, path.clone())
            .map_err(|message| wrong(place(0), format!("argument 1 of `templatefile`: {message}")))?;
        let Some(members) = given.members() else {
            return Err(wrong(
                place(1),
                format!("argument 2 of `templatefile` must be an object, not {}", given.kind_name()),
            ));
        };
        let shown = path.as_text().unwrap_or_default();
        let data = self.host.read(shown).map_err(|message| wrong(place(0), message))?;
        let text = String::from_utf8(data)
            .map_err(|_| wrong(place(0), format!("the file `{shown}` is no UTF-8 text")))?;
        self.budget.room(text.len()).map_err(|message| wrong(span, message))?;
        let parts = parse_template(&text, &Offsets::fixed(place(0).start))
            .map_err(|diagnostic| wrong(place(0), format!("in `{shown}`: {}", diagnostic.message)))?;
        let within = |Errors(errors): Errors| {
            Errors(
                errors
                    .into_iter()
                    .map(|error| super::Diagnostic {
                        span: place(0),
                        message: format!("in `{shown}`: {}", error.message),
                    })
                    .collect(),
            )
        };
        let names: BTreeMap<String, Value> = members
            .iter()
            .map(|(name, value)| (name.clone(), value.clone().marked(given.sensitive)))
            .collect();
        let inside = Evaluator { names: &names, is_in_file: true, ..*self };
        let expr = Expr::new(place(0), Kind::Template(parts));
        let value = inside.eval(&expr, &Scope::EMPTY).map_err(within)?;
        // A file is always a text, even if it is one `${…}` and nothing else.
        Type::Text
            .convert(value)
            .map(|value| value.marked(path.sensitive))
            .map_err(|message| wrong(place(0), message))
    }

    /// The message for a function that does not exist, or not here.
    fn unknown_function(&self, name: &str) -> String {
        if let Some(why) = functions::refusal(name) {
            return format!("the function `{name}` {why}");
        }
        let known = functions::all().keys().copied().chain(SPECIAL);
        let otherwise = "see docs/hcl2.md for the functions there are";
        format!(
            "there is no function `{name}`; {}",
            self.budget.hints.or_did_you_mean(name, known, otherwise)
        )
    }
}

enum Given {
    Values(Vec<Value>),
    Unknown(Value),
}

const fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A value as a parameter takes it. What is unknown stays so.
fn fit(parameter: Parameter, value: Value) -> Result<Value, String> {
    if value.is_unknown() || parameter == Parameter::AnyOrNull {
        return Ok(value);
    }
    if value.is_null() {
        return Err("must not be null".to_owned());
    }
    let each = |of: &Type, value: &Value| -> Result<Value, String> {
        let items = value.items().unwrap_or_default();
        let items = items.iter().enumerate().map(|(index, item)| {
            let item = of.convert(item.clone()).map_err(|message| format!("[{index}]: {message}"))?;
            if item.is_null() { Err(format!("[{index}]: must not be null")) } else { Ok(item) }
        });
        Ok(Value {
            data: Data::Sequence(kind(value), Arc::new(items.collect::<Result<_, _>>()?)),
            sensitive: value.sensitive,
        })
    };
    match parameter {
        Parameter::Any | Parameter::AnyOrNull => Ok(value),
        Parameter::Text => Type::Text.convert(value),
        Parameter::Number => Type::Number.convert(value),
        Parameter::Bool => Type::Bool.convert(value),
        Parameter::Sequence if value.items().is_some() => Ok(value),
        Parameter::Texts if value.items().is_some() => each(&Type::Text, &value),
        Parameter::Numbers if value.items().is_some() => each(&Type::Number, &value),
        Parameter::Map if value.members().is_some() => Ok(value),
        Parameter::Sequence | Parameter::Texts | Parameter::Numbers => {
            Err(format!("a list is needed, not {}", value.kind_name()))
        }
        Parameter::Map => Err(format!("a map or an object is needed, not {}", value.kind_name())),
    }
}

const fn kind(value: &Value) -> crate::hcl::SequenceKind {
    match &value.data {
        Data::Sequence(kind, _) => *kind,
        _ => crate::hcl::SequenceKind::Tuple,
    }
}
