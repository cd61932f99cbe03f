//! Files that the host can see: `file`, `filebase64`, `fileexists`, `fileset`.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Answer, Arguments, Failure, Function, Parameter, glob::Glob};
use crate::hcl::Value;

pub const FUNCTIONS: &[Function] = &[
    of_path("file", |args| {
        let bytes = content(args)?;
        String::from_utf8(bytes)
            .map(Into::into)
            .map_err(|_| Failure::at(0, "names a file that is no UTF-8 text; `filebase64` reads any"))
    }),
    of_path("filebase64", |args| Ok(STANDARD.encode(content(args)?).into())),
    of_path("fileexists", |args| {
        args.host.exists(args.text(0)).map(Into::into).map_err(|message| at_path(&message))
    }),
    Function {
        name: "fileset",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: file_set,
    },
];

const fn of_path(name: &'static str, body: fn(&Arguments<'_>) -> Answer) -> Function {
    Function { name, parameters: &[Parameter::Text], rest: None, moves_only: false, body }
}

/// What the host says about the path.
fn at_path(message: &str) -> Failure {
    Failure::at(0, format!("cannot be used: {message}"))
}

fn content(args: &Arguments<'_>) -> Result<Vec<u8>, Failure> {
    let bytes = args.host.read(args.text(0)).map_err(|message| at_path(&message))?;
    args.room(bytes.len())?;
    Ok(bytes)
}

/// The files below a folder whose paths fit a pattern, as a set.
fn file_set(args: &Arguments<'_>) -> Answer {
    let pattern = args.text(1).trim_start_matches("./");
    let glob = Glob::of(pattern).map_err(|message| Failure::at(1, message))?;
    let files = args.host.files_below(args.text(0)).map_err(|message| at_path(&message))?;
    let bytes: usize = files.iter().map(|file| file.len() + 16).sum();
    args.room(bytes)?;
    // Each character of a path is held against each of a pattern.
    args.room(bytes.saturating_mul(glob.len()) / 16)?;
    Ok(Value::set(files.into_iter().filter(|file| glob.fits(file)).map(Value::from).collect()))
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn files_are_read() {
        for (expression, expected) in [
            (r#"file("hello.txt")"#, r#""hello\n""#),
            (r#"filebase64("hello.txt")"#, r#""aGVsbG8K""#),
            (r#"filebase64("binary")"#, r#""AJ+Slg==""#),
            (r#"fileexists("hello.txt")"#, "true"),
            (r#"fileexists("nothing")"#, "false"),
            (r#"try(file("nothing"), "else")"#, r#""else""#),
            (r#"file("nothing")"#, "error: argument 1 of `file` cannot be used: the folder has no `nothing`"),
            (
                r#"filebase64("nothing")"#,
                "error: argument 1 of `filebase64` cannot be used: the folder has no `nothing`",
            ),
            (
                r#"file("binary")"#,
                "error: argument 1 of `file` names a file that is no UTF-8 text; `filebase64` reads any",
            ),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }

    #[test]
    fn files_are_found_by_pattern() {
        for (folder, pattern, expected) in [
            (".", "*", r#"<"binary","greeting.tpl","hello.txt">"#),
            ("", "./*.t*", r#"<"greeting.tpl","hello.txt">"#),
            (".", "**", r#"<"binary","greeting.tpl","hello.txt","sub/a.sh","sub/deep/b.sh">"#),
            (".", "**/*.sh", r#"<"sub/a.sh","sub/deep/b.sh">"#),
            (".", "sub/*.sh", r#"<"sub/a.sh">"#),
            ("sub", "**/{a,b}.sh", r#"<"a.sh","deep/b.sh">"#),
            ("sub", "*.txt", "<>"),
            ("sub", "../*", "<>"),
            ("nothing", "*", "error: argument 1 of `fileset` cannot be used: the folder has no `nothing`"),
            (".", "[", "error: argument 2 of `fileset` has a `[` that is not closed"),
        ] {
            assert_eq!(
                shown(&format!("fileset(\"{folder}\", \"{pattern}\")")),
                expected,
                "{folder} {pattern}"
            );
        }
        assert_eq!(shown(r#"[for path in fileset("sub", "**"): basename(path)]"#), r#"["a.sh","b.sh"]"#);
    }
}
