//! Text → syntax tree, by way of `hcl-edit`.

use hcl_edit::{expr::Expression, structure::Body as SourceBody, template::Template};

use super::{
    Span,
    ast::{Expr, Part},
    body::Body,
    eval::Diagnostic,
    literals::Form,
    lower::Lower,
    syntax::{in_expression, in_file},
};

/// Bytes of one text.
const LONGEST: usize = 1 << 20;

/// How places of a text that is being read become places in the source map.
#[derive(Debug, Clone, Copy)]
pub struct Offsets {
    base: u32,
    is_fixed: bool,
}

impl Offsets {
    /// The text stands in the source map as it is, from here on.
    #[must_use]
    pub const fn from(base: u32) -> Self {
        Self { base, is_fixed: false }
    }

    /// The text is somewhere else; everything in it is said to be here.
    #[must_use]
    pub const fn fixed(at: u32) -> Self {
        Self { base: at, is_fixed: true }
    }

    /// Those of the text that begins at an offset of this one.
    pub(super) fn behind(self, offset: usize) -> Self {
        Self { base: self.at(offset), ..self }
    }

    /// The place of an offset.
    fn at(self, offset: usize) -> u32 {
        let offset = if self.is_fixed { 0 } else { u32::try_from(offset).unwrap_or(u32::MAX) };
        self.base.saturating_add(offset)
    }

    pub(super) fn span(self, range: Option<std::ops::Range<usize>>) -> Span {
        let range = range.unwrap_or(0..0);
        Span::new(self.at(range.start), self.at(range.end))
    }
}

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with its form: the first error of syntax, or all attributes that are given twice.
pub fn parse(text: &str, offsets: &Offsets) -> Result<Body, Vec<Diagnostic>> {
    guard(text, offsets).map_err(|error| vec![error])?;
    let body: SourceBody =
        hcl_edit::parser::parse_body(text).map_err(|error| vec![in_file(&error, text, offsets)])?;
    Lower::new(text, offsets).body(&body, 0..text.len())
}

/// Reads an expression that stands alone, such as a variable's value on the command line.
///
/// # Errors
/// It is none.
pub fn parse_expression(text: &str, offsets: &Offsets) -> Result<Expr, Diagnostic> {
    guard(text, offsets)?;
    let expr: Expression =
        hcl_edit::parser::parse_expr(text).map_err(|error| in_expression(&error, text, offsets))?;
    Lower::new(text, offsets).expression(&expr)
}

/// Reads a text with `${…}` and `%{…}` in it.
///
/// # Errors
/// It is broken.
pub fn parse_template(text: &str, offsets: &Offsets) -> Result<Vec<Part>, Diagnostic> {
    if !text.contains("${") && !text.contains("%{") {
        return Ok(vec![Part::Text(text.into())]);
    }
    parse_template_of(text, Form::Lines, offsets)
}

pub(super) fn parse_template_of(text: &str, form: Form, offsets: &Offsets) -> Result<Vec<Part>, Diagnostic> {
    guard(text, offsets)?;
    let template: Template =
        hcl_edit::parser::parse_template(text).map_err(|error| in_expression(&error, text, offsets))?;
    Lower::new(text, offsets).template(&template, form)
}

fn guard(text: &str, offsets: &Offsets) -> Result<(), Diagnostic> {
    if text.len() > LONGEST {
        let message = format!("a text has at most {LONGEST} bytes");
        return Err(Diagnostic { span: offsets.span(Some(0..0)), message });
    }
    Ok(())
}
