//! Paths as texts: `abspath`, `basename`, `dirname`, `pathexpand`. Nothing is looked at.

use super::{Failure, Function, Parameter};

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "abspath",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| Ok(args.host.absolute(args.text(0)).into()),
    },
    Function {
        name: "basename",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| Ok(basename(args.text(0)).into()),
    },
    Function {
        name: "dirname",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| Ok(dirname(args.text(0)).into()),
    },
    Function {
        name: "pathexpand",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| match args.text(0) {
            path if path.starts_with('~') => Err(Failure::at(
                0,
                "begins with `~`, but there is no home folder here; write the path in full",
            )),
            path => Ok(path.into()),
        },
    },
];

/// The last part of a path.
fn basename(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        path => path.rsplit_once('/').map_or(path, |(_, last)| last),
    }
}

/// What stands before the last part of a path, in its shortest form.
fn dirname(path: &str) -> String {
    let folder = path.rfind('/').and_then(|slash| path.get(..=slash)).unwrap_or_default();
    clean(folder)
}

/// A path without `.`, without `..` where that is possible, and without slashes that say nothing.
fn clean(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_absolute => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn paths_are_taken_apart() {
        for (expression, expected) in [
            (r#"basename("foo/bar/baz.txt")"#, "baz.txt"),
            (r#"basename("foo/bar/")"#, "bar"),
            (r#"basename("foo")"#, "foo"),
            (r#"basename("/")"#, "/"),
            (r#"basename("//")"#, "/"),
            (r#"basename("")"#, "."),
            (r#"dirname("foo/bar/baz.txt")"#, "foo/bar"),
            (r#"dirname("foo/bar/")"#, "foo/bar"),
            (r#"dirname("foo")"#, "."),
            (r#"dirname("")"#, "."),
            (r#"dirname("/")"#, "/"),
            (r#"dirname("/foo")"#, "/"),
            (r#"dirname("a//b/./../c/d")"#, "a/c"),
            (r#"dirname("../../x")"#, "../.."),
            (r#"dirname("/../../x")"#, "/"),
            (r#"dirname("a/../../x")"#, ".."),
            (r#"abspath("hello.txt")"#, "/hello.txt"),
            (r#"pathexpand("a/~/b")"#, "a/~/b"),
        ] {
            assert_eq!(shown(expression), format!("\"{expected}\""), "{expression}");
        }
    }

    #[test]
    fn there_is_no_home() {
        for path in ["~", "~/.ssh/id", "~root"] {
            assert_eq!(
                shown(&format!("pathexpand(\"{path}\")")),
                "error: argument 1 of `pathexpand` begins with `~`, but there is no home folder here; write the path in full"
            );
        }
    }
}
