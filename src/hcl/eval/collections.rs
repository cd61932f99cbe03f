//! Lists, objects, and `for`.

use std::{collections::BTreeMap, sync::Arc};

use super::{Errors, Evaluated, Evaluator, MOST_ERRORS, Scope, operators::truth, unknown, wrong};
use crate::hcl::{
    Data, Span, Type, Value,
    ast::{Expr, For, ForNames},
};

impl Evaluator<'_> {
    pub(super) fn list(&self, items: &[Expr], scope: &Scope<'_>) -> Evaluated {
        self.all(items, scope).map(Value::tuple)
    }

    /// Evaluates several expressions; all that is wrong with any of them is an error.
    pub(super) fn all(&self, exprs: &[Expr], scope: &Scope<'_>) -> Result<Vec<Value>, Errors> {
        let mut values = Vec::with_capacity(exprs.len());
        let mut errors = Errors::default();
        for expr in exprs {
            match self.eval(expr, scope) {
                Ok(value) => values.push(value),
                Err(Errors(more)) => errors.0.extend(more),
            }
            if errors.0.len() > MOST_ERRORS {
                break;
            }
        }
        if errors.0.is_empty() { Ok(values) } else { Err(errors) }
    }

    pub(super) fn object(&self, members: &[(Expr, Expr)], scope: &Scope<'_>) -> Evaluated {
        let mut object = BTreeMap::new();
        let mut errors = Errors::default();
        let mut marks = false;
        for (key, value) in members {
            match (self.key(key, scope), self.eval(value, scope)) {
                (Ok((key, sensitive)), Ok(value)) => {
                    marks |= sensitive;
                    object.insert(key, value);
                }
                (Ok(_), Err(Errors(more))) => errors.0.extend(more),
                (Err(KeyError::Unknown(found)), _) => return Ok(found),
                (Err(KeyError::Wrong(Errors(more))), value) => {
                    errors.0.extend(more);
                    errors.0.extend(value.err().map(|errors| errors.0).unwrap_or_default());
                }
            }
            if errors.0.len() > MOST_ERRORS {
                break;
            }
        }
        if errors.0.is_empty() { Ok(Value::object(object).marked(marks)) } else { Err(errors) }
    }

    /// The key of a member, and whether it is sensitive.
    fn key(&self, expr: &Expr, scope: &Scope<'_>) -> Result<(String, bool), KeyError> {
        let value = self.eval(expr, scope).map_err(KeyError::Wrong)?;
        if let Data::Unknown(found) = &value.data {
            return Err(KeyError::Unknown(unknown(found.cause, value.sensitive)));
        }
        let sensitive = value.sensitive;
        let text = Type::Text.convert(value).map_err(|message| {
            KeyError::Wrong(wrong(expr.span, format!("a key must be a text: {message}")))
        })?;
        match text.as_text() {
            Some(text) => Ok((text.to_owned(), sensitive)),
            None => Err(KeyError::Wrong(wrong(expr.span, "a key must be a text, not null"))),
        }
    }

    pub(super) fn for_each(&self, each: &For, span: Span, scope: &Scope<'_>) -> Evaluated {
        let collection = self.eval(&each.collection, scope)?;
        if let Data::Unknown(found) = &collection.data {
            return Ok(unknown(found.cause, collection.sensitive));
        }
        let items = items_of(&collection, each.collection.span)?;
        let mut list = Vec::new();
        let mut object: BTreeMap<String, Value> = BTreeMap::new();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        // What decides which items there are, and under which names, shows in the result.
        let mut marks = collection.sensitive;
        for (key, value) in items {
            let bound = bind(&each.names, key, value);
            let scope = Scope { above: Some(scope), bound: &bound };
            if let Some(condition) = &each.condition {
                let decides = self.eval(condition, &scope)?;
                if let Data::Unknown(found) = &decides.data {
                    return Ok(unknown(found.cause, marks || decides.sensitive));
                }
                marks |= decides.sensitive;
                if !truth(decides, condition.span)? {
                    continue;
                }
            }
            let Some(key_expr) = &each.key else {
                list.push(self.eval(&each.value, &scope)?);
                continue;
            };
            let key = match self.key(key_expr, &scope) {
                Ok((key, sensitive)) => {
                    marks |= sensitive;
                    key
                }
                Err(KeyError::Unknown(found)) => return Ok(found.marked(marks)),
                Err(KeyError::Wrong(errors)) => return Err(errors),
            };
            let value = self.eval(&each.value, &scope)?;
            if each.grouping {
                groups.entry(key).or_default().push(value);
            } else if object.insert(key, value).is_some() {
                return Err(wrong(
                    span,
                    "two items have the same key; add `...` behind the value to group what shares a key",
                ));
            }
        }
        let made = match (&each.key, each.grouping) {
            (None, _) => Value::tuple(list),
            (Some(_), false) => Value::object(object),
            (Some(_), true) => {
                Value::object(groups.into_iter().map(|(key, values)| (key, Value::tuple(values))).collect())
            }
        };
        Ok(made.marked(marks))
    }
}

enum KeyError {
    Unknown(Value),
    Wrong(Errors),
}

/// The names that a round of a `for` binds.
pub(super) fn bind(names: &ForNames, key: Value, value: Value) -> Vec<(Arc<str>, Value)> {
    let key = names.key.iter().map(|name| (Arc::clone(name), key.clone()));
    key.chain([(Arc::clone(&names.value), value)]).collect()
}

/// Keys and values of what a `for` goes through; parts of something sensitive are sensitive.
pub(super) fn items_of(collection: &Value, span: Span) -> Result<Vec<(Value, Value)>, Errors> {
    let sensitive = collection.sensitive;
    match &collection.data {
        Data::Sequence(kind, items) => Ok(items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let item = item.clone().marked(sensitive);
                let key = match kind {
                    crate::hcl::SequenceKind::Set => item.clone(),
                    _ => Value::from(i64::try_from(index).unwrap_or(i64::MAX)),
                };
                (key, item)
            })
            .collect()),
        Data::Map(_, members) => Ok(members
            .iter()
            .map(|(name, value)| (Value::from(name.as_str()), value.clone().marked(sensitive)))
            .collect()),
        _ => Err(wrong(
            span,
            format!("`for` goes through a list, a set or a map, not through {}", collection.kind_name()),
        )),
    }
}
