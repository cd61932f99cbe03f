//! Settles what is known early in a template that is rendered late: `{{user "team"}}-{{.SourceOMI}}` becomes
//! `web-{{.SourceOMI}}`, so that a plan needs neither the variables nor the time of its request.

use std::fmt::Write;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode};

use super::functions::REQUEST;

/// Puts the answer of every call of a request's function in place of the call. `answer` renders one call.
/// Gives back whether there was any.
///
/// # Errors
/// Those of the calls, and for calls that depend on what is known late.
pub fn settle(
    tree: &mut ListNode,
    answer: &dyn Fn(&CommandNode) -> Result<String, String>,
) -> Result<bool, String> {
    let mut changed = false;
    for node in &mut tree.nodes {
        changed |= match node {
            Node::List(list) => settle(list, answer)?,
            Node::Action(action) => settle_pipe(&mut action.pipe, answer)?,
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                let mut inside = settle_pipe(&mut branch.pipe, answer)? | settle(&mut branch.body, answer)?;
                if let Some(list) = &mut branch.else_body {
                    inside |= settle(list, answer)?;
                }
                inside
            }
            Node::Text(_) | Node::Template(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => false,
        };
    }
    Ok(changed)
}

fn settle_pipe(
    pipe: &mut PipeNode,
    answer: &dyn Fn(&CommandNode) -> Result<String, String>,
) -> Result<bool, String> {
    let mut changed = false;
    for (index, command) in pipe.commands.iter_mut().enumerate() {
        for argument in &mut command.args {
            changed |= settle_argument(argument, answer)?;
        }
        let Some(Expr::Identifier(pos, name)) = command.args.first() else { continue };
        if !REQUEST.contains(&name.as_str()) {
            continue;
        }
        if index > 0 || !command.args[1..].iter().all(is_constant) {
            return Err(format!(
                "`{name}` must be given a plain text here, because the rest of this template is known only later"
            ));
        }
        let settled = Expr::String(*pos, answer(command)?.into());
        command.args = vec![settled];
        changed = true;
    }
    Ok(changed)
}

fn settle_argument(
    argument: &mut Expr,
    answer: &dyn Fn(&CommandNode) -> Result<String, String>,
) -> Result<bool, String> {
    match argument {
        Expr::Pipe(pos, pipe) => {
            let changed = settle_pipe(pipe, answer)?;
            // `(user "a")` has become `("…")`; without the parentheses it can be an argument of the next call.
            if let [CommandNode { args, .. }] = pipe.commands.as_slice()
                && let ([Expr::String(_, text)], true) = (args.as_slice(), pipe.decl.is_empty())
            {
                *argument = Expr::String(*pos, text.clone());
            }
            Ok(changed)
        }
        Expr::Chain(_, inner, _) => settle_argument(inner, answer),
        _ => Ok(false),
    }
}

const fn is_constant(expression: &Expr) -> bool {
    matches!(expression, Expr::String(..) | Expr::Number(..) | Expr::Bool(..))
}

/// Writes a tree as template text again.
pub fn print(tree: &ListNode) -> String {
    let mut printer = Printer::default();
    printer.list(tree);
    printer.flush();
    printer.out
}

#[derive(Default)]
struct Printer {
    out: String,
    /// Plain text that is not written yet, because a brace at its end could join the next action.
    text: String,
}

impl Printer {
    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let mut parts = text.split("{{");
        let mut part = parts.next().unwrap_or_default();
        for next in parts {
            self.out.push_str(part);
            self.out.push_str("{{\"{{\"}}");
            part = next;
        }
        match part.strip_suffix('{') {
            Some(before) => {
                self.out.push_str(before);
                self.out.push_str("{{\"{\"}}");
            }
            None => self.out.push_str(part),
        }
    }

    fn action(&mut self, inside: &str) {
        self.flush();
        let _ = write!(self.out, "{{{{{inside}}}}}");
    }

    fn list(&mut self, list: &ListNode) {
        for node in &list.nodes {
            match node {
                Node::List(list) => self.list(list),
                Node::Text(text) => self.text.push_str(&text.text),
                Node::Action(action) => match constant(&action.pipe) {
                    Some(text) => self.text.push_str(text),
                    None => self.action(&pipe(&action.pipe)),
                },
                Node::If(branch) => self.branch("if", branch),
                Node::With(branch) => self.branch("with", branch),
                Node::Range(branch) => self.branch("range", branch),
                Node::Break(_) => self.action("break"),
                Node::Continue(_) => self.action("continue"),
                // Refused when the template was checked.
                Node::Template(_) | Node::Define(_) => {}
            }
        }
    }

    fn branch(&mut self, word: &str, branch: &BranchNode) {
        self.action(&format!("{word} {}", pipe(&branch.pipe)));
        self.list(&branch.body);
        if let Some(list) = &branch.else_body {
            self.action("else");
            self.list(list);
        }
        self.action("end");
    }
}

/// The text, if the pipe is nothing else.
fn constant(pipe: &PipeNode) -> Option<&str> {
    match (pipe.decl.as_slice(), pipe.commands.as_slice()) {
        ([], [CommandNode { args, .. }]) => match args.as_slice() {
            [Expr::String(_, text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn pipe(pipe: &PipeNode) -> String {
    let commands: Vec<String> = pipe
        .commands
        .iter()
        .map(|command| command.args.iter().map(expression).collect::<Vec<_>>().join(" "))
        .collect();
    let names: Vec<&str> = pipe.decl.iter().map(AsRef::as_ref).collect();
    match (names.is_empty(), pipe.is_assign) {
        (true, _) => commands.join(" | "),
        (false, true) => format!("{} = {}", names.join(", "), commands.join(" | ")),
        (false, false) => format!("{} := {}", names.join(", "), commands.join(" | ")),
    }
}

fn expression(expression: &Expr) -> String {
    let fields =
        |path: &[gotmpl::parse::SmolStr]| path.iter().map(|name| format!(".{name}")).collect::<String>();
    match expression {
        Expr::Dot(_) => ".".to_owned(),
        Expr::Field(_, path) => fields(path),
        Expr::Variable(_, name, path) => format!("{name}{}", fields(path)),
        Expr::Identifier(_, name) => name.to_string(),
        Expr::String(_, text) => quote(text),
        Expr::Number(_, Number::Int(number)) => number.to_string(),
        Expr::Number(_, Number::Uint(number)) => number.to_string(),
        Expr::Number(_, Number::Float(number)) => format!("{number:?}"),
        Expr::Bool(_, value) => value.to_string(),
        Expr::Nil(_) => "nil".to_owned(),
        Expr::Pipe(_, inner) => format!("({})", pipe(inner)),
        Expr::Chain(_, inner, path) => format!("{}{}", self::expression(inner), fields(path)),
    }
}

fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
