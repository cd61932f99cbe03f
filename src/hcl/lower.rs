//! The tree of `hcl-edit` → ours: places become places in the source map, strip markers and heredocs are done with.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use hcl_edit::{
    Span as _,
    expr::{BinaryOperator, Expression, FuncCall, Object, ObjectKey, TraversalOperator, UnaryOperator},
    structure::{
        Attribute as SourceAttribute, Block as SourceBlock, BlockLabel, Body as SourceBody, Structure,
    },
    template::{Directive, Element, HeredocTemplate, Template},
};

use super::{
    Span,
    ast::{Binary, Call, Expr, For, ForNames, Kind, Part, Step, Unary},
    body::{Attribute, Block, Body, Label},
    eval::Diagnostic,
    literals::{Form, settled},
    parse::{Offsets, parse_template_of},
};

type Lowered<T> = Result<T, Diagnostic>;

/// Operators in a row: deeper trees than this would need too much stack.
const DEEPEST: usize = 200;

pub(super) struct Lower<'a> {
    text: &'a str,
    offsets: &'a Offsets,
    depth: std::cell::Cell<usize>,
}

impl<'a> Lower<'a> {
    pub(super) const fn new(text: &'a str, offsets: &'a Offsets) -> Self {
        Self { text, offsets, depth: std::cell::Cell::new(0) }
    }

    fn span(&self, range: Option<Range<usize>>) -> Span {
        self.offsets.span(range)
    }

    pub(super) fn body(&self, body: &SourceBody, range: Range<usize>) -> Result<Body, Vec<Diagnostic>> {
        let mut lowered = Body { span: self.span(Some(range)), ..Body::default() };
        let mut wrong = Vec::new();
        let blocks = body.blocks().count();
        if let Some(error) = Body::too_many(lowered.span, body.len() - blocks, blocks) {
            return Err(vec![error]);
        }
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => match self.attribute(attribute) {
                    // None is there twice: that is an error of the parser.
                    Ok(attribute) => lowered.attributes.push(attribute),
                    Err(error) => wrong.push(error),
                },
                Structure::Block(block) => match self.block(block) {
                    Ok(block) => lowered.blocks.push(block),
                    Err(more) => wrong.extend(more),
                },
            }
        }
        if wrong.is_empty() { Ok(lowered) } else { Err(wrong) }
    }

    fn attribute(&self, attribute: &SourceAttribute) -> Lowered<Attribute> {
        Ok(Attribute {
            name: attribute.key.as_str().to_owned(),
            name_span: self.span(attribute.key.span()),
            expr: self.expression(&attribute.value)?,
        })
    }

    fn block(&self, block: &SourceBlock) -> Result<Block, Vec<Diagnostic>> {
        let labels = block.labels.iter().map(|label| Label {
            text: label.as_str().to_owned(),
            span: self.span(match label {
                BlockLabel::Ident(label) => label.span(),
                BlockLabel::String(label) => label.span(),
            }),
        });
        let range = block.span().unwrap_or(0..0);
        Ok(Block {
            name: block.ident.as_str().to_owned(),
            name_span: self.span(block.ident.span()),
            labels: labels.collect(),
            body: self.body(&block.body, range)?,
        })
    }

    pub(super) fn expression(&self, expr: &Expression) -> Lowered<Expr> {
        let span = self.span(expr.span());
        if self.depth.get() >= DEEPEST {
            return Err(Diagnostic { span, message: "the expression is nested too deeply".to_owned() });
        }
        self.depth.set(self.depth.get() + 1);
        let kind = self.kind(expr, span);
        self.depth.set(self.depth.get() - 1);
        Ok(Expr::new(span, kind?))
    }

    fn boxed(&self, expr: &Expression) -> Lowered<Box<Expr>> {
        self.expression(expr).map(Box::new)
    }

    fn all<'e>(&self, exprs: impl Iterator<Item = &'e Expression>) -> Lowered<Vec<Expr>> {
        exprs.map(|expr| self.expression(expr)).collect()
    }

    fn kind(&self, expr: &Expression, span: Span) -> Lowered<Kind> {
        Ok(match expr {
            Expression::Null(_) => Kind::Null,
            Expression::Bool(value) => Kind::Bool(*value.value()),
            Expression::Number(number) => {
                // As it is written: the parser's own number is a float.
                let written = expr.span().and_then(|range| self.text.get(range)).unwrap_or_default().trim();
                let number = written.parse().or_else(|()| number.value().to_string().parse());
                Kind::Number(number.map_err(|()| Diagnostic {
                    span,
                    message: "the number has too many digits".to_owned(),
                })?)
            }
            Expression::String(text) => Kind::Text(text.value().as_str().into()),
            Expression::Array(items) => Kind::List(self.all(items.iter())?),
            Expression::Object(object) => self.object(object)?,
            Expression::StringTemplate(template) => {
                let texts = &mut settled(template.iter(), Form::Quoted);
                simplified(self.elements(template.iter(), texts)?)
            }
            Expression::HeredocTemplate(heredoc) => self.heredoc(heredoc)?,
            Expression::Parenthesis(inner) => self.expression(inner.inner())?.kind,
            Expression::Variable(name) => Kind::Name(name.value().as_str().into()),
            Expression::Conditional(conditional) => Kind::Conditional(Box::new([
                self.expression(&conditional.cond_expr)?,
                self.expression(&conditional.true_expr)?,
                self.expression(&conditional.false_expr)?,
            ])),
            Expression::FuncCall(call) => self.call(call)?,
            Expression::Traversal(traversal) => {
                let base = self.boxed(&traversal.expr)?;
                let steps = traversal.operators.iter().map(|step| {
                    let span = self.span(step.span());
                    Ok(match step.value() {
                        TraversalOperator::AttrSplat(_) => Step::AttributeSplat(span),
                        TraversalOperator::FullSplat(_) => Step::FullSplat(span),
                        TraversalOperator::GetAttr(name) => {
                            Step::Attribute(name.as_str().into(), self.span(name.span().or(step.span())))
                        }
                        TraversalOperator::Index(index) => Step::Index(self.expression(index)?),
                        TraversalOperator::LegacyIndex(index) => {
                            let index = i64::try_from(*index.value()).unwrap_or(i64::MAX);
                            Step::Index(Expr::new(span, Kind::Number(super::Number::from_i64(index))))
                        }
                    })
                });
                Kind::Traverse(base, steps.collect::<Lowered<_>>()?)
            }
            Expression::UnaryOp(operation) => {
                let operator = match operation.operator.value() {
                    UnaryOperator::Neg => Unary::Minus,
                    UnaryOperator::Not => Unary::Not,
                };
                Kind::Unary(operator, self.boxed(&operation.expr)?)
            }
            Expression::BinaryOp(operation) => {
                let operands = [self.expression(&operation.lhs_expr)?, self.expression(&operation.rhs_expr)?];
                Kind::Binary(binary(*operation.operator.value()), Box::new(operands))
            }
            Expression::ForExpr(each) => {
                let intro = &each.intro;
                Kind::For(Box::new(For {
                    names: ForNames {
                        key: intro.key_var.as_ref().map(|name| name.as_str().into()),
                        value: intro.value_var.as_str().into(),
                    },
                    collection: self.expression(&intro.collection_expr)?,
                    key: each.key_expr.as_ref().map(|key| self.expression(key)).transpose()?,
                    value: self.expression(&each.value_expr)?,
                    grouping: each.grouping,
                    condition: each
                        .cond
                        .as_ref()
                        .map(|condition| self.expression(&condition.expr))
                        .transpose()?,
                }))
            }
        })
    }

    fn call(&self, call: &FuncCall) -> Lowered<Kind> {
        let mut name: String =
            call.name.namespace.iter().map(|part| format!("{}::", part.as_str())).collect();
        name.push_str(call.name.name.as_str());
        Ok(Kind::Call(Box::new(Call {
            name: name.into(),
            name_span: self.span(call.name.name.span()),
            arguments: self.all(call.args.iter())?,
            expand_last: call.args.expand_final(),
        })))
    }

    fn object(&self, object: &Object) -> Lowered<Kind> {
        let members = object.iter().map(|(key, value)| {
            let key = match key {
                // A name alone is that text, not the value of something of that name.
                ObjectKey::Ident(name) => Expr::new(self.span(name.span()), Kind::Text(name.as_str().into())),
                ObjectKey::Expression(Expression::Variable(name)) => {
                    Expr::new(self.span(name.span()), Kind::Text(name.as_str().into()))
                }
                ObjectKey::Expression(expr) => self.expression(expr)?,
            };
            Ok((key, self.expression(value.expr())?))
        });
        Ok(Kind::Object(members.collect::<Lowered<_>>()?))
    }

    /// A heredoc is read again from its source: `hcl-edit` takes the indentation away only outside of `%{…}`.
    fn heredoc(&self, heredoc: &HeredocTemplate) -> Lowered<Kind> {
        let range = heredoc.span().unwrap_or(0..0);
        let source = self.text.get(range.clone()).unwrap_or_default();
        let Some(first_line) = source.find('\n') else {
            return Ok(simplified(self.template(&heredoc.template, Form::Lines)?));
        };
        let (opening, body) = source.split_at(first_line + 1);
        // The line with the closing word may or may not be part of the span.
        let closing = body.rfind('\n').filter(|at| body[at + 1..].trim() == heredoc.delimiter.as_str());
        let body = match closing {
            Some(at) => &body[..=at],
            None if body.trim() == heredoc.delimiter.as_str() => "",
            None => body,
        };
        let form = if opening.starts_with("<<-") { Form::Indented } else { Form::Lines };
        let offsets = self.offsets.behind(range.start + opening.len());
        Ok(simplified(parse_template_of(body, form, &offsets)?))
    }

    pub(super) fn template(&self, template: &Template, form: Form) -> Lowered<Vec<Part>> {
        self.elements(template.iter(), &mut settled(template.iter(), form))
    }

    /// `texts`: what is left of the literal texts, in their order.
    fn elements<'e>(
        &self,
        elements: impl Iterator<Item = &'e Element>,
        texts: &mut VecDeque<String>,
    ) -> Lowered<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for element in elements {
            match element {
                // An empty one stays: ` ${~ x ~} ` is a text, whatever `x` is.
                Element::Literal(_) => push(&mut parts, &texts.pop_front().unwrap_or_default()),
                Element::Interpolation(interpolation) => {
                    parts.push(Part::Value(self.expression(&interpolation.expr)?));
                }
                Element::Directive(directive) => parts.push(self.directive(directive, texts)?),
            }
        }
        Ok(parts)
    }

    fn directive(&self, directive: &Directive, texts: &mut VecDeque<String>) -> Lowered<Part> {
        match directive {
            Directive::If(directive) => {
                let then = self.inner(&directive.if_expr.template, texts)?;
                let otherwise = directive.else_expr.as_ref();
                let otherwise =
                    otherwise.map(|otherwise| self.inner(&otherwise.template, texts)).transpose()?;
                let condition = self.expression(&directive.if_expr.cond_expr)?;
                Ok(Part::If { condition, then, otherwise: otherwise.unwrap_or_default() })
            }
            Directive::For(directive) => {
                let each = &directive.for_expr;
                let names = ForNames {
                    key: each.key_var.as_ref().map(|name| name.as_str().into()),
                    value: each.value_var.as_str().into(),
                };
                let body = self.inner(&each.template, texts)?;
                Ok(Part::For { names, collection: self.expression(&each.collection_expr)?, body })
            }
        }
    }

    fn inner(&self, template: &Template, texts: &mut VecDeque<String>) -> Lowered<Vec<Part>> {
        if self.depth.get() >= DEEPEST {
            let message = "the template is nested too deeply".to_owned();
            return Err(Diagnostic { span: self.span(template.span()), message });
        }
        self.depth.set(self.depth.get() + 1);
        let parts = self.elements(template.iter(), texts);
        self.depth.set(self.depth.get() - 1);
        parts
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(before)) => *before = format!("{before}{text}").into(),
        _ => parts.push(Part::Text(text.into())),
    }
}

/// A template without anything to evaluate is a text.
fn simplified(parts: Vec<Part>) -> Kind {
    match parts.as_slice() {
        [] => Kind::Text(Arc::from("")),
        [Part::Text(text)] => Kind::Text(Arc::clone(text)),
        _ => Kind::Template(parts),
    }
}

const fn binary(operator: BinaryOperator) -> Binary {
    match operator {
        BinaryOperator::Plus => Binary::Add,
        BinaryOperator::Minus => Binary::Subtract,
        BinaryOperator::Mul => Binary::Multiply,
        BinaryOperator::Div => Binary::Divide,
        BinaryOperator::Mod => Binary::Remainder,
        BinaryOperator::Eq => Binary::Equal,
        BinaryOperator::NotEq => Binary::NotEqual,
        BinaryOperator::Less => Binary::Less,
        BinaryOperator::LessEq => Binary::LessOrEqual,
        BinaryOperator::Greater => Binary::Greater,
        BinaryOperator::GreaterEq => Binary::GreaterOrEqual,
        BinaryOperator::And => Binary::And,
        BinaryOperator::Or => Binary::Or,
    }
}
