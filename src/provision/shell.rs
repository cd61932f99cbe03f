//! The shell provisioner: puts scripts into the machine, runs them with their variables, and takes them away again.

use std::path::Path;

use futures::FutureExt;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, ProvisionContext, output::Remembering, source, transport};
use crate::{
    communicator::{
        CommunicatorError, Exit, Upload,
        quote::{escape_single_quoted, quote_path},
    },
    domain::{
        duration,
        provisioner::{ShellPlan, ShellSource},
    },
};

/// Packer's defaults of `execute_command`.
const EXECUTE: &str = "chmod +x {{.Path}}; {{.Vars}} {{.Path}}";
const EXECUTE_WITH_FILE: &str = "chmod +x {{.Path}}; . {{.EnvVarFile}} && {{.Path}}";
/// Packer's defaults of `env_var_format`.
const FORMAT: &str = "%s='%s' ";
const FORMAT_IN_FILE: &str = "export %s='%s'\n";
/// What Packer calls a lost connection in `valid_exit_codes`.
const DISCONNECT_CODE: i32 = 2_300_218;
/// What a script is called that has no name.
const INLINE: &str = "the inline script";

pub(super) async fn run(plan: &ShellPlan, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let scripts = scripts(plan, cx).await?;
    let random = rand::random::<u32>();
    let folder = cx.filled_in("remote_folder", &plan.remote_folder, &[])?;
    let remote = remote_path(plan, &folder, random, cx)?;
    let variables = variables(plan, cx)?;
    let variables_file = plan.use_env_var_file.then(|| format!("{folder}/varfile_{random}.sh"));
    if let Some(file) = &variables_file {
        // Only the login user may read it: it holds what the template calls secret.
        put(variables.expose_secret().as_bytes(), 0o600, file, plan, cx).await?;
    }
    let command = command(plan, &remote, &variables, variables_file.as_deref(), cx)?;
    for script in &scripts {
        cx.output.say(&format!("Running {}", script.name)).await;
        run_script(script, &remote, &command, plan, cx).await?;
        if !plan.skip_clean {
            remove(&remote, plan, cx).await?;
        }
    }
    if let Some(file) = variables_file.filter(|_| !plan.skip_clean) {
        remove(&file, plan, cx).await?;
    }
    if !plan.pause_after.is_zero() {
        cx.output
            .say(&format!("Pausing {} after this provisioner", duration::format(plan.pause_after)))
            .await;
        tokio::time::sleep(plan.pause_after).await;
    }
    Ok(())
}

/// A script as it goes into the machine.
struct Script {
    name: String,
    text: Vec<u8>,
}

async fn scripts(plan: &ShellPlan, cx: &ProvisionContext<'_>) -> Result<Vec<Script>, Failure> {
    match &plan.source {
        ShellSource::Inline { shebang, commands } => {
            let mut text = shebang.as_ref().map_or_else(String::new, |shebang| format!("#!{shebang}\n"));
            for command in commands {
                text.push_str(&cx.filled_in("inline", command, &[])?);
                text.push('\n');
            }
            Ok(vec![Script { name: INLINE.to_owned(), text: unix_lines(text.into_bytes(), plan.binary) }])
        }
        ShellSource::Scripts(paths) => {
            let mut scripts = Vec::with_capacity(paths.len());
            for path in paths {
                let found = source::find(cx.files, path).await?;
                let text = tokio::fs::read(&found).await.map_err(|error| Failure::Path {
                    path: Path::new(path).to_owned(),
                    reason: error.to_string(),
                })?;
                scripts.push(Script { name: path.clone(), text: unix_lines(text, plan.binary) });
            }
            Ok(scripts)
        }
    }
}

/// The script with the line ends that a Unix shell understands.
fn unix_lines(text: Vec<u8>, binary: bool) -> Vec<u8> {
    if binary || !text.windows(2).any(|pair| pair == b"\r\n") {
        return text;
    }
    let mut unix = Vec::with_capacity(text.len());
    let mut bytes = text.into_iter().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\r' || bytes.peek() != Some(&b'\n') {
            unix.push(byte);
        }
    }
    unix
}

/// Where the script goes, in this folder unless the plan says otherwise.
fn remote_path(
    plan: &ShellPlan,
    folder: &str,
    random: u32,
    cx: &ProvisionContext<'_>,
) -> Result<String, Failure> {
    if let Some(path) = &plan.remote_path {
        return cx.filled_in("remote_path", path, &[]);
    }
    let file = match &plan.remote_file {
        Some(file) => cx.filled_in("remote_file", file, &[])?,
        None => format!("script_{random}.sh"),
    };
    Ok(format!("{folder}/{file}"))
}

/// All variables in the plan's format, in the order of their names.
fn variables(plan: &ShellPlan, cx: &ProvisionContext<'_>) -> Result<SecretString, Failure> {
    let default = if plan.use_env_var_file { FORMAT_IN_FILE } else { FORMAT };
    let format = &cx.filled_in("env_var_format", plan.env_var_format.as_deref().unwrap_or(default), &[])?;
    let mut variables = std::collections::BTreeMap::from([
        ("PACKER_BUILD_NAME", cx.run_name.to_owned()),
        ("PACKER_BUILDER_TYPE", cx.builder_type.to_owned()),
    ]);
    for (name, value) in &plan.environment {
        variables.insert(name, cx.filled_in(name, value.expose_secret(), &[])?);
    }
    let mut text = String::new();
    for (name, value) in &variables {
        // Packer's formats put the value between single quotes.
        text.push_str(&filled_in(format, name, &escape_single_quoted(value)));
    }
    Ok(SecretString::from(text))
}

/// `format` with its two `%s` filled in as Go's printf does it; `%[1]s` and `%[2]s` name them, `%%` is a percent sign.
pub(super) fn filled_in(format: &str, name: &str, value: &str) -> String {
    let arguments = [name, value];
    let mut text = String::with_capacity(format.len() + name.len() + value.len());
    let mut next = 0;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let (taken, argument) = if rest.starts_with("%%") {
            text.push('%');
            (2, None)
        } else if rest.starts_with("%s") || rest.starts_with("%v") {
            next += 1;
            (2, arguments.get(next - 1))
        } else if rest.starts_with("%[1]s") || rest.starts_with("%[2]s") {
            next = if rest.starts_with("%[1]") { 1 } else { 2 };
            (5, arguments.get(next - 1))
        } else {
            text.push('%');
            (1, None)
        };
        text.push_str(argument.copied().unwrap_or_default());
        rest = &rest[taken..];
    }
    text.push_str(rest);
    text
}

fn command(
    plan: &ShellPlan,
    remote: &str,
    variables: &SecretString,
    variables_file: Option<&str>,
    cx: &ProvisionContext<'_>,
) -> Result<SecretString, Failure> {
    let default = if plan.use_env_var_file { EXECUTE_WITH_FILE } else { EXECUTE };
    let template = plan.execute_command.as_deref().unwrap_or(default);
    let (path, file) = (quote_path(remote), variables_file.map(quote_path).unwrap_or_default());
    let extra = [("Path", path.as_str()), ("Vars", variables.expose_secret()), ("EnvVarFile", file.as_str())];
    cx.filled_in("execute_command", template, &extra).map(SecretString::from)
}

async fn put(
    text: &[u8],
    mode: u32,
    remote: &str,
    plan: &ShellPlan,
    cx: &ProvisionContext<'_>,
) -> Result<(), Failure> {
    let communicator = cx.communicator;
    let send =
        || async move { Ok(communicator.upload(Upload::bytes(text).with_mode(mode), remote).await?) }.boxed();
    transport::retried(plan.start_retry_timeout, send).await
}

async fn run_script(
    script: &Script,
    remote: &str,
    command: &SecretString,
    plan: &ShellPlan,
    cx: &ProvisionContext<'_>,
) -> Result<(), Failure> {
    let output = Remembering::new(cx.output);
    let (communicator, output) = (cx.communicator, &output);
    // Both in one try: a machine that reboots between them may have lost the script.
    let start = || {
        async move {
            communicator.upload(Upload::bytes(&script.text).with_mode(0o755), remote).await?;
            Ok(communicator.run(command.expose_secret(), output).await?)
        }
        .boxed()
    };
    let exit = transport::retried(plan.start_retry_timeout, start).await?;
    if is_fine(&exit, plan) {
        return Ok(());
    }
    let (script, last_lines) = (script.name.clone(), output.last_lines());
    Err(match exit {
        Exit::Disconnected => Failure::Disconnected { script, last_lines },
        exit => Failure::Script { script, exit, last_lines },
    })
}

fn is_fine(exit: &Exit, plan: &ShellPlan) -> bool {
    let is_valid = |code: i32| plan.valid_exit_codes.contains(&code);
    match exit {
        // An empty list is the default one.
        Exit::Status(0) if plan.valid_exit_codes.is_empty() => true,
        Exit::Status(status) => is_valid(*status),
        Exit::Disconnected => plan.expect_disconnect || is_valid(DISCONNECT_CODE),
        // A machine that shuts down ends its scripts before it ends the connection.
        Exit::Signal(signal) if plan.expect_disconnect && matches!(signal.as_str(), "TERM" | "HUP") => true,
        Exit::Signal(signal) => signal_number(signal).is_some_and(|number| is_valid(128 + number)),
    }
}

/// A signal's number on Linux; shells add 128 to it.
fn signal_number(name: &str) -> Option<i32> {
    Some(match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "ABRT" => 6,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => return None,
    })
}

/// Removes a file that we put into the machine. It must not end up in an image, so failing to is a failure.
async fn remove(remote: &str, plan: &ShellPlan, cx: &ProvisionContext<'_>) -> Result<(), Failure> {
    let output = Remembering::new(cx.output);
    let (communicator, output) = (cx.communicator, &output);
    let command = format!("rm -f {}", quote_path(remote));
    let command = command.as_str();
    let delete = || {
        async move {
            match communicator.run(command, output).await? {
                // After a script that reboots, the connection may go only now.
                Exit::Disconnected => Err(Failure::Communicator(CommunicatorError::ConnectionLost {
                    address: "the machine".to_owned(),
                    reason: "it went away while a script was removed".to_owned(),
                })),
                exit => Ok(exit),
            }
        }
        .boxed()
    };
    match transport::retried(plan.start_retry_timeout, delete).await? {
        Exit::Status(0) => Ok(()),
        exit => {
            let script = format!("the removal of {remote}");
            Err(Failure::Script { script, exit, last_lines: output.last_lines() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_filled_in_as_go_does_it() {
        assert_eq!(filled_in("%s='%s' ", "A", "b c"), "A='b c' ");
        assert_eq!(filled_in("export %[1]s=\"%[2]s\" # %[1]s\n", "A", "b"), "export A=\"b\" # A\n");
        assert_eq!(filled_in("100%% %s=%s %d", "A", "%s"), "100% A=%s %d");
    }

    #[test]
    fn windows_line_ends_become_unix_ones_unless_the_script_is_binary() {
        assert_eq!(unix_lines(b"a\r\nb\rc\r\n".to_vec(), false), b"a\nb\rc\n");
        assert_eq!(unix_lines(b"a\r\n".to_vec(), true), b"a\r\n");
    }
}
