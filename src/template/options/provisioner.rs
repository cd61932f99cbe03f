//! Provisioners: the kinds there are and the options that all of them take.

use super::{Treatment, fields::Fields, file::file, shell::shell, shell_local::shell_local, table};
use crate::{
    domain::provisioner::{Provisioner, ProvisionerAction},
    template::{envelope::shorten, suggest::or_did_you_mean},
};

/// The kinds that are done.
const KINDS: [&str; 4] = ["shell", "file", "shell-local", "sleep"];

/// The same in words.
const SUPPORTED: &str = "`shell`, `file`, `shell-local` and `sleep` are";

/// Options that stand beside every kind's own, and that say for which builds it is.
pub const COMMON: [&str; 8] =
    ["type", "only", "except", "override", "pause_before", "timeout", "max_retries", "continue_on_error"];

/// Reads a provisioner. `None` if something is wrong with it, or if it is a breakpoint that is switched off.
pub fn provisioner(fields: &Fields<'_>, kind: &str) -> Option<Provisioner> {
    // Read by whoever chose the provisioner for this run.
    for name in ["type", "only", "except", "override"] {
        fields.has(name);
    }
    let pause_before = fields.duration("pause_before").unwrap_or_default();
    let timeout = fields.duration("timeout").filter(|timeout| !timeout.is_zero());
    let max_retries = fields.whole("max_retries", 0..=1000).and_then(|retries| u32::try_from(retries).ok());
    let continue_on_error = fields.is_on("continue_on_error");
    let action = match kind {
        "shell" => shell(fields).map(|plan| ProvisionerAction::Shell(Box::new(plan))),
        "file" => file(fields).map(ProvisionerAction::File),
        "shell-local" => shell_local(fields).map(|plan| ProvisionerAction::ShellLocal(Box::new(plan))),
        "sleep" => sleep(fields),
        "breakpoint" => {
            let is_off = fields.is_on("disable");
            fields.has("note");
            if !is_off {
                refuse_kind(fields, kind);
                return None;
            }
            None
        }
        _ => {
            refuse_kind(fields, kind);
            return None;
        }
    };
    fields.finish(&format!("`{kind}`"), &[]);
    Some(Provisioner {
        action: action?,
        pause_before,
        timeout,
        max_retries: max_retries.unwrap_or_default(),
        continue_on_error,
    })
}

/// Says why a provisioner of this kind cannot be had.
fn refuse_kind(fields: &Fields<'_>, kind: &str) {
    match table::PROVISIONER_KINDS.iter().find(|(known, _)| *known == kind) {
        Some((_, Treatment::NotYet)) => {
            fields
                .fail_not_yet("type", format!("the provisioner `{kind}` is not supported yet; {SUPPORTED}"));
        }
        Some((_, Treatment::Never(why) | Treatment::Ignored(why))) => {
            fields.fail("type", format!("the provisioner `{kind}` is not possible here: {why}"));
        }
        None => {
            let known = KINDS.into_iter().chain(table::PROVISIONER_KINDS.iter().map(|(known, _)| *known));
            let hint = or_did_you_mean(kind, known, &format!("{SUPPORTED} supported"));
            fields.fail("type", format!("there is no provisioner `{}`; {hint}", shorten(kind)));
        }
    }
}

fn sleep(fields: &Fields<'_>) -> Option<ProvisionerAction> {
    if !fields.has("duration") {
        fields.fail("duration", "`duration` is missing, such as `30s`");
    }
    fields.duration("duration").map(|duration| ProvisionerAction::Sleep { duration })
}
