//! Texts with something to evaluate in them.

use super::{
    Errors, Evaluated, Evaluator, MOST_ERRORS, Scope,
    collections::{bind, items_of},
    operators::truth,
    unknown, wrong,
};
use crate::hcl::{
    Cause, Data, Span, Type, Value,
    ast::{Expr, Part},
};

/// A text as it comes together.
#[derive(Default)]
struct Writing {
    text: String,
    sensitive: bool,
    waits_for: Option<Cause>,
    errors: Errors,
}

impl Evaluator<'_> {
    /// A text; but a template that is one `${…}` and nothing else is that value, whatever its type.
    pub(super) fn template(&self, parts: &[Part], span: Span, scope: &Scope<'_>) -> Evaluated {
        if let [Part::Value(expr)] = parts {
            return self.eval(expr, scope);
        }
        let mut writing = Writing::default();
        self.write(parts, span, scope, &mut writing);
        let Writing { text, sensitive, waits_for, errors } = writing;
        if !errors.0.is_empty() {
            return Err(errors);
        }
        Ok(match waits_for {
            Some(cause) => unknown(cause, sensitive),
            None => Value::from(text).marked(sensitive),
        })
    }

    fn write(&self, parts: &[Part], span: Span, scope: &Scope<'_>, writing: &mut Writing) {
        for part in parts {
            if let Err(Errors(errors)) = self.write_part(part, span, scope, writing) {
                writing.errors.0.extend(errors);
            }
            if writing.errors.0.len() > MOST_ERRORS {
                break;
            }
        }
    }

    fn write_part(
        &self,
        part: &Part,
        span: Span,
        scope: &Scope<'_>,
        writing: &mut Writing,
    ) -> Result<(), Errors> {
        match part {
            Part::Text(text) => self.push(text, span, writing),
            Part::Value(expr) => {
                let value = self.eval(expr, scope)?;
                writing.sensitive |= value.sensitive;
                self.push_value(value, expr, writing)
            }
            Part::If { condition, then, otherwise } => {
                let decides = self.eval(condition, scope)?;
                writing.sensitive |= decides.sensitive;
                if let Data::Unknown(found) = &decides.data {
                    wait(writing, found.cause);
                    return Ok(());
                }
                let branch = if truth(decides, condition.span)? { then } else { otherwise };
                self.write(branch, span, scope, writing);
                Ok(())
            }
            Part::For { names, collection, body } => {
                let items = self.eval(collection, scope)?;
                writing.sensitive |= items.sensitive;
                if let Data::Unknown(found) = &items.data {
                    wait(writing, found.cause);
                    return Ok(());
                }
                for (key, value) in items_of(&items, collection.span)? {
                    let bound = bind(names, key, value);
                    self.write(body, span, &Scope { above: Some(scope), bound: &bound }, writing);
                    if !writing.errors.0.is_empty() {
                        break; // Each further round would fail in the same way.
                    }
                }
                Ok(())
            }
        }
    }

    fn push_value(&self, value: Value, expr: &Expr, writing: &mut Writing) -> Result<(), Errors> {
        match &value.data {
            Data::Unknown(found) => {
                wait(writing, found.cause);
                Ok(())
            }
            Data::Null => Err(wrong(expr.span, "null cannot be put into a text")),
            Data::Sequence(..) | Data::Map(..) => Err(wrong(
                expr.span,
                format!(
                    "{} cannot be put into a text; use `jsonencode`, or `join` for a list",
                    value.kind_name()
                ),
            )),
            _ => {
                let text = Type::Text.convert(value).map_err(|message| wrong(expr.span, message))?;
                self.push(text.as_text().unwrap_or_default(), expr.span, writing)
            }
        }
    }

    fn push(&self, text: &str, span: Span, writing: &mut Writing) -> Result<(), Errors> {
        self.budget.room(text.len()).map_err(|message| wrong(span, message))?;
        writing.text.push_str(text);
        Ok(())
    }
}

fn wait(writing: &mut Writing, cause: Cause) {
    writing.waits_for = Some(writing.waits_for.map_or(cause, |before| before.and(cause)));
}
