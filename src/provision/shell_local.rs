//! `shell-local`, as provisioner and as post-processor: runs scripts on the worker's own host, in the run's working folder,
//! with the template's variables and none of fournil's, which hold keys. What a script starts ends with it.

use std::{
    collections::BTreeMap,
    env, fs, io,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tempfile::TempPath;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

use super::{Failure, Render, output::Remembering, shell, source};
use crate::{
    communicator::{
        Exit,
        quote::{escape_single_quoted, quote},
    },
    domain::{
        log::{Output, Stream},
        provisioner::{ShellLocalPlan, ShellSource},
    },
};

/// Packer's default of `env_var_format`.
const FORMAT: &str = "%s='%s' ";
/// Where commands are looked for if fournil itself was started without a `PATH`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long output is read after the end of a script whose pipes something holds open that left its process group.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// Held while a script is written and while one is started: a process that is forked in between would hold the script open
/// for writing, and the kernel does not run such a file ("text file busy").
static STARTING: Mutex<()> = Mutex::new(());

/// What a script on the host works with.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Where the output goes.
    pub output: &'a dyn Output,
    /// Fills in templates.
    pub render: &'a dyn Render,
    /// The working folder.
    pub folder: &'a Path,
    /// `PACKER_BUILD_NAME`.
    pub run_name: &'a str,
    /// `PACKER_BUILDER_TYPE`.
    pub builder_type: &'a str,
    /// `PACKER_RUN_UUID`.
    pub run_uuid: &'a str,
}

/// Runs the scripts to their end. Dropping the future kills what runs.
///
/// # Errors
/// A template, a file or the host is at fault, or a script ended in a way that is not allowed.
pub async fn run(plan: &ShellLocalPlan, host: &Host<'_>) -> Result<(), Failure> {
    if !plan.runs_here {
        host.output.say("Skipped: `only_on` names other systems than this worker's").await;
        return Ok(());
    }
    let variables = variables(plan, host)?;
    match &plan.source {
        ShellSource::Inline { shebang, commands } => {
            let mut text = shebang.as_ref().map_or_else(String::new, |shebang| format!("#!{shebang}\n"));
            for command in commands {
                text.push_str(&filled_in(host, "inline", command, &[])?);
                text.push('\n');
            }
            let script = written(text.as_bytes()).map_err(|error| not_run("the inline script", &error))?;
            run_script("the inline script", &script, plan, &variables, host).await
        }
        ShellSource::Scripts(paths) => {
            for path in paths {
                let script = source::find(host.folder, path).await?;
                // JSON requests and some archivers bring no modes.
                let made_runnable = fs::set_permissions(&script, fs::Permissions::from_mode(0o755));
                made_runnable.map_err(|error| not_run(path, &error))?;
                run_script(path, &script, plan, &variables, host).await?;
            }
            Ok(())
        }
    }
}

/// The variables that all scripts see, by name.
fn variables(plan: &ShellLocalPlan, host: &Host<'_>) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::from([
        ("PACKER_BUILD_NAME".to_owned(), host.run_name.to_owned()),
        ("PACKER_BUILDER_TYPE".to_owned(), host.builder_type.to_owned()),
        ("PACKER_RUN_UUID".to_owned(), host.run_uuid.to_owned()),
    ]);
    for (name, value) in &plan.environment {
        variables.insert(name.clone(), filled_in(host, name, value.expose_secret(), &[])?);
    }
    Ok(variables)
}

fn filled_in(host: &Host<'_>, what: &str, template: &str, extra: &[(&str, &str)]) -> Result<String, Failure> {
    let rendered = host.render.render(template, extra);
    rendered.map_err(|reason| Failure::Render { what: what.to_owned(), reason })
}

/// A script of which only fournil can read; removed when this is dropped.
fn written(text: &[u8]) -> io::Result<TempPath> {
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = tempfile::Builder::new()
        .prefix("fournil-shell-local-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempfile()?;
    io::Write::write_all(&mut file, text)?;
    // Closed, so that it can be run.
    Ok(file.into_temp_path())
}

async fn run_script(
    name: &str,
    script: &Path,
    plan: &ShellLocalPlan,
    variables: &BTreeMap<String, String>,
    host: &Host<'_>,
) -> Result<(), Failure> {
    host.output.say(&format!("Running {name} on the worker")).await;
    let words = words(script, plan, variables, host)?;
    let output = Remembering::new(host.output);
    let child = start(&words, variables, host.folder).map_err(|error| not_run(name, &error))?;
    let status = watched(child, &output).await.map_err(|error| not_run(name, &error))?;
    let exit = match (status.code(), status.signal()) {
        (Some(code), _) if plan.valid_exit_codes.contains(&code) => return Ok(()),
        (Some(code), _) => Exit::Status(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default().to_string()),
    };
    Err(Failure::Script { script: name.to_owned(), exit, last_lines: output.last_lines() })
}

/// The command line. The variables are in the environment already, so that ours needs not show them to whoever lists the
/// host's processes; a template's own can have them as Packer gives them.
fn words(
    script: &Path,
    plan: &ShellLocalPlan,
    variables: &BTreeMap<String, String>,
    host: &Host<'_>,
) -> Result<Vec<String>, Failure> {
    let script = script.to_string_lossy();
    if plan.execute_command.is_empty() {
        return Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), quote(&script)]);
    }
    let format = plan.env_var_format.as_deref().unwrap_or(FORMAT);
    let format = filled_in(host, "env_var_format", format, &[])?;
    let vars: String = variables
        .iter()
        .map(|(name, value)| shell::filled_in(&format, name, &escape_single_quoted(value)))
        .collect();
    let extra = [("Vars", vars.as_str()), ("Script", &script), ("Command", &script)];
    plan.execute_command.iter().map(|word| filled_in(host, "execute_command", word, &extra)).collect()
}

fn start(words: &[String], variables: &BTreeMap<String, String>, folder: &Path) -> io::Result<Child> {
    let [program, arguments @ ..] = words else {
        return Err(io::Error::other("`execute_command` is empty"));
    };
    let of_ours = |name: &str, usual: &str| env::var_os(name).unwrap_or_else(|| usual.into());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", of_ours("PATH", PATH))
        .env("LANG", of_ours("LANG", "C.UTF-8"))
        .env("HOME", folder)
        .envs(variables)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let _starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// The processes that a script has started; they end with this.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // There may be none any more.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Passes the output on until the script has ended.
async fn watched(mut child: Child, output: &dyn Output) -> io::Result<ExitStatus> {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let group = pid.map(Group);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut pumps = pin!(async {
        tokio::join!(pump(stdout, Stream::Stdout, output), pump(stderr, Stream::Stderr, output));
    });
    let mut is_read = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            () = &mut pumps, if !is_read => is_read = true,
        }
    };
    drop(group);
    if !is_read {
        let _ = tokio::time::timeout(LAST_OUTPUT, pumps).await;
    }
    status
}

async fn pump(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, output: &dyn Output) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        output.chunk(stream, &buffer[..count]).await;
    }
}

fn not_run(what: &str, error: &io::Error) -> Failure {
    Failure::Path { path: PathBuf::from(what), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use secrecy::SecretString;

    use super::*;
    use crate::communicator::ssh::testing::Recorder;

    struct Plain;

    impl Render for Plain {
        fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String> {
            let mut text = template.to_owned();
            for (name, value) in extra {
                text = text.replace(&format!("{{{{.{name}}}}}"), value);
            }
            Ok(text)
        }
    }

    fn plan(commands: &[&str]) -> ShellLocalPlan {
        let commands = commands.iter().map(|command| (*command).to_owned()).collect();
        ShellLocalPlan {
            source: ShellSource::Inline { shebang: Some("/bin/sh -e".to_owned()), commands },
            environment: BTreeMap::new(),
            env_var_format: None,
            execute_command: Vec::new(),
            valid_exit_codes: vec![0],
            runs_here: true,
        }
    }

    async fn in_folder(folder: &Path, plan: &ShellLocalPlan) -> (Result<(), Failure>, Recorder) {
        let output = Recorder::default();
        let host = Host {
            output: &output,
            render: &Plain,
            folder,
            run_name: "debian",
            builder_type: "osc-bsu",
            run_uuid: "u",
        };
        let result = run(plan, &host).await;
        (result, output)
    }

    #[tokio::test]
    async fn a_script_sees_its_folder_and_its_variables_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(&[
            "pwd",
            "env | sort | grep -v -e '^_=' -e ^PATH= -e ^LANG= -e ^SHLVL=",
            "stat -c %a $0",
            "echo $0",
        ]);
        plan.environment.insert("ODD".to_owned(), SecretString::from("it's $HOME"));
        let (result, output) = in_folder(folder.path(), &plan).await;
        result.unwrap();
        let here = folder.path().display();
        let text = output.stdout();
        let (text, script) = text.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(
            text,
            format!(
                "{here}\nHOME={here}\nODD=it's $HOME\nPACKER_BUILDER_TYPE=osc-bsu\nPACKER_BUILD_NAME=debian\n\
                 PACKER_RUN_UUID=u\nPWD={here}\n700"
            )
        );
        assert!(!Path::new(script).exists(), "{script} was left");
    }

    #[tokio::test]
    async fn scripts_of_the_folder_run_through_the_plan_s_command() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one.sh"), "#!/bin/sh\necho one $A; exit 3\n").unwrap();
        let mut plan = plan(&[]);
        plan.source = ShellSource::Scripts(vec!["one.sh".to_owned()]);
        plan.environment.insert("A".to_owned(), SecretString::from("it's a"));
        plan.execute_command =
            ["/bin/sh", "-c", "env -i {{.Vars}} {{.Script}}; echo $?; exit 7"].map(str::to_owned).to_vec();
        plan.valid_exit_codes = vec![7];
        let (result, output) = in_folder(folder.path(), &plan).await;
        result.unwrap();
        assert_eq!(output.stdout(), "one it's a\n3\n");

        plan.valid_exit_codes = vec![0];
        let (result, _) = in_folder(folder.path(), &plan).await;
        assert_eq!(result.unwrap_err().to_string(), "one.sh ended with status 7");
        plan.execute_command = vec!["/no/such/program".to_owned(), String::new()];
        let (result, _) = in_folder(folder.path(), &plan).await;
        assert!(result.unwrap_err().to_string().contains("No such file"));
        plan.runs_here = false;
        let (result, output) = in_folder(folder.path(), &plan).await;
        result.unwrap();
        assert!(output.has_said("Skipped"));
    }

    #[tokio::test]
    async fn what_a_script_leaves_running_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let begin = Instant::now();
        let (result, output) =
            in_folder(folder.path(), &plan(&["sleep 1000 & echo $!", "echo wrong >&2", "exit 1"])).await;
        let Failure::Script { last_lines, .. } = result.unwrap_err() else { panic!() };
        assert!(last_lines.iter().any(|line| line == "wrong"), "{last_lines:?}");
        assert!(begin.elapsed() < crate::testing::PATIENCE);
        until_gone(output.stdout().trim()).await;
    }

    #[tokio::test]
    async fn a_dropped_script_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(&["sh -c 'echo $$ > inner; sleep 1000' & wait"]);
        let running = in_folder(folder.path(), &plan);
        let inner = folder.path().join("inner");
        let written = async {
            while fs::read_to_string(&inner).unwrap_or_default().trim().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = running => panic!("it ended"),
            () = written => {}
        }
        until_gone(fs::read_to_string(&inner).unwrap().trim()).await;
    }

    /// Waits until the process has ended; its parent may not have looked at it yet.
    async fn until_gone(pid: &str) {
        let stat = format!("/proc/{pid}/stat");
        let is_there = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        let begin = Instant::now();
        while is_there() {
            assert!(begin.elapsed() < crate::testing::PATIENCE, "process {pid} lives");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
