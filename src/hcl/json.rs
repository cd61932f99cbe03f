//! The JSON form of HCL: names and values of JSON, with templates in the texts. Which members are blocks cannot be seen
//! from the text, so a [`Body`] is made after a [`Schema`].

use super::{
    Span,
    ast::{Expr, Kind, Part},
    body::{Attribute, Block, Body, Label},
    eval::Diagnostic,
    parse::{Offsets, parse_template},
};

/// The blocks that a body can have: name, number of labels, and what is in them. All other members are attributes.
#[derive(Debug, Clone, Copy)]
pub struct Schema(pub &'static [(&'static str, usize, &'static Schema)]);

/// A JSON value with its place, from whatever reads JSON.
pub trait JsonNode: Sized {
    /// Where it stands, in the source map.
    fn at(&self) -> u32;
    /// What it is.
    fn view(&self) -> JsonView<'_, Self>;
}

/// What a JSON value is.
pub enum JsonView<'a, N> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number as it was written.
    Number(&'a str),
    /// A text.
    Text(&'a str),
    /// A list.
    List(&'a [N]),
    /// Names, their places, and values.
    Object(Vec<(&'a str, u32, &'a N)>),
}

/// Makes an expression of a JSON value; texts are templates.
///
/// # Errors
/// A text is a broken template, or a number has too many digits.
pub fn expression_of<N: JsonNode>(node: &N) -> Result<Expr, Diagnostic> {
    let span = Span::new(node.at(), node.at());
    let kind = match node.view() {
        JsonView::Null => Kind::Null,
        JsonView::Bool(value) => Kind::Bool(value),
        JsonView::Number(number) => Kind::Number(
            number
                .parse()
                .map_err(|()| Diagnostic { span, message: "the number has too many digits".to_owned() })?,
        ),
        JsonView::Text(text) => template(text, node.at())?,
        JsonView::List(items) => Kind::List(items.iter().map(expression_of).collect::<Result<_, _>>()?),
        JsonView::Object(members) => Kind::Object(
            members
                .into_iter()
                .map(|(name, at, value)| {
                    Ok((Expr::new(Span::new(at, at), template(name, at)?), expression_of(value)?))
                })
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(Expr::new(span, kind))
}

fn template(text: &str, at: u32) -> Result<Kind, Diagnostic> {
    let parts = parse_template(text, &Offsets::fixed(at))?;
    Ok(match parts.as_slice() {
        [] => Kind::Text("".into()),
        [Part::Text(text)] => Kind::Text(text.clone()),
        _ => Kind::Template(parts),
    })
}

/// Makes a body of a JSON object. A member `//` is a comment.
///
/// # Errors
/// All that is wrong with its form.
pub fn body_of<N: JsonNode>(node: &N, schema: &Schema) -> Result<Body, Vec<Diagnostic>> {
    let span = Span::new(node.at(), node.at());
    let mut body = Body { span, is_json: true, ..Body::default() };
    let mut wrong = Vec::new();
    let members = match node.view() {
        JsonView::Object(members) => members,
        // A list of objects is one body in several pieces.
        JsonView::List(items) => items
            .iter()
            .filter_map(|item| match item.view() {
                JsonView::Object(members) => Some(members),
                _ => {
                    wrong.push(not_an_object(item.at()));
                    None
                }
            })
            .flatten()
            .collect(),
        _ => return Err(vec![not_an_object(node.at())]),
    };
    if let Some(error) = Body::too_many(span, members.len(), 0) {
        return Err(vec![error]);
    }
    for (name, at, value) in members {
        if name == "//" {
            continue;
        }
        let name_span = Span::new(at, at);
        let Some((_, labels, inside)) = schema.0.iter().find(|(known, ..)| *known == name) else {
            if body.attribute(name).is_some() {
                wrong.push(Diagnostic { span: name_span, message: format!("`{name}` is set twice here") });
                continue;
            }
            match expression_of(value) {
                Ok(expr) => body.attributes.push(Attribute { name: name.to_owned(), name_span, expr }),
                Err(error) => wrong.push(error),
            }
            continue;
        };
        labelled(value, *labels, &mut Vec::new(), &mut |labels, value| {
            for (labels, value) in spread(labels, value) {
                match body_of(value, inside) {
                    Ok(inner) => {
                        body.blocks.push(Block { name: name.to_owned(), name_span, labels, body: inner });
                    }
                    Err(more) => wrong.extend(more),
                }
            }
        });
    }
    if wrong.is_empty() { Ok(body) } else { Err(wrong) }
}

fn not_an_object(at: u32) -> Diagnostic {
    Diagnostic { span: Span::new(at, at), message: "an object is needed here".to_owned() }
}

/// Goes down as many levels of names as a block has labels.
fn labelled<'a, N: JsonNode>(
    node: &'a N,
    left: usize,
    labels: &mut Vec<Label>,
    found: &mut dyn FnMut(Vec<Label>, &'a N),
) {
    if left == 0 {
        found(labels.clone(), node);
        return;
    }
    match node.view() {
        JsonView::Object(members) => {
            for (name, at, value) in members.into_iter().filter(|(name, ..)| *name != "//") {
                labels.push(Label { text: name.to_owned(), span: Span::new(at, at) });
                labelled(value, left - 1, labels, found);
                labels.pop();
            }
        }
        JsonView::List(items) => items.iter().for_each(|item| labelled(item, left, labels, found)),
        // Said by whoever makes a body of it.
        _ => found(labels.clone(), node),
    }
}

/// A list stands for several blocks.
fn spread<N: JsonNode>(labels: Vec<Label>, node: &N) -> Vec<(Vec<Label>, &N)> {
    match node.view() {
        JsonView::List(items) => items.iter().map(|item| (labels.clone(), item)).collect(),
        _ => vec![(labels, node)],
    }
}
