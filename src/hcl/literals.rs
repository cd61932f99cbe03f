//! The texts between `${…}` and `%{…}`: what strip markers and the indentation of heredocs leave of them. All of it happens
//! as in HashiCorp's parser, whose users have arranged themselves with it: a marker strips the rest of one line and no
//! more, and `<<-` takes indentation away only from lines whose line break a marker has left.

use std::collections::VecDeque;

use hcl_edit::template::{Directive, Element, Strip};

/// How a template is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In quotes: a text is one piece, however many line breaks are written in it.
    Quoted,
    /// As lines: a heredoc, a file, a text of JSON.
    Lines,
    /// As lines that lose the indentation they share: `<<-`.
    Indented,
}

/// A text piece by piece, as far as it matters for stripping.
enum Piece {
    Text(String),
    /// `${…}` or `%{…}`, and whether it strips what is before and behind it.
    Sequence(bool, bool),
}

/// What is left of each literal text, in the order in which they stand.
pub(super) fn settled<'e>(elements: impl Iterator<Item = &'e Element>, form: Form) -> VecDeque<String> {
    let (mut pieces, mut counts) = (Vec::new(), Vec::new());
    flatten(elements, form, &mut pieces, &mut counts);
    strip(&mut pieces);
    if form == Form::Indented {
        dedent(&mut pieces);
    }
    let mut texts = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Sequence(..) => None,
    });
    counts.into_iter().map(|count| texts.by_ref().take(count).collect()).collect()
}

fn flatten<'e>(
    elements: impl Iterator<Item = &'e Element>,
    form: Form,
    pieces: &mut Vec<Piece>,
    counts: &mut Vec<usize>,
) {
    for element in elements {
        match element {
            Element::Literal(text) => {
                let text = text.value().as_str();
                let before = pieces.len();
                match form {
                    Form::Quoted => pieces.push(Piece::Text(text.to_owned())),
                    Form::Lines | Form::Indented => {
                        pieces.extend(text.split_inclusive('\n').map(|line| Piece::Text(line.to_owned())));
                    }
                }
                counts.push(pieces.len() - before);
            }
            Element::Interpolation(interpolation) => pieces.push(sequence(interpolation.strip)),
            Element::Directive(directive) => match directive.as_ref() {
                Directive::If(directive) => {
                    pieces.push(sequence(directive.if_expr.strip));
                    flatten(directive.if_expr.template.iter(), form, pieces, counts);
                    if let Some(otherwise) = &directive.else_expr {
                        pieces.push(sequence(otherwise.strip));
                        flatten(otherwise.template.iter(), form, pieces, counts);
                    }
                    pieces.push(sequence(directive.endif_expr.strip));
                }
                Directive::For(directive) => {
                    pieces.push(sequence(directive.for_expr.strip));
                    flatten(directive.for_expr.template.iter(), form, pieces, counts);
                    pieces.push(sequence(directive.endfor_expr.strip));
                }
            },
        }
    }
}

const fn sequence(strip: Strip) -> Piece {
    Piece::Sequence(matches!(strip, Strip::Start | Strip::Both), matches!(strip, Strip::End | Strip::Both))
}

/// A marker takes white space from the piece beside it, and from no other.
fn strip(pieces: &mut [Piece]) {
    for index in 0..pieces.len() {
        let Piece::Sequence(before, after) = pieces[index] else { continue };
        if before
            && let Some(Piece::Text(text)) = index.checked_sub(1).and_then(|index| pieces.get_mut(index))
        {
            text.truncate(text.trim_end().len());
        }
        if after && let Some(Piece::Text(text)) = pieces.get_mut(index + 1) {
            *text = text.trim_start().to_owned();
        }
    }
}

/// Takes away the indentation that all lines share, blank ones aside.
fn dedent(pieces: &mut [Piece]) {
    let mut is_line_start = true;
    let mut shared = usize::MAX;
    let mut starts: Vec<usize> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let at_start = std::mem::take(&mut is_line_start);
        match piece {
            Piece::Text(text) => {
                let is_blank = text.ends_with('\n') && text.trim().is_empty();
                if at_start && !is_blank {
                    shared = shared.min(text.chars().take_while(|letter| letter.is_whitespace()).count());
                    starts.push(index);
                }
                is_line_start = text.ends_with('\n');
            }
            Piece::Sequence(..) if at_start => shared = 0,
            Piece::Sequence(..) => {}
        }
    }
    for index in starts {
        if let Piece::Text(text) = &mut pieces[index] {
            *text = text.chars().skip(shared).collect();
        }
    }
}
