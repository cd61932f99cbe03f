//! The user's own files, to show the lines that a server's errors are about. The server names places only; it never sends
//! back what a file says.

use std::{borrow::Cow, fs, path::PathBuf};

use crate::domain::{Problem, problem::FieldProblem};

/// Characters of a line that are shown.
const WIDEST: usize = 160;
/// How many of them stand before the column of a line that is longer.
const BEFORE: usize = 60;

/// Where the files are that were sent.
#[derive(Debug, Default)]
pub struct Sources {
    /// The folder, as the user wrote it.
    pub root: PathBuf,
    /// Files from elsewhere: their path in the archive, how to call them, and their text.
    pub others: Vec<(String, String, String)>,
}

impl Sources {
    /// Each error with its line.
    pub fn show(&self, problem: &Problem) -> String {
        problem.errors.iter().map(|error| self.error(error)).collect::<Vec<_>>().join("\n")
    }

    fn error(&self, error: &FieldProblem) -> String {
        let source = error.file.as_deref().map(|file| self.find(file));
        let place = match (&source, error.line, error.column) {
            (Some((name, _)), Some(line), Some(column)) => format!("{name}:{line}:{column}: "),
            (Some((name, _)), Some(line), None) => format!("{name}:{line}: "),
            (Some((name, _)), None, _) => format!("{name}: "),
            (None, Some(line), Some(column)) => format!("line {line}, column {column}: "),
            (None, Some(line), None) => format!("line {line}: "),
            (None, None, _) => match error.pointer.as_deref() {
                Some(pointer) if !pointer.is_empty() => format!("{pointer}: "),
                _ => String::new(),
            },
        };
        let excerpt = match (&source, error.line) {
            (Some((_, Some(text))), Some(line)) => excerpt(text, line, error.column),
            _ => None,
        };
        format!("error: {place}{}{}", error.detail, excerpt.unwrap_or_default())
    }

    /// How a file is called, and its text if it can be read.
    fn find(&self, file: &str) -> (String, Option<Cow<'_, str>>) {
        if let Some((_, name, text)) = self.others.iter().find(|(path, ..)| path == file) {
            return (name.clone(), Some(Cow::Borrowed(text)));
        }
        let path = self.root.join(file);
        let text = fs::read(&path).ok().map(|data| Cow::Owned(String::from_utf8_lossy(&data).into_owned()));
        let path = path.strip_prefix(".").unwrap_or(&path);
        (path.display().to_string(), text)
    }
}

/// The line with its number, and a caret below the column.
fn excerpt(text: &str, line: u32, column: Option<u32>) -> Option<String> {
    let source = text.lines().nth(usize::try_from(line.checked_sub(1)?).ok()?)?;
    let characters: Vec<char> = source.trim_start_matches('\u{feff}').chars().collect();
    // A byte order mark is a character to whoever counts, and none to whoever looks.
    let marks = source.chars().count() - characters.len();
    let column = column.and_then(|column| usize::try_from(column).ok()?.checked_sub(1 + marks));
    let column = column.filter(|column| *column <= characters.len());
    let start = match column {
        Some(column) if characters.len() > WIDEST => column.saturating_sub(BEFORE),
        _ => 0,
    };
    let end = characters.len().min(start + WIDEST);
    let visible = |c: &char| match c {
        '\t' => '\t',
        c if c.is_control() => '\u{fffd}',
        c => *c,
    };
    let shown: String = characters[start..end].iter().map(visible).collect();
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < characters.len() { "…" } else { "" });
    let number = line.to_string();
    let mut excerpt = format!("\n{number:>5} | {before}{shown}{after}");
    if let Some(column) = column {
        // Tabs stay tabs, so that the caret stands right however wide they are.
        let indent: String =
            characters[start..column].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let indent = if start > 0 { format!(" {indent}") } else { indent };
        excerpt.push_str(&format!("\n{:>width$} | {indent}^", "", width = number.len().max(5)));
    }
    Some(excerpt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: u32, column: u32) -> FieldProblem {
        FieldProblem {
            file: Some(file.to_owned()),
            line: Some(line),
            column: Some(column),
            ..FieldProblem::new("no")
        }
    }

    #[test]
    fn every_error_stands_above_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), "{\n\t\"é\": tru\n}\n").unwrap();
        let sources = Sources {
            root: folder.path().to_owned(),
            others: vec![(".fournil/var-files/1-v.json".to_owned(), "../v.json".to_owned(), "x".to_owned())],
        };
        let mut problem = Problem::new(422, "x", "x", "x");
        problem.errors = vec![
            at("a.json", 2, 7),
            at(".fournil/var-files/1-v.json", 1, 1),
            at("gone.json", 1, 1),
            at("a.json", 9, 1),
            FieldProblem { line: None, ..at("a.json", 1, 1) },
            FieldProblem::at("/only/0", "no"),
            FieldProblem::new("no"),
        ];
        let root = folder.path().display();
        assert_eq!(
            sources.show(&problem),
            format!(
                "error: {root}/a.json:2:7: no\n    2 | \t\"é\": tru\n      | \t     ^\n\
                 error: ../v.json:1:1: no\n    1 | x\n      | ^\n\
                 error: {root}/gone.json:1:1: no\n\
                 error: {root}/a.json:9:1: no\n\
                 error: {root}/a.json: no\n\
                 error: /only/0: no\n\
                 error: no"
            )
        );
    }

    #[test]
    fn a_long_line_is_shown_around_the_column() {
        let text = format!("{}!{}", "a".repeat(500), "b".repeat(500));
        let shown = excerpt(&text, 1, Some(501)).unwrap();
        let lines: Vec<&str> = shown.lines().skip(1).collect();
        assert_eq!(lines[0].chars().count(), 8 + 1 + WIDEST + 1);
        let caret = lines[1].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[0].chars().nth(caret), Some('!'));
        assert!(excerpt("\u{1b}[31m", 1, Some(1)).unwrap().contains("\u{fffd}[31m"));
        let marked = excerpt("\u{feff}{x", 1, Some(3)).unwrap();
        assert_eq!(marked, "\n    1 | {x\n      |  ^");
        for (line, column) in [(0, 1), (2, 1), (u32::MAX, u32::MAX)] {
            assert_eq!(excerpt("x", line, Some(column)), None);
        }
        assert_eq!(excerpt("x", 1, Some(0)).unwrap(), "\n    1 | x");
    }
}
