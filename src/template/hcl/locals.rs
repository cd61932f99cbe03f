//! Locals and data sources: in which order they can be evaluated, and the circles in which they cannot.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    config::Config,
    names::{DATA, Known, Values},
    options::{Bound, Reader},
    variables::deep,
};
use crate::hcl::{
    Body, Data, Span, Value,
    ast::{Expr, Step},
};

/// Something that others can name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Local(String),
    Data(String, String),
}

impl Item {
    fn shown(&self) -> String {
        match self {
            Self::Local(name) => format!("local.{name}"),
            Self::Data(kind, name) => format!("data.{kind}.{name}"),
        }
    }
}

/// Evaluates all locals. Data sources that are not in `data` yet have unknown values; those that could be asked now, since
/// all they depend on is known, are answered in order.
pub(super) fn resolve(
    config: &Config<'_>,
    data: &mut BTreeMap<(String, String), Value>,
    reader: &Reader<'_>,
) -> Values {
    // Those in a circle, and those that cannot be evaluated, stay unknown: nothing else follows from the one error.
    let mut locals: Values = config.locals.keys().map(|name| (name.clone(), Value::unknown(DATA))).collect();
    for key in config.data.keys() {
        data.entry(key.clone()).or_insert_with(|| Value::unknown(DATA));
    }
    for item in order(config, reader) {
        let Item::Local(name) = item else { continue };
        let Some(local) = config.locals.get(&name) else { continue };
        let known = Known { locals: Some(&locals), data: Some(&*data), ..reader.known };
        let reader = Reader { known, ..*reader };
        let Some(value) = reader.value(local.expr, &Bound::new()) else { continue };
        let is_sensitive = local.sensitive.is_some_and(|expr| {
            let value = reader.value(expr, &Bound::new());
            match value.map(|value| value.data) {
                Some(Data::Bool(sensitive)) => sensitive,
                _ => {
                    reader.wrong(expr.span, "`sensitive` must be true or false");
                    true
                }
            }
        });
        let value = if is_sensitive { deep(value) } else { value };
        value.sensitive_texts(&mut |text| reader.keep_secret(text));
        locals.insert(name, value);
    }
    locals
}

/// All locals and data sources, each behind those it names. Those in a circle are left out, and the circle is noted.
fn order(config: &Config<'_>, reader: &Reader<'_>) -> Vec<Item> {
    let mut needs: BTreeMap<Item, Vec<Item>> = BTreeMap::new();
    for (name, local) in &config.locals {
        let mut found = BTreeSet::new();
        in_expr(local.expr, config, &mut found);
        needs.insert(Item::Local(name.clone()), found.into_iter().collect());
    }
    for ((kind, name), source) in &config.data {
        let mut found = BTreeSet::new();
        in_body(source.body, config, &mut found);
        needs.insert(Item::Data(kind.clone(), name.clone()), found.into_iter().collect());
    }
    let place = |item: &Item| match item {
        Item::Local(name) => config.locals.get(name).map_or(Span::default(), |local| local.span),
        Item::Data(kind, name) => {
            config.data.get(&(kind.clone(), name.clone())).map_or(Span::default(), |data| data.span)
        }
    };
    let (mut ordered, mut done, mut in_circle) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for start in needs.keys() {
        // The way down, each with how many of its needs were looked at. A stack of our own: chains can be long.
        let mut way: Vec<(&Item, usize)> = vec![(start, 0)];
        while let Some((item, looked_at)) = way.last_mut() {
            let item = *item;
            if done.contains(item) {
                way.pop();
                continue;
            }
            match needs.get(item).and_then(|needs| needs.get(*looked_at)) {
                None => {
                    done.insert(item.clone());
                    ordered.push(item.clone());
                    way.pop();
                }
                Some(next) => {
                    *looked_at += 1;
                    if let Some(from) = way.iter().position(|(on_way, _)| *on_way == next) {
                        let circle: Vec<&Item> = way[from..].iter().map(|(item, _)| *item).collect();
                        if circle.iter().all(|item| in_circle.insert((*item).clone())) {
                            let names: Vec<String> =
                                circle.iter().copied().chain([next]).map(Item::shown).collect();
                            let names = names.join(" → ");
                            reader.wrong(
                                place(next),
                                format!("these refer to each other in a circle: {names}"),
                            );
                        }
                    } else if !done.contains(next) {
                        way.push((next, 0));
                    }
                }
            }
        }
    }
    ordered.retain(|item| !in_circle.contains(item));
    ordered
}

fn in_body(body: &Body, config: &Config<'_>, found: &mut BTreeSet<Item>) {
    body.attributes.iter().for_each(|attribute| in_expr(&attribute.expr, config, found));
    body.blocks.iter().for_each(|block| in_body(&block.body, config, found));
}

fn in_expr(expr: &Expr, config: &Config<'_>, found: &mut BTreeSet<Item>) {
    expr.references(&mut |root, steps, _| {
        let step = |index: usize| steps.get(index).and_then(Step::name).map(|(name, _)| name.to_owned());
        match (root, step(0), step(1)) {
            ("local", Some(name), _) if config.locals.contains_key(&name) => {
                found.insert(Item::Local(name));
            }
            // All of them are meant.
            ("local", None, _) => found.extend(config.locals.keys().cloned().map(Item::Local)),
            ("data", Some(kind), Some(name)) if config.data.contains_key(&(kind.clone(), name.clone())) => {
                found.insert(Item::Data(kind, name));
            }
            _ => {}
        }
    });
}
