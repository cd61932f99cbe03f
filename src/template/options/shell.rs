//! The `shell` provisioner's options.

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;

use super::{fields::Fields, files};
use crate::{
    domain::provisioner::{ShellPlan, ShellSource},
    template::{envelope::shorten, render::Scope},
};

/// How long to try to upload and start a script while the connection is shaky; Packer's.
const START_RETRY: Duration = Duration::from_secs(300);
/// What inline commands run under; Packer's.
pub(super) const SHEBANG: &str = "/bin/sh -e";

/// Reads the options.
pub fn shell(fields: &Fields<'_>) -> Option<ShellPlan> {
    let source = source(fields, "a `shell` provisioner needs `inline`, `script` or `scripts`");
    let environment = environment(fields);
    let exit_codes = exit_codes(fields);
    Some(ShellPlan {
        environment,
        env_var_format: late(fields, "env_var_format"),
        use_env_var_file: fields.is_on("use_env_var_file"),
        execute_command: fields.late_text("execute_command", Scope::Command).filter(|text| !text.is_empty()),
        remote_folder: late(fields, "remote_folder").unwrap_or_else(|| "/tmp".to_owned()),
        remote_file: late(fields, "remote_file"),
        remote_path: late(fields, "remote_path"),
        binary: fields.is_on("binary"),
        valid_exit_codes: exit_codes,
        expect_disconnect: fields.is_on("expect_disconnect"),
        start_retry_timeout: fields
            .duration("start_retry_timeout")
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(START_RETRY),
        skip_clean: fields.is_on("skip_clean"),
        pause_after: fields.duration("pause_after").unwrap_or_default(),
        source: source?,
    })
}

/// A text that may name the VM; an empty one is absent.
pub(super) fn late(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    fields.late_text(name, Scope::Script).filter(|text| !text.is_empty())
}

/// The commands or scripts; `needs` is said where there are none.
pub(super) fn source(fields: &Fields<'_>, needs: &str) -> Option<ShellSource> {
    let wrong_before = fields.reading.findings.count();
    let commands = fields.late_texts("inline", Scope::Script);
    let own_shebang = fields.filled("inline_shebang");
    let script = fields.filled("script");
    let scripts = fields.texts("scripts").filter(|scripts| !scripts.is_empty());
    let has_inline = fields.has("inline") && commands.as_ref().is_none_or(|commands| !commands.is_empty());
    if script.is_some() && scripts.is_some() {
        fields.fail("script", "`script` and `scripts` are both given; give one of them");
        return None;
    }
    let (name, paths) = match (script, scripts) {
        (Some(script), _) => ("script", Some(vec![script])),
        (None, scripts) => ("scripts", scripts),
    };
    match (has_inline, paths) {
        (true, Some(_)) => {
            fields.fail("inline", format!("`inline` and `{name}` are both given; give one of them"));
            None
        }
        (true, None) => {
            let commands = commands?;
            let brings_own = commands.first().is_some_and(|first| first.starts_with("#!"));
            let shebang = own_shebang.or_else(|| (!brings_own).then(|| SHEBANG.to_owned()));
            Some(ShellSource::Inline { shebang, commands })
        }
        (false, Some(paths)) => {
            let found: Vec<String> =
                paths.iter().filter_map(|path| files::file(fields, name, path)).collect();
            (found.len() == paths.len()).then_some(ShellSource::Scripts(found))
        }
        (false, None) => {
            // A script whose text could not be rendered is wrong in another way, which has been said.
            if fields.reading.findings.count() == wrong_before {
                fields.fail("inline", needs);
            }
            None
        }
    }
}

/// `env` wins over `environment_vars`, and later entries of that over earlier ones.
pub(super) fn environment(fields: &Fields<'_>) -> BTreeMap<String, SecretString> {
    let mut environment = BTreeMap::new();
    for entry in fields.late_texts("environment_vars", Scope::Script).unwrap_or_default() {
        match entry.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                environment.insert(name.to_owned(), SecretString::from(value));
            }
            // The entry may hold a secret in the wrong place, so it is not repeated.
            _ => fields.fail("environment_vars", "each entry of `environment_vars` must be `NAME=value`"),
        }
    }
    for (name, value) in fields.late_map("env", Scope::Script).unwrap_or_default() {
        if name.is_empty() || name.contains('=') {
            fields.fail("env", format!("`{}` is no name for an environment variable", shorten(&name)));
            continue;
        }
        environment.insert(name, SecretString::from(value));
    }
    environment
}

/// `valid_exit_codes`.
pub(super) fn exit_codes(fields: &Fields<'_>) -> Vec<i32> {
    let mut codes = Vec::new();
    for text in fields.texts("valid_exit_codes").unwrap_or_default() {
        match text.trim().parse() {
            Ok(code) => codes.push(code),
            Err(_) => {
                fields.fail(
                    "valid_exit_codes",
                    format!("`valid_exit_codes` must hold whole numbers, not `{}`", shorten(&text)),
                );
            }
        }
    }
    if codes.is_empty() { vec![0] } else { codes }
}
