//! The options of `shell-local`, which is a provisioner and a post-processor. It runs on the worker's host, so that it is
//! refused unless the operator has turned it on.

use super::{
    fields::{Fields, quoted},
    shell,
};
use crate::{
    domain::{
        Capability,
        provisioner::{ShellLocalPlan, ShellSource},
    },
    template::{envelope::shorten, render::Scope, suggest::or_did_you_mean},
};

/// What `only_on` can name: Go's names of systems.
const SYSTEMS: [&str; 6] = ["linux", "darwin", "freebsd", "openbsd", "solaris", "windows"];
/// Where workers run.
const THIS_SYSTEM: &str = "linux";

/// Reads the options.
pub fn shell_local(fields: &Fields<'_>) -> Option<ShellLocalPlan> {
    let is_allowed = fields.reading.allowed.contains(&Capability::ShellLocal);
    if !is_allowed {
        fields.fail(
            "type",
            "`shell-local` runs commands on the server itself, which this server does not allow; its operator can turn \
             it on with `--capabilities shell-local` (FOURNIL_CAPABILITIES)",
        );
    }
    let source = source(fields);
    let execute_command = execute_command(fields);
    let plan = ShellLocalPlan {
        environment: shell::environment(fields),
        env_var_format: shell::late(fields, "env_var_format"),
        execute_command,
        valid_exit_codes: shell::exit_codes(fields),
        runs_here: runs_here(fields),
        source: source?,
    };
    // These are for Windows, where no worker runs.
    if fields.is_on("use_linux_pathing") {
        fields.notice("use_linux_pathing", "has no effect: it is for Windows");
    }
    if fields.filled("tempfile_extension").is_some() {
        fields.notice("tempfile_extension", "has no effect: it is for Windows");
    }
    is_allowed.then_some(plan)
}

fn source(fields: &Fields<'_>) -> Option<ShellSource> {
    if !fields.has("command") {
        return shell::source(fields, "`shell-local` needs `inline`, `script` or `scripts`");
    }
    for other in ["inline", "script", "scripts"] {
        if fields.has(other) {
            fields.fail("command", format!("`command` and `{other}` are both given; give one of them"));
            return None;
        }
    }
    let command = shell::late(fields, "command");
    let shebang = fields.filled("inline_shebang").unwrap_or_else(|| shell::SHEBANG.to_owned());
    Some(ShellSource::Inline { shebang: Some(shebang), commands: vec![command?] })
}

/// One text alone is for the shell: so it was when this was only a post-processor, and Packer still takes it there.
fn execute_command(fields: &Fields<'_>) -> Vec<String> {
    let words = fields.late_texts("execute_command", Scope::LocalCommand).unwrap_or_default();
    match words.as_slice() {
        [only] => vec!["sh".to_owned(), "-c".to_owned(), only.clone()],
        _ => words,
    }
}

fn runs_here(fields: &Fields<'_>) -> bool {
    let systems = fields.texts("only_on").unwrap_or_default();
    for system in &systems {
        if !SYSTEMS.contains(&system.as_str()) {
            let listed = format!("use {}", quoted(&SYSTEMS));
            let hint = or_did_you_mean(system, SYSTEMS, &listed);
            fields.fail("only_on", format!("`only_on` cannot be `{}`; {hint}", shorten(system)));
        }
    }
    systems.is_empty() || systems.iter().any(|system| system == THIS_SYSTEM)
}
