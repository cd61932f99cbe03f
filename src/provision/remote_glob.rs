//! Patterns in the names of downloads, filled in by the machine's shell.

use crate::{
    communicator::{Exit, quote::quote_path},
    provision::{Failure, ProvisionContext, output::Answer},
};

/// Something in the machine that a pattern matched.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// Its path.
    pub(super) path: String,
    /// Whether it is a folder.
    pub(super) is_folder: bool,
}

/// Whether `source` is a pattern or names a folder by its slash; Packer looks at nothing else.
pub(super) fn is_pattern(source: &str) -> bool {
    source.contains(['*', '?', '['])
}

/// What matches `pattern`, in the shell's order.
pub(super) async fn expand(pattern: &str, cx: &ProvisionContext<'_>) -> Result<Vec<Match>, Failure> {
    let command = format!(
        "for f in {}; do if [ -d \"$f\" ]; then printf 'd%s\\0' \"$f\"; elif [ -e \"$f\" ]; then printf 'f%s\\0' \"$f\"; fi; done",
        quote_pattern(pattern)
    );
    let answer = Answer::default();
    let exit = cx.communicator.run(&command, &answer).await?;
    let nothing = || Failure::NothingMatches { pattern: pattern.to_owned() };
    if exit != Exit::Status(0) {
        return Err(nothing());
    }
    let answer = String::from_utf8(answer.into_bytes()).map_err(|_| nothing())?;
    let found: Vec<Match> = answer
        .split_terminator('\0')
        .filter_map(|entry| entry.split_at_checked(1))
        .map(|(kind, path)| Match { path: path.to_owned(), is_folder: kind == "d" })
        .collect();
    if found.is_empty() { Err(nothing()) } else { Ok(found) }
}

/// Quotes everything but the pattern's own characters.
fn quote_pattern(pattern: &str) -> String {
    let mut quoted = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['*', '?', '[', ']']) {
        let (literal, tail) = rest.split_at(at);
        push(&mut quoted, literal);
        quoted.push_str(&tail[..1]);
        rest = &tail[1..];
    }
    push(&mut quoted, rest);
    quoted
}

fn push(quoted: &mut String, literal: &str) {
    if literal.is_empty() {
        return;
    }
    // Only the start of the whole pattern can be a home or look like an option. Inside of brackets, `-`, `!` and `^`
    // keep their meaning, as the shell looks at them before it takes the quotes off.
    let in_brackets = quoted.ends_with('[');
    if quoted.is_empty() {
        quoted.push_str(&quote_path(literal));
    } else if in_brackets
        && literal.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '!' | '^' | '_' | '.'))
    {
        quoted.push_str(literal);
    } else {
        quoted.push_str(&crate::communicator::quote::quote(literal));
    }
}

#[cfg(test)]
mod tests {
    use super::quote_pattern;

    #[test]
    fn a_pattern_is_filled_in_and_its_other_characters_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a b1.log", "a b2.log", "a $(id).log", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let list = |pattern: &str| {
            let command = format!("printf '%s|' {}", quote_pattern(pattern));
            let output = std::process::Command::new("sh")
                .args(["-c", &command])
                .current_dir(folder.path())
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(list("a b?.log"), "a b1.log|a b2.log|");
        assert_eq!(list("a b[!1].log"), "a b2.log|");
        assert_eq!(list("a $(id).*"), "a $(id).log|");
        assert_eq!(list("*.txt"), "c.txt|");
        assert_eq!(list("./c*"), "./c.txt|");
    }
}
