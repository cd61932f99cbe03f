//! An expression that waits for something, with the values of all other names in it.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Budget, Data, Evaluator, Host, Span, Unknown, Value,
    ast::Expr,
    eval::{Diagnostic, Errors, Evaluated},
};

/// An expression that can be evaluated once the names that are missing are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deferred {
    /// The expression.
    pub expr: Expr,
    /// What is known of the names in it.
    pub names: BTreeMap<String, Value>,
    /// What a `for` or a `dynamic` block around it binds. Parts of that may wait themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bound: BTreeMap<String, Value>,
}

impl Deferred {
    /// Evaluates it, now that `name` has these members; what was known of the name before stays.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn evaluate(
        &self,
        name: &str,
        members: &BTreeMap<String, Value>,
        host: &dyn Host,
        budget: &Budget,
    ) -> Evaluated {
        let _deeper = budget.step().map_err(|message| wrong(self.expr.span, message))?;
        let mut names = self.names.clone();
        let mut all = members.clone();
        if let Some(known) = names.get(name).and_then(Value::members) {
            all.extend(known.clone());
        }
        names.insert(name.to_owned(), Value::object(all));
        let bound = self.bound.iter().map(|(bound, value)| {
            let value = settled(value, &|origin| origin.evaluate(name, members, host, budget))?;
            Ok((Arc::from(bound.as_str()), value))
        });
        let bound: Vec<(Arc<str>, Value)> = bound.collect::<Result<_, Errors>>()?;
        Evaluator::new(&names, host, budget).evaluate_with(&self.expr, &bound)
    }
}

fn wrong(span: Span, message: String) -> Errors {
    Diagnostic { span, message }.into()
}

/// The value with all of it that waits evaluated.
fn settled(value: &Value, evaluate: &dyn Fn(&Deferred) -> Evaluated) -> Evaluated {
    let data = match &value.data {
        Data::Unknown(Unknown { origin: Some(origin), .. }) => {
            return evaluate(origin).map(|found| found.marked(value.sensitive));
        }
        Data::Sequence(kind, items) if value.waits_for().is_some() => {
            let items = items.iter().map(|item| settled(item, evaluate)).collect::<Result<_, _>>()?;
            Data::Sequence(*kind, Arc::new(items))
        }
        Data::Map(kind, members) if value.waits_for().is_some() => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), settled(value, evaluate)?)));
            Data::Map(*kind, Arc::new(members.collect::<Result<_, Errors>>()?))
        }
        other => other.clone(),
    };
    Ok(Value { data, sensitive: value.sensitive })
}
