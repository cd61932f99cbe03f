//! Where things stand: one row of bytes for all files, so that a place is a single number.

use serde::{Deserialize, Serialize};

/// A piece of a source text, as offsets into the [`SourceMap`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
}

impl Span {
    /// From here to there.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }
}

/// A place as people read it; both numbers begin at 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file's path.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column in characters.
    pub column: u32,
}

#[derive(Debug)]
struct File {
    path: String,
    base: u32,
    text: String,
}

/// The texts that a configuration was read from.
#[derive(Debug, Default)]
pub struct SourceMap {
    files: Vec<File>,
    next: u32,
}

impl SourceMap {
    /// Takes a text; answers the offset of its first byte, or `None` if all texts together are too large for one row.
    pub fn add(&mut self, path: &str, text: &str) -> Option<u32> {
        let base = self.next;
        let length = u32::try_from(text.len()).ok()?;
        // One byte between two files, so that the end of one is not the start of the next.
        self.next = base.checked_add(length)?.checked_add(1)?;
        self.files.push(File { path: path.to_owned(), base, text: text.to_owned() });
        Some(base)
    }

    /// The place of an offset.
    #[must_use]
    pub fn position(&self, at: u32) -> Option<Position> {
        let file = self.file(at)?;
        let offset = (at - file.base) as usize;
        let before = file.text.get(..offset).unwrap_or(&file.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some(Position {
            file: file.path.clone(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        })
    }

    /// The text of a span.
    #[must_use]
    pub fn text(&self, span: Span) -> Option<&str> {
        let file = self.file(span.start)?;
        file.text.get((span.start - file.base) as usize..(span.end.checked_sub(file.base)?) as usize)
    }

    fn file(&self, at: u32) -> Option<&File> {
        let index = self.files.partition_point(|file| file.base <= at).checked_sub(1)?;
        self.files.get(index).filter(|file| (at - file.base) as usize <= file.text.len())
    }
}
