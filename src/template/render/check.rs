//! Looks at a template before it is used: what it calls and reads must exist where it stands. The engine itself finds
//! an unknown function only when it gets there, and lets some broken templates pass.

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, PipeNode};

use super::functions::{BUILD_KEYS, BUILTINS, PURE, REQUEST, refusal, unknown};
use crate::template::suggest::or_did_you_mean;

/// Where a template stands, which says what it can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The default of a user variable: `env`, but no build.
    Variables,
    /// An option that is needed before anything starts.
    Option,
    /// Tags and descriptions: what is known of the source OMI.
    Tags,
    /// Commands and environment of a provisioner: and of the VM.
    Script,
    /// `execute_command`: and the script's path and variables.
    Command,
    /// `execute_command` of `shell-local`.
    LocalCommand,
    /// `output` of `checksum`.
    Checksum,
    /// `mount_path` and `pre_mount_commands` of `osc-chroot`: the device.
    Device,
    /// `post_mount_commands` of `osc-chroot`: and where it is mounted.
    Mounted,
    /// `command_wrapper` of `osc-chroot`: the command.
    Wrapper,
}

/// What stands for an HCL2 expression that waits for the VM: `{{hcl 0}}`.
pub const DEFERRED: &str = "hcl";

/// What is said about a value that comes too late.
const NEEDED_BEFORE: &str =
    "the value depends on `build`, which is known once the VM runs; this option is needed before that";

const TAG_FIELDS: [&str; 4] = ["BuildRegion", "SourceOMI", "SourceOMIName", "SourceOMITags"];
const COMMAND_FIELDS: [&str; 3] = ["Path", "Vars", "EnvVarFile"];
const LOCAL_COMMAND_FIELDS: [&str; 3] = ["Script", "Command", "Vars"];
const MOUNTED_FIELDS: [&str; 2] = ["Device", "MountPath"];
const CHECKSUM_FIELDS: [&str; 3] = ["BuildName", "BuilderType", "ChecksumType"];

impl Scope {
    /// The fields (`{{.Name}}`) that have a value here.
    fn fields(self) -> Vec<&'static str> {
        let mut fields = Vec::new();
        if self == Self::Tags || self.has_build() {
            fields.extend(TAG_FIELDS);
        }
        if self.has_build() {
            fields.extend(BUILD_KEYS);
        }
        match self {
            Self::Command => fields.extend(COMMAND_FIELDS),
            Self::LocalCommand => fields.extend(LOCAL_COMMAND_FIELDS),
            Self::Checksum => fields.extend(CHECKSUM_FIELDS),
            Self::Device => fields.push(MOUNTED_FIELDS[0]),
            Self::Mounted => fields.extend(MOUNTED_FIELDS),
            Self::Wrapper => fields.push("Command"),
            Self::Variables | Self::Option | Self::Tags | Self::Script => {}
        }
        fields
    }

    const fn has_build(self) -> bool {
        matches!(self, Self::Script | Self::Command | Self::LocalCommand | Self::Checksum)
    }
}

/// Looks at the whole tree. `has_deferred`: it may stand for HCL2 expressions (`{{hcl 0}}`).
///
/// # Errors
/// Says what cannot be used here.
pub fn check(tree: &ListNode, scope: Scope, has_deferred: bool) -> Result<(), String> {
    Check { scope, fields: scope.fields(), has_deferred }.list(tree, true)
}

/// Whether any node repeats or keeps a value, so that a short template could do much work.
pub fn has_loop_or_variable(tree: &ListNode) -> bool {
    tree.nodes.iter().any(|node| match node {
        Node::Range(_) => true,
        Node::Action(action) => !action.pipe.decl.is_empty(),
        Node::List(list) => has_loop_or_variable(list),
        Node::If(branch) | Node::With(branch) => {
            !branch.pipe.decl.is_empty()
                || has_loop_or_variable(&branch.body)
                || branch.else_body.as_ref().is_some_and(has_loop_or_variable)
        }
        _ => false,
    })
}

/// The names that `user` is called with.
///
/// # Errors
/// A name is not a plain text.
pub fn variables_named(tree: &ListNode) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    in_list(tree, &mut names)?;
    Ok(names)
}

fn in_list(list: &ListNode, names: &mut Vec<String>) -> Result<(), String> {
    for node in &list.nodes {
        match node {
            Node::List(list) => in_list(list, names)?,
            Node::Action(action) => in_pipe(&action.pipe, names)?,
            Node::If(branch) | Node::With(branch) | Node::Range(branch) => {
                in_pipe(&branch.pipe, names)?;
                in_list(&branch.body, names)?;
                if let Some(list) = &branch.else_body {
                    in_list(list, names)?;
                }
            }
            Node::Text(_) | Node::Template(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }
    Ok(())
}

fn in_pipe(pipe: &PipeNode, names: &mut Vec<String>) -> Result<(), String> {
    for command in &pipe.commands {
        for (index, argument) in command.args.iter().enumerate() {
            match argument {
                Expr::Pipe(_, inner) => in_pipe(inner, names)?,
                Expr::Identifier(_, name) if name == "user" => match command.args.get(index + 1) {
                    Some(Expr::String(_, variable)) => names.push(variable.to_string()),
                    _ => return Err("under `variables`, `user` must be given a plain text".to_owned()),
                },
                _ => {}
            }
        }
    }
    Ok(())
}

struct Check {
    scope: Scope,
    fields: Vec<&'static str>,
    has_deferred: bool,
}

impl Check {
    /// `is_root`: the dot is the data itself, not what `with` or `range` made of it.
    fn list(&self, list: &ListNode, is_root: bool) -> Result<(), String> {
        list.nodes.iter().try_for_each(|node| self.node(node, is_root))
    }

    fn node(&self, node: &Node, is_root: bool) -> Result<(), String> {
        match node {
            Node::List(list) => self.list(list, is_root),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
            Node::Action(action) => self.pipe(&action.pipe, is_root),
            Node::If(branch) => {
                self.pipe(&branch.pipe, is_root)?;
                self.list(&branch.body, is_root)?;
                branch.else_body.as_ref().map_or(Ok(()), |list| self.list(list, is_root))
            }
            Node::With(branch) | Node::Range(branch) => {
                self.pipe(&branch.pipe, is_root)?;
                self.list(&branch.body, false)?;
                branch.else_body.as_ref().map_or(Ok(()), |list| self.list(list, is_root))
            }
            Node::Template(_) | Node::Define(_) => {
                Err("`define`, `block` and `template` are not offered here; write the text out".to_owned())
            }
        }
    }

    fn pipe(&self, pipe: &PipeNode, is_root: bool) -> Result<(), String> {
        for (index, command) in pipe.commands.iter().enumerate() {
            self.command(command, is_root, index > 0)?;
        }
        Ok(())
    }

    fn command(&self, command: &CommandNode, is_root: bool, is_piped: bool) -> Result<(), String> {
        if let Some(Expr::Identifier(_, name)) = command.args.first() {
            self.call(name, &command.args[1..], is_piped)?;
        } else if is_piped {
            return Err("what stands after `|` must be a function".to_owned());
        } else if command.args.len() > 1 {
            return Err("a value cannot be called; write a function first".to_owned());
        }
        // The function itself has been looked at with its arguments.
        let called = usize::from(matches!(command.args.first(), Some(Expr::Identifier(..))));
        command.args[called..].iter().try_for_each(|argument| self.expression(argument, is_root))
    }

    fn expression(&self, expression: &Expr, is_root: bool) -> Result<(), String> {
        match expression {
            Expr::Field(_, path) if is_root => self.field(path.first().map(AsRef::as_ref)),
            Expr::Variable(_, name, path) if name == "$" && !path.is_empty() => {
                self.field(path.first().map(AsRef::as_ref))
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe, is_root),
            Expr::Chain(_, inner, _) => self.expression(inner, is_root),
            Expr::Identifier(_, name) => self.call(name, &[], false),
            _ => Ok(()),
        }
    }

    fn field(&self, name: Option<&str>) -> Result<(), String> {
        let Some(name) = name else { return Ok(()) };
        if self.fields.contains(&name) {
            return Ok(());
        }
        if self.fields.is_empty() {
            return Err(format!(
                "`.{name}` has no value here: this option is needed before there is a source OMI or a VM"
            ));
        }
        let listed = format!(
            "known are {}",
            self.fields.iter().map(|field| format!(".{field}")).collect::<Vec<_>>().join(", ")
        );
        Err(format!(
            "`.{name}` has no value here; {}",
            or_did_you_mean(name, self.fields.iter().copied(), &listed)
        ))
    }

    fn call(&self, name: &str, arguments: &[Expr], is_piped: bool) -> Result<(), String> {
        if BUILTINS.contains(&name) || PURE.contains(&name) {
            return Ok(());
        }
        if name == "build" {
            return self.build(arguments, is_piped);
        }
        if name == DEFERRED && self.has_deferred {
            return if self.scope.has_build() { Ok(()) } else { Err(NEEDED_BEFORE.to_owned()) };
        }
        if let Some(why) = refusal(name) {
            return Err(format!("the function `{name}` {why}"));
        }
        if !REQUEST.contains(&name) {
            return Err(unknown(name));
        }
        match name {
            "env" if self.scope != Scope::Variables => {
                Err("`env` works under `variables` only; declare a variable and use `user`".to_owned())
            }
            "build_name" | "build_type" if self.scope == Scope::Variables => {
                Err(format!("`{name}` has no value under `variables`"))
            }
            _ => Ok(()),
        }
    }

    fn build(&self, arguments: &[Expr], is_piped: bool) -> Result<(), String> {
        if !self.scope.has_build() {
            return Err(
                "`build` has a value only in the commands, environment and paths of a provisioner or post-processor".to_owned()
            );
        }
        match arguments {
            [Expr::String(_, key)] if !is_piped => {
                if BUILD_KEYS.contains(&&**key) {
                    return Ok(());
                }
                match &**key {
                    "WinRMPassword" | "PackerHTTPIP" | "PackerHTTPPort" | "PackerHTTPAddr" => {
                        Err(format!("`build \"{key}\"` is not supported yet"))
                    }
                    other => {
                        let listed = format!("known are {}", BUILD_KEYS.join(", "));
                        Err(format!(
                            "there is no `build \"{other}\"`; {}",
                            or_did_you_mean(other, BUILD_KEYS, &listed)
                        ))
                    }
                }
            }
            _ => Err("`build` takes one text, e.g. `build \"ID\"`".to_owned()),
        }
    }
}

/// Finds an `{{end}}` or `{{else}}` that belongs to nothing, for the engine would drop all that follows it, and an `{{if}}`
/// without an end.
///
/// # Errors
/// Names it.
pub fn refuse_stray_ends(source: &str) -> Result<(), String> {
    let mut depth = 0_usize;
    let mut rest = source;
    while let Some(start) = rest.find("{{") {
        rest = &rest[start + 2..];
        let inside =
            rest.strip_prefix('-').filter(|inside| inside.starts_with(char::is_whitespace)).unwrap_or(rest);
        let inside = inside.trim_start();
        let word: String = inside.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        match word.as_str() {
            "if" | "with" | "range" | "define" | "block" => depth += 1,
            "end" => depth = depth.checked_sub(1).ok_or("`{{end}}` belongs to nothing")?,
            "else" if depth == 0 => return Err("`{{else}}` belongs to nothing".to_owned()),
            _ => {}
        }
        rest = after_action(inside);
    }
    if depth > 0 { Err("the template is broken: an `{{end}}` is missing".to_owned()) } else { Ok(()) }
}

/// What stands after the action's `}}`; texts and comments in it may hold one too.
fn after_action(inside: &str) -> &str {
    if let Some(comment) = inside.strip_prefix("/*") {
        return comment.find("*/").map_or("", |end| after_action(&comment[end + 2..]));
    }
    let bytes = inside.as_bytes();
    let mut at = 0;
    let mut quote = None;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return &inside[at + 2..],
            (None, open @ (b'"' | b'`' | b'\'')) => quote = Some(open),
            (Some(b'"' | b'\''), b'\\') => at += 1,
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        at += 1;
    }
    ""
}
