//! Quoting for a POSIX shell on the other side, so that every value and every path arrives as it was meant.

/// Quotes `value` so that a POSIX shell takes it as one word, whatever is in it.
#[must_use]
pub fn quote(value: &str) -> String {
    let harmless = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | ':' | '@' | '%' | '+' | ',')
    };
    if !value.is_empty() && value.chars().all(harmless) {
        return value.to_owned();
    }
    format!("'{}'", escape_single_quoted(value))
}

/// What goes between single quotes so that a POSIX shell sees `value`.
#[must_use]
pub fn escape_single_quoted(value: &str) -> String {
    value.replace('\'', r"'\''")
}

/// Quotes a path for a POSIX shell. A `~` or `~user` at its start is left to the shell to fill in, as with Packer, and
/// a leading `-` cannot be taken for an option.
#[must_use]
pub fn quote_path(path: &str) -> String {
    if path.starts_with('~') {
        let (home, rest) = path.split_once('/').map_or((path, None), |(home, rest)| (home, Some(rest)));
        if home[1..].chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')) {
            return match rest {
                None => home.to_owned(),
                Some("") => format!("{home}/"),
                Some(rest) => format!("{home}/{}", quote(rest)),
            };
        }
    }
    if path.starts_with('-') { quote(&format!("./{path}")) } else { quote(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shell(command: &str) -> String {
        let output =
            std::process::Command::new("sh").args(["-c", command]).env("HOME", "/home/x").output().unwrap();
        assert!(output.status.success(), "{command}");
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_shell_sees_what_was_quoted(value in "([^\\x00]|['\"$`\\\\\n !*~#-]){0,40}") {
            prop_assert_eq!(shell(&format!("printf %s {}", quote(&value))), value.clone());
            prop_assert_eq!(shell(&format!("printf %s '{}'", escape_single_quoted(&value))), value);
        }

        #[test]
        fn a_shell_sees_the_path_that_was_quoted(path in "[^\\x00~-]([^\\x00]|['\" *$]){0,30}") {
            prop_assert_eq!(shell(&format!("printf %s {}", quote_path(&path))), path);
        }
    }

    #[test]
    fn a_home_is_filled_in_and_nothing_behind_it() {
        assert_eq!(shell(&format!("printf %s {}", quote_path("~/a b/$c"))), "/home/x/a b/$c");
        assert_eq!(shell(&format!("printf %s {}", quote_path("~"))), "/home/x");
        assert_eq!(shell(&format!("printf %s {}", quote_path("~$(id)/x"))), "~$(id)/x");
        assert_eq!(quote_path("-rf"), "./-rf");
    }
}
