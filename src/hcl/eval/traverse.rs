//! Steps into values: attributes, indexes, splats.

use super::{Errors, Evaluated, Evaluator, Scope, operators::number, unknown, wrong};
use crate::hcl::{
    Data, Span, Type, Value,
    ast::{Expr, Kind, Step},
    suggest::Hints,
};

impl Evaluator<'_> {
    pub(super) fn traverse(&self, base: &Expr, steps: &[Step], span: Span, scope: &Scope<'_>) -> Evaluated {
        let (value, taken) = match &base.kind {
            Kind::Name(name) => self.name(name, steps, span, scope)?,
            _ => (self.eval(base, scope)?, 0),
        };
        self.walk(value, &steps[taken..], scope)
    }

    fn walk(&self, mut value: Value, steps: &[Step], scope: &Scope<'_>) -> Evaluated {
        for (index, step) in steps.iter().enumerate() {
            if let Data::Unknown(found) = &value.data {
                return Ok(unknown(found.cause, value.sensitive));
            }
            let rest = &steps[index + 1..];
            match step {
                Step::Attribute(name, span) => {
                    value = attribute(&value, name, *span, &self.budget.hints)?;
                }
                Step::Index(expr) => {
                    let key = self.eval(expr, scope)?;
                    value = item(&value, key, expr.span, &self.budget.hints)?;
                }
                // The old splat takes along attributes only: `a.*.b[0]` is the first of all `b`.
                Step::AttributeSplat(_) => {
                    let own = rest.iter().take_while(|step| matches!(step, Step::Attribute(..))).count();
                    let all = self.splat(&value, &rest[..own], scope)?;
                    return self.walk(all, &rest[own..], scope);
                }
                Step::FullSplat(_) => return self.splat(&value, rest, scope),
            }
        }
        Ok(value)
    }

    /// Each item with the same steps; a single value counts as a list of one, null as an empty one.
    fn splat(&self, value: &Value, steps: &[Step], scope: &Scope<'_>) -> Evaluated {
        let items: Vec<Value> = match &value.data {
            Data::Null => Vec::new(),
            Data::Sequence(_, items) => items.to_vec(),
            _ => vec![value.clone()],
        };
        let items = items
            .into_iter()
            .map(|item| self.walk(item.marked(value.sensitive), steps, scope))
            .collect::<Result<_, Errors>>()?;
        Ok(Value::tuple(items).marked(value.sensitive))
    }
}

/// A member of an object or a map.
fn attribute(value: &Value, name: &str, span: Span, hints: &Hints) -> Result<Value, Errors> {
    match &value.data {
        Data::Map(_, members) => match members.get(name) {
            Some(member) => Ok(member.clone().marked(value.sensitive)),
            None if value.sensitive => Err(wrong(span, format!("there is no `{name}` in this value"))),
            None => Err(wrong(span, missing(name, members.keys().map(String::as_str), hints))),
        },
        Data::Null => Err(wrong(span, format!("there is no `{name}` in null"))),
        Data::Sequence(..) => Err(wrong(
            span,
            format!(
                "there is no `{name}` in {}; take an item first, as in `[0].{name}`, or all of them, as in `[*].{name}`",
                value.kind_name()
            ),
        )),
        _ => Err(wrong(span, format!("there is no `{name}` in {}", value.kind_name()))),
    }
}

fn missing<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone, hints: &Hints) -> String {
    let listed: Vec<String> = known.clone().take(20).map(|known| format!("`{known}`")).collect();
    let listed =
        if listed.is_empty() { "it is empty".to_owned() } else { format!("known are {}", listed.join(", ")) };
    format!("there is no `{name}` in this value; {}", hints.or_did_you_mean(name, known, &listed))
}

/// An item of a sequence by number, or a member of a map by name.
fn item(value: &Value, key: Value, span: Span, hints: &Hints) -> Result<Value, Errors> {
    if let Data::Unknown(found) = &key.data {
        return Ok(unknown(found.cause, key.sensitive || value.sensitive));
    }
    if let Data::Unknown(found) = &value.data {
        return Ok(unknown(found.cause, key.sensitive || value.sensitive));
    }
    let sensitive = value.sensitive || key.sensitive;
    match &value.data {
        Data::Map(_, members) => {
            let key = Type::Text.convert(key).map_err(|message| wrong(span, message))?;
            let Some(name) = key.as_text() else { return Err(wrong(span, "a key must be a text, not null")) };
            match members.get(name) {
                Some(member) => Ok(member.clone().marked(sensitive)),
                None if sensitive => Err(wrong(span, "the value has no such key")),
                None => Err(wrong(span, missing(name, members.keys().map(String::as_str), hints))),
            }
        }
        Data::Sequence(crate::hcl::SequenceKind::Set, _) => {
            Err(wrong(span, "the items of a set have no order; make a list of it, as in `[for x in … : x]`"))
        }
        Data::Sequence(_, items) => {
            let index = number(key, span)?;
            let found = index
                .whole()
                .and_then(|index| usize::try_from(index).ok())
                .and_then(|index| items.get(index));
            found.map(|item| item.clone().marked(sensitive)).ok_or_else(|| {
                let range = match items.len() {
                    0 => "the list is empty".to_owned(),
                    1 => "the list has one item, `[0]`".to_owned(),
                    length => format!("the list has {length} items, `[0]` to `[{}]`", length - 1),
                };
                wrong(span, format!("there is no item of this number; {range}"))
            })
        }
        _ => Err(wrong(span, format!("nothing can be taken out of {}", value.kind_name()))),
    }
}
