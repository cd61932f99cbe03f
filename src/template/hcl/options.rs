//! Bodies of options → the nodes that all options are read from, whatever the form of the template: expressions are
//! evaluated, `dynamic` blocks expanded, blocks become lists of objects.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use super::{
    late::{names_deferred, placeholder},
    names::{BUILD, DATA, Known},
    world::World,
};
use crate::{
    hcl::{
        Block, Body, Budget, Data, Deferred, Diagnostic, Errors, Evaluator, Label, SequenceKind, Span, Value,
        ast::{Expr, Kind as ExprKind, Part},
    },
    template::{
        json::reader::{Kind, Member, Node},
        render::DEFERRED,
    },
};

/// Names that `dynamic` blocks bind, with their values.
pub(super) type Bound = Vec<(Arc<str>, Value)>;

/// Blocks that `dynamic` blocks of one body may make.
const MOST_BLOCKS: usize = 2000;

/// Evaluates what stands at one place of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) known: Known<'a>,
    pub(super) world: &'a World<'a>,
    pub(super) budget: &'a Budget,
    pub(super) wrong: &'a RefCell<Vec<Diagnostic>>,
    /// Texts that must not appear in logs.
    pub(super) secrets: &'a RefCell<BTreeSet<String>>,
    /// Expressions that wait for the VM.
    pub(super) deferred: &'a RefCell<Vec<Deferred>>,
}

/// A block, of the text or made by a `dynamic` one.
pub(super) struct Opened<'b> {
    pub(super) name: String,
    pub(super) name_span: Span,
    pub(super) labels: Vec<Label>,
    pub(super) body: &'b Body,
    pub(super) bound: Bound,
}

impl<'a> Reader<'a> {
    pub(super) fn wrong(&self, span: Span, message: impl Into<String>) {
        self.wrong.borrow_mut().push(Diagnostic { span, message: message.into() });
    }

    fn evaluator(&self) -> Evaluator<'_> {
        Evaluator::new(&self.known, self.world, self.budget)
    }

    /// The value of an expression; what is wrong with it is noted.
    pub(super) fn value(&self, expr: &Expr, bound: &Bound) -> Option<Value> {
        match self.evaluator().evaluate_with(expr, bound) {
            Ok(value) => {
                value.sensitive_texts(&mut |text| self.keep_secret(text));
                Some(value)
            }
            Err(Errors(errors)) => {
                self.wrong.borrow_mut().extend(errors);
                None
            }
        }
    }

    pub(super) fn keep_secret(&self, text: &str) {
        let mut secrets = self.secrets.borrow_mut();
        if !text.is_empty() && !secrets.contains(text) {
            secrets.insert(text.to_owned());
        }
    }

    /// An object of all attributes and blocks of a body.
    pub(super) fn object(&self, body: &Body, bound: &Bound, at: Span) -> Node {
        Node { at: at.start, kind: Kind::Object(self.members(body, bound, &[])) }
    }

    /// The attributes and blocks of a body but for these.
    pub(super) fn members(&self, body: &Body, bound: &Bound, without: &[&str]) -> Vec<Member> {
        let mut members: Vec<Member> = Vec::new();
        for attribute in
            body.attributes.iter().filter(|attribute| !without.contains(&attribute.name.as_str()))
        {
            // What cannot be evaluated is given all the same; nothing else shall follow from the one error.
            let value = match self.value(&attribute.expr, bound) {
                Some(value) => self.node(Some(&attribute.expr), &value, attribute.expr.span),
                None => Node { at: attribute.expr.span.start, kind: Kind::Unknown },
            };
            members.push(Member { name: attribute.name.clone(), at: attribute.name_span.start, value });
        }
        for block in self.blocks(body, bound) {
            if without.contains(&block.name.as_str()) {
                continue;
            }
            for label in &block.labels {
                self.wrong(label.span, format!("a block `{}` has no labels here", block.name));
            }
            let object = self.object(block.body, &block.bound, block.name_span);
            match members.iter_mut().find(|member| member.name == block.name) {
                None => members.push(Member {
                    name: block.name,
                    at: block.name_span.start,
                    value: Node { at: block.name_span.start, kind: Kind::Array(vec![object]) },
                }),
                Some(member) if is_block(body, member) => add_block(member, object),
                Some(_) => self.wrong(
                    block.name_span,
                    format!(
                        "`{}` is given as an attribute and as a block; give it as one of them",
                        block.name
                    ),
                ),
            }
        }
        members
    }

    /// The blocks of a body, `dynamic` ones expanded.
    pub(super) fn blocks<'b>(&self, body: &'b Body, bound: &Bound) -> Vec<Opened<'b>> {
        let mut opened = Vec::new();
        for block in &body.blocks {
            if block.name == "dynamic" {
                self.expand(block, bound, &mut opened);
            } else {
                opened.push(Opened {
                    name: block.name.clone(),
                    name_span: block.name_span,
                    labels: block.labels.clone(),
                    body: &block.body,
                    bound: bound.clone(),
                });
            }
        }
        opened
    }

    fn expand<'b>(&self, block: &'b Block, bound: &Bound, opened: &mut Vec<Opened<'b>>) {
        let [label] = block.labels.as_slice() else {
            self.wrong(block.name_span, "a `dynamic` block has one label: the name of the blocks it makes");
            return;
        };
        for attribute in &block.body.attributes {
            if !["for_each", "iterator", "labels"].contains(&attribute.name.as_str()) {
                self.wrong(
                    attribute.name_span,
                    format!(
                        "a `dynamic` block has no `{}`; known are `for_each`, `iterator` and `labels`",
                        attribute.name
                    ),
                );
            }
        }
        let contents: Vec<&Block> =
            block.body.blocks.iter().filter(|inner| inner.name == "content").collect();
        if let Some(other) = block.body.blocks.iter().find(|inner| inner.name != "content") {
            self.wrong(
                other.name_span,
                format!("a `dynamic` block has no block `{}`; put it into `content`", other.name),
            );
        }
        let [content] = contents.as_slice() else {
            self.wrong(block.name_span, "a `dynamic` block needs one block `content`");
            return;
        };
        let Some(for_each) = block.body.attribute("for_each") else {
            self.wrong(block.name_span, "a `dynamic` block needs `for_each`: what to go through");
            return;
        };
        let iterator: Arc<str> = match block.body.attribute("iterator").map(|iterator| &iterator.expr) {
            None => label.text.as_str().into(),
            Some(Expr { kind: ExprKind::Name(name) | ExprKind::Text(name), .. }) => Arc::clone(name),
            Some(other) => {
                self.wrong(other.span, "`iterator` must be a plain name");
                return;
            }
        };
        let Some(collection) = self.value(&for_each.expr, bound) else { return };
        let items: Vec<(Value, Value)> = match &collection.data {
            // An item of a set has no number.
            Data::Sequence(SequenceKind::Set, items) => {
                items.iter().map(|item| (item.clone(), item.clone())).collect()
            }
            Data::Sequence(_, items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| (Value::from(i64::try_from(index).unwrap_or(i64::MAX)), item.clone()))
                .collect(),
            Data::Map(_, members) => {
                members.iter().map(|(name, value)| (Value::from(name.as_str()), value.clone())).collect()
            }
            Data::Null => Vec::new(),
            // Blocks are made once the data source has been asked.
            Data::Unknown(unknown) if !unknown.cause.includes(BUILD) => return,
            _ => {
                self.wrong(
                    for_each.expr.span,
                    format!(
                        "`for_each` goes through a list, a set or a map, not through {}",
                        collection.kind_name()
                    ),
                );
                return;
            }
        };
        if opened.len() + items.len() > MOST_BLOCKS {
            self.wrong(for_each.expr.span, format!("a body has at most {MOST_BLOCKS} blocks"));
            return;
        }
        for (key, value) in items {
            let mut bound = bound.clone();
            let each = [("key".to_owned(), key), ("value".to_owned(), value.marked(collection.sensitive))];
            bound.push((Arc::clone(&iterator), Value::object(each.into())));
            let labels = match block.body.attribute("labels") {
                None => Vec::new(),
                Some(labels) => match self.value(&labels.expr, &bound) {
                    None => return,
                    Some(value) => {
                        let texts: Option<Vec<Label>> = value.items().map(|items| {
                            let texts = items.iter().filter_map(Value::as_text);
                            texts
                                .map(|text| Label { text: text.to_owned(), span: labels.expr.span })
                                .collect()
                        });
                        let Some(texts) = texts else {
                            self.wrong(labels.expr.span, "`labels` must be a list of texts");
                            return;
                        };
                        texts
                    }
                },
            };
            opened.push(Opened {
                name: label.text.clone(),
                name_span: block.name_span,
                labels,
                body: &content.body,
                bound,
            });
        }
    }

    /// A value as a node. Where the expression shows the same structure, each part is said to stand where it does.
    pub(super) fn node(&self, expr: Option<&Expr>, value: &Value, span: Span) -> Node {
        let kind = match &value.data {
            Data::Null => Kind::Null,
            Data::Bool(value) => Kind::Bool(*value),
            Data::Number(number) => Kind::Number(number.to_string()),
            Data::Text(text) => {
                self.refuse_deferred(text, span);
                Kind::String(text.to_string())
            }
            Data::Sequence(_, items) => {
                let exprs = match expr.map(|expr| &expr.kind) {
                    Some(ExprKind::List(exprs)) if exprs.len() == items.len() => Some(exprs),
                    _ => None,
                };
                Kind::Array(
                    items
                        .iter()
                        .enumerate()
                        .map(|(index, item)| {
                            let expr = exprs.and_then(|exprs| exprs.get(index));
                            self.node(expr, item, expr.map_or(span, |expr| expr.span))
                        })
                        .collect(),
                )
            }
            Data::Map(_, members) => {
                let written = |name: &str| match expr.map(|expr| &expr.kind) {
                    Some(ExprKind::Object(pairs)) => pairs
                        .iter()
                        .find(|(key, _)| matches!(&key.kind, ExprKind::Text(text) if text.as_ref() == name)),
                    _ => None,
                };
                Kind::Object(
                    members
                        .iter()
                        .map(|(name, value)| {
                            let pair = written(name);
                            let value_span = pair.map_or(span, |(_, expr)| expr.span);
                            Member {
                                name: name.clone(),
                                at: pair.map_or(span, |(key, _)| key.span).start,
                                value: self.node(pair.map(|(_, expr)| expr), value, value_span),
                            }
                        })
                        .collect(),
                )
            }
            Data::Unknown(unknown) if unknown.cause.includes(DATA) => Kind::Unknown,
            Data::Unknown(unknown) => match &unknown.origin {
                Some(origin) => Kind::String(self.deferred_text(origin, span)),
                None => Kind::Unknown,
            },
        };
        Node { at: span.start, kind }
    }

    /// The text of an expression that waits for the VM, with what is known of it settled: an entry `NAME=${build.Host}`
    /// must still be seen to begin with `NAME=`.
    fn deferred_text(&self, origin: &Deferred, span: Span) -> String {
        let defer = |expr: &Expr| self.defer(Deferred { expr: expr.clone(), ..origin.clone() });
        let ExprKind::Template(parts) = &origin.expr.kind else { return defer(&origin.expr) };
        let bound: Bound =
            origin.bound.iter().map(|(name, value)| (Arc::from(name.as_str()), value.clone())).collect();
        // The text without what is evaluated later.
        let mut known = String::new();
        let mut settle = |text: String| {
            known.push_str(&text);
            text
        };
        let texts = parts.iter().map(|part| match part {
            Part::Text(text) => settle(text.to_string()),
            Part::Value(expr) => {
                match self.evaluator().evaluate_with(expr, &bound).ok().map(|value| value.data) {
                    Some(Data::Text(text)) => settle(text.to_string()),
                    Some(Data::Number(number)) => settle(number.to_string()),
                    Some(Data::Bool(value)) => settle(value.to_string()),
                    _ => defer(expr),
                }
            }
            Part::If { .. } | Part::For { .. } => defer(&Expr::new(
                origin.expr.span,
                ExprKind::Template(vec![Part::Text("".into()), part.clone()]),
            )),
        });
        let text = texts.collect();
        self.refuse_deferred(&known, span);
        text
    }

    /// What stands for an expression that waits must not come from the template itself.
    fn refuse_deferred(&self, text: &str, span: Span) {
        if names_deferred(text) {
            self.wrong(span, format!("there is no function `{DEFERRED}`"));
        }
    }

    /// Notes an expression for when the VM runs; answers what stands for it in a text.
    fn defer(&self, deferred: Deferred) -> String {
        let mut all = self.deferred.borrow_mut();
        if let Err(message) = self.budget.late(&deferred) {
            self.wrong(deferred.expr.span, message);
            return String::new();
        }
        all.push(deferred);
        placeholder(all.len() - 1)
    }
}

/// Whether a member of a body is a block, or several. In JSON what looks like one is one.
pub(super) fn is_block(body: &Body, member: &Member) -> bool {
    match &member.value.kind {
        _ if body.attribute(&member.name).is_none() => true,
        Kind::Object(_) => body.is_json,
        Kind::Array(items) => body.is_json && items.iter().all(|item| matches!(item.kind, Kind::Object(_))),
        _ => false,
    }
}

/// Adds a block, or several, to those of a member.
pub(super) fn add_block(member: &mut Member, block: Node) {
    let more = match block.kind {
        Kind::Array(blocks) => blocks,
        kind => vec![Node { at: block.at, kind }],
    };
    match &mut member.value.kind {
        Kind::Array(blocks) => blocks.extend(more),
        only => {
            let first = Node { at: member.value.at, kind: std::mem::replace(only, Kind::Null) };
            *only = Kind::Array(std::iter::once(first).chain(more).collect());
        }
    }
}
