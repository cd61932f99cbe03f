//! Provisioners in a real machine of our own: an SSH server on the loopback address.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use proptest::strategy::{Strategy, ValueTree};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Failure, ProvisionContext, ProvisionError, Render, run_provisioner};
use crate::{
    communicator::{
        CommunicatorError, Exit,
        ssh::{
            SshCommunicator,
            testing::{Recorder, Server, assert_same, odd_folder, until_async},
        },
    },
    domain::provisioner::{FilePlan, FileSource, Provisioner, ProvisionerAction, ShellPlan, ShellSource},
    testing::PATIENCE,
};

/// Fills in `{{.Name}}` and the like, which is all that these tests need.
struct Plain;

impl Render for Plain {
    fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String> {
        if template.contains("{{bad}}") {
            return Err("function \"bad\" is not defined".to_owned());
        }
        let mut text = template.to_owned();
        // All at once in reality; here the values come last that could hold such names themselves.
        for (name, value) in extra.iter().rev() {
            text = text.replace(&format!("{{{{.{name}}}}}"), value);
        }
        Ok(text)
    }
}

struct Kitchen {
    server: Server,
    ssh: SshCommunicator,
    output: Recorder,
    files: TempDir,
    downloads: TempDir,
    /// A folder of the machine.
    remote: TempDir,
    cancel: CancellationToken,
}

impl Kitchen {
    async fn open() -> Self {
        let server = Server::openssh("");
        Self {
            ssh: server.connect().await,
            server,
            output: Recorder::default(),
            files: tempfile::tempdir().unwrap(),
            downloads: tempfile::tempdir().unwrap(),
            remote: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
        }
    }

    fn remote(&self, path: &str) -> String {
        format!("{}/{path}", self.remote.path().display())
    }

    async fn run(&self, provisioner: &Provisioner) -> Result<(), ProvisionError> {
        let cx = ProvisionContext {
            communicator: &self.ssh,
            output: &self.output,
            render: &Plain,
            files: self.files.path(),
            downloads: self.downloads.path(),
            download_limit: 10_000_000,
            run_name: "osc-bsu.debian",
            builder_type: "osc-bsu",
            run_uuid: "u",
            default_timeout: None,
            cancel: &self.cancel,
        };
        run_provisioner(1, provisioner, &cx).await
    }

    async fn shell(&self, change: impl FnOnce(&mut ShellPlan)) -> Result<(), ProvisionError> {
        let mut plan = self.shell_plan();
        change(&mut plan);
        self.run(&provisioner(ProvisionerAction::Shell(Box::new(plan)))).await
    }

    fn shell_plan(&self) -> ShellPlan {
        ShellPlan {
            source: inline(&["true"]),
            environment: BTreeMap::new(),
            env_var_format: None,
            use_env_var_file: false,
            execute_command: None,
            remote_folder: self.remote.path().to_str().unwrap().to_owned(),
            remote_file: None,
            remote_path: None,
            binary: false,
            valid_exit_codes: vec![0],
            expect_disconnect: false,
            start_retry_timeout: PATIENCE,
            skip_clean: false,
            pause_after: Duration::ZERO,
        }
    }

    async fn file(&self, source: FileSource, destination: &str) -> Result<(), ProvisionError> {
        let plan = FilePlan { source, destination: destination.to_owned() };
        self.run(&provisioner(ProvisionerAction::File(plan))).await
    }

    fn left_in_machine(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.remote.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn provisioner(action: ProvisionerAction) -> Provisioner {
    Provisioner {
        action,
        pause_before: Duration::ZERO,
        timeout: None,
        max_retries: 0,
        continue_on_error: false,
    }
}

fn inline(commands: &[&str]) -> ShellSource {
    let commands = commands.iter().map(|command| (*command).to_owned()).collect();
    ShellSource::Inline { shebang: Some("/bin/sh -e".to_owned()), commands }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

#[tokio::test]
async fn an_inline_script_runs_with_its_variables_and_leaves_nothing() {
    let kitchen = Kitchen::open().await;
    kitchen
        .shell(|plan| {
            plan.source = inline(&[
                "echo $PACKER_BUILD_NAME $PACKER_BUILDER_TYPE",
                "printf '%s\\n' \"$ODD\"",
                "false",
                "echo not here",
            ]);
            plan.environment.insert("ODD".to_owned(), secret("it's `odd` $HOME \"x\"\n*"));
            plan.valid_exit_codes = vec![1];
        })
        .await
        .unwrap();
    assert_eq!(kitchen.output.stdout(), "osc-bsu.debian osc-bsu\nit's `odd` $HOME \"x\"\n*\n");
    assert!(kitchen.left_in_machine().is_empty());
}

#[tokio::test]
async fn scripts_run_in_order_with_unix_line_ends_through_the_plan_s_command() {
    let kitchen = Kitchen::open().await;
    std::fs::write(kitchen.files.path().join("one.sh"), "#!/bin/sh\r\necho one \"$A\"\r\n").unwrap();
    std::fs::write(kitchen.files.path().join("two.sh"), "#!/bin/sh\necho two $0\n").unwrap();
    kitchen
        .shell(|plan| {
            plan.source = ShellSource::Scripts(vec!["one.sh".to_owned(), "two.sh".to_owned()]);
            plan.environment.insert("A".to_owned(), secret("a"));
            plan.execute_command = Some("echo before; {{.Vars}} sh '{{.Path}}'".to_owned());
            plan.remote_file = Some("mine.sh".to_owned());
            plan.skip_clean = true;
        })
        .await
        .unwrap();
    let path = kitchen.remote("mine.sh");
    assert_eq!(kitchen.output.stdout(), format!("before\none a\nbefore\ntwo {path}\n"));
    assert_eq!(kitchen.left_in_machine(), ["mine.sh"]);
}

#[tokio::test]
async fn a_failure_can_be_gone_on_behind_but_not_a_lost_machine_or_a_cancelled_build() {
    let kitchen = Kitchen::open().await;
    let with = |action| Provisioner { max_retries: 1, continue_on_error: true, ..provisioner(action) };
    let shell = |commands: &[&str]| {
        let plan = ShellPlan { source: inline(commands), ..kitchen.shell_plan() };
        with(ProvisionerAction::Shell(Box::new(plan)))
    };
    kitchen.run(&shell(&["exit 3"])).await.unwrap();
    let said = kitchen.output.said.lock().unwrap().join("\n");
    assert!(
        said.contains("Warning: provisioner 2 (shell) failed: the inline script ended with status 3"),
        "{said}"
    );
    assert_eq!(said.matches("Tries left").count(), 1, "{said}");
    let missing =
        FilePlan { source: FileSource::Upload(vec!["no".to_owned()]), destination: "/x".to_owned() };
    kitchen.run(&with(ProvisionerAction::File(missing))).await.unwrap();
    kitchen.cancel.cancel();
    assert!(kitchen.run(&shell(&["exit 3"])).await.unwrap_err().is_cancelled());
    for failure in [
        Failure::Disconnected { script: String::new(), last_lines: Vec::new() },
        Failure::Communicator(CommunicatorError::ConnectionLost {
            address: String::new(),
            reason: String::new(),
        }),
    ] {
        assert!(failure.ends_provisioning(), "{failure}");
    }
}

#[tokio::test]
async fn variables_can_come_by_a_file_that_goes_again() {
    let kitchen = Kitchen::open().await;
    kitchen
        .shell(|plan| {
            plan.source = inline(&["echo \"$A\"", "stat -c %a \"$(dirname \"$0\")\"/varfile_*.sh"]);
            plan.environment.insert("A".to_owned(), secret("it's a"));
            plan.use_env_var_file = true;
        })
        .await
        .unwrap();
    assert_eq!(kitchen.output.stdout(), "it's a\n600\n");
    assert!(kitchen.left_in_machine().is_empty());
}

#[tokio::test]
async fn every_value_arrives_as_it_is() {
    let kitchen = Kitchen::open().await;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..12 {
        let strategy = "([^\\x00]|['\"$`\\\\\n\r !*~#%{}-]){0,60}";
        let value = strategy.new_tree(&mut runner).unwrap().current();
        for by_file in [false, true] {
            kitchen.output.chunks.lock().unwrap().clear();
            kitchen
                .shell(|plan| {
                    plan.source = inline(&["printf '%s|' \"$VALUE\""]);
                    plan.environment.insert("VALUE".to_owned(), secret(&value));
                    plan.use_env_var_file = by_file;
                })
                .await
                .unwrap();
            assert_eq!(kitchen.output.stdout(), format!("{value}|"));
        }
    }
}

#[tokio::test]
async fn a_failed_script_is_told_with_its_status_and_last_lines() {
    let kitchen = Kitchen::open().await;
    let error = kitchen
        .shell(|plan| {
            plan.source = inline(&[
                "for i in 1 2 3 4 5 6 7; do echo line $i; done",
                "sleep 0.1; echo why >&2",
                "exit 3",
            ])
        })
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "provisioner 2 (shell) failed: the inline script ended with status 3");
    assert_eq!(error.code(), "provisioner_failed");
    assert_eq!(error.last_lines(), ["line 4", "line 5", "line 6", "line 7", "why"]);
    assert!(error.hint().is_some());
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn the_last_error_counts_after_all_tries() {
    let kitchen = Kitchen::open().await;
    let count = kitchen.remote("count");
    let mut plan = kitchen.shell_plan();
    plan.source = inline(&[&format!("echo x >> {count}"), &format!("exit $(wc -l < {count})")]);
    let mut failing = provisioner(ProvisionerAction::Shell(Box::new(plan)));
    failing.max_retries = 2;
    let error = kitchen.run(&failing).await.unwrap_err();
    assert_eq!(error.tries, 3);
    assert!(matches!(&*error.failure, Failure::Script { exit: Exit::Status(3), .. }), "{error}");
    assert!(error.to_string().contains("in each of 3 tries"), "{error}");

    let ProvisionerAction::Shell(plan) = &mut failing.action else { unreachable!() };
    plan.valid_exit_codes = vec![5];
    kitchen.run(&failing).await.unwrap();
}

#[tokio::test]
async fn a_script_may_reboot_the_machine_only_if_the_plan_says_so() {
    let kitchen = Kitchen::open().await;
    // The first process above that is the server's is the one for this connection.
    let dies = "p=$PPID; while ! grep -q ^sshd /proc/$p/comm; do p=$(ps -o ppid= -p $p | tr -d ' '); done; kill -9 $p; sleep 100";
    let flag = kitchen.remote("flag");
    let waits = format!("until [ -e {flag} ]; do sleep 0.01; done");
    let script = kitchen.shell(|plan| plan.source = inline(&["echo last words", &waits, dies]));
    let heard = async {
        until_async("the output came", || kitchen.output.stdout() == "last words\n").await;
        std::fs::write(&flag, "").unwrap();
    };
    let (result, ()) = tokio::join!(script, heard);
    let error = result.unwrap_err();
    assert_eq!(error.code(), "provisioner_disconnected");
    assert_eq!(error.last_lines(), ["last words"]);
    assert!(error.hint().unwrap().contains("expect_disconnect"));
    let expected = |plan: &mut ShellPlan| {
        plan.source = inline(&[dies]);
        plan.expect_disconnect = true;
        plan.remote_file = Some("reboots.sh".to_owned());
    };
    kitchen.shell(expected).await.unwrap();
    assert!(!kitchen.left_in_machine().contains(&"reboots.sh".to_owned()), "removed over the new connection");
    kitchen
        .shell(|plan| (plan.source, plan.valid_exit_codes) = (inline(&[dies]), vec![0, 2_300_218]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_timeout_holds_with_a_pause_and_ends_the_script() {
    let kitchen = Kitchen::open().await;
    let pid_file = kitchen.remote("pid");
    let mut pid = String::new();
    // On a busy machine the script may not even begin within the first of these.
    for seconds in [2, 20, 100] {
        let mut plan = kitchen.shell_plan();
        plan.source = inline(&[&format!("echo $$ > {pid_file}"), "sleep 3600"]);
        let mut slow = provisioner(ProvisionerAction::Shell(Box::new(plan)));
        slow.pause_before = Duration::from_millis(300);
        slow.timeout = Some(Duration::from_secs(seconds));
        let started = Instant::now();
        let error = kitchen.run(&slow).await.unwrap_err();
        assert_eq!(error.code(), "provisioner_timeout");
        let least = slow.pause_before + Duration::from_secs(seconds);
        assert!(started.elapsed() >= least, "the pause is not part of the time");
        pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
        if !pid.is_empty() {
            break;
        }
    }
    assert!(!pid.is_empty(), "the script never began");
    until_async("the script is gone", || !Path::new("/proc").join(pid.trim()).exists()).await;
}

#[tokio::test]
async fn cancelling_ends_a_script_at_once_and_without_retries() {
    let kitchen = Kitchen::open().await;
    let pid_file = kitchen.remote("pid");
    let mut plan = kitchen.shell_plan();
    plan.source = inline(&[&format!("echo $$ > {pid_file}"), "sleep 3600"]);
    let mut slow = provisioner(ProvisionerAction::Shell(Box::new(plan)));
    slow.max_retries = 5;
    let mut pid = String::new();
    let cancelling = async {
        until_async("the script runs", || {
            pid = std::fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
            !pid.is_empty()
        })
        .await;
        kitchen.cancel.cancel();
    };
    // The script would go on for an hour.
    let (result, ()) = tokio::join!(kitchen.run(&slow), cancelling);
    let error = result.unwrap_err();
    assert!(error.is_cancelled());
    assert_eq!(error.tries, 1);
    until_async("the script is gone", || !Path::new("/proc").join(&pid).exists()).await;
}

#[tokio::test]
async fn sleeping_ends_when_cancelled() {
    let kitchen = Kitchen::open().await;
    let sleep = provisioner(ProvisionerAction::Sleep { duration: Duration::from_secs(3600) });
    let cancelling = async {
        until_async("it sleeps", || kitchen.output.has_said("Sleeping 1h")).await;
        kitchen.cancel.cancel();
    };
    let (result, ()) = tokio::join!(kitchen.run(&sleep), cancelling);
    assert!(result.unwrap_err().is_cancelled());
    let short = Kitchen::open().await;
    short.run(&provisioner(ProvisionerAction::Sleep { duration: Duration::from_millis(1) })).await.unwrap();
}

#[tokio::test]
async fn uploads_follow_packer_s_slashes() {
    let kitchen = Kitchen::open().await;
    let files = odd_folder(&kitchen.files.path().join("web site"));
    let upload = |source: &str| FileSource::Upload(vec![source.to_owned()]);

    kitchen.file(upload("web site/plain.txt"), &kitchen.remote("exact")).await.unwrap();
    assert_eq!(std::fs::read(kitchen.remote("exact")).unwrap(), b"hello\n");
    std::fs::create_dir(kitchen.remote("folder")).unwrap();
    kitchen.file(upload("./web site/plain.txt"), &kitchen.remote("folder/")).await.unwrap();
    assert_eq!(std::fs::read(kitchen.remote("folder/plain.txt")).unwrap(), b"hello\n");

    kitchen.file(upload("web site"), &kitchen.remote("folder")).await.unwrap();
    assert_same(Path::new(&kitchen.remote("folder/web site")), &files, true);
    std::fs::create_dir(kitchen.remote("contents")).unwrap();
    kitchen.file(upload("web site/"), &kitchen.remote("contents")).await.unwrap();
    assert_same(Path::new(&kitchen.remote("contents")), &files, true);

    kitchen.file(FileSource::Content(secret("text")), &kitchen.remote("content")).await.unwrap();
    assert_eq!(std::fs::read(kitchen.remote("content")).unwrap(), b"text");
    std::fs::create_dir(kitchen.remote("drop")).unwrap();
    kitchen.file(FileSource::Content(secret("text")), &kitchen.remote("drop/")).await.unwrap();
    let dropped = std::fs::read_dir(kitchen.remote("drop")).unwrap().next().unwrap().unwrap();
    assert!(dropped.file_name().to_str().unwrap().starts_with("pkr-file-content"));
}

#[tokio::test]
async fn nothing_outside_of_the_template_s_folder_is_uploaded() {
    let kitchen = Kitchen::open().await;
    let upload = |source: &str| FileSource::Upload(vec![source.to_owned()]);
    std::fs::create_dir(kitchen.files.path().join("folder")).unwrap();
    std::fs::create_dir(kitchen.files.path().join("up")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", kitchen.files.path().join("folder/link")).unwrap();
    std::os::unix::fs::symlink("..", kitchen.files.path().join("up/loop")).unwrap();
    for path in ["/etc/passwd", "../../../../../../etc/passwd", "folder/link", "folder", "up", "missing"] {
        let error = kitchen.file(upload(path), &kitchen.remote("there")).await.unwrap_err();
        assert_eq!(error.code(), "file_missing", "{path}: {error}");
    }
    let error = kitchen
        .shell(|plan| plan.source = ShellSource::Scripts(vec!["folder/link".to_owned()]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "file_missing");
    assert!(kitchen.left_in_machine().is_empty());
}

#[tokio::test]
async fn downloads_take_all_sources_and_stay_in_their_folder() {
    let kitchen = Kitchen::open().await;
    std::fs::create_dir(kitchen.remote("logs")).unwrap();
    let files = odd_folder(&kitchen.remote.path().join("logs/odd"));
    std::fs::write(kitchen.remote("a.log"), "a").unwrap();
    std::fs::write(kitchen.remote("b.log"), "b").unwrap();
    let sources = ["logs/", "*.log", "a.log"].iter().map(|source| kitchen.remote(source)).collect::<Vec<_>>();
    kitchen.file(FileSource::Download(sources), "/out/put/").await.unwrap();
    let out = kitchen.downloads.path().join("out/put");
    assert_same(&out.join("logs/odd"), &files, false);
    assert_eq!(std::fs::read(out.join("a.log")).unwrap(), b"a");
    assert_eq!(std::fs::read(out.join("b.log")).unwrap(), b"b");

    kitchen.file(FileSource::Download(vec![kitchen.remote("b.log")]), "deep/name.txt").await.unwrap();
    assert_eq!(std::fs::read(kitchen.downloads.path().join("deep/name.txt")).unwrap(), b"b");

    let error = kitchen.file(FileSource::Download(vec![kitchen.remote("*.none")]), "x/").await.unwrap_err();
    assert_eq!(error.code(), "download_missing");
    let error = kitchen.file(FileSource::Download(vec![kitchen.remote("a.log")]), "../a").await.unwrap_err();
    assert_eq!(error.code(), "destination_outside");
}

#[tokio::test]
async fn a_template_that_cannot_be_rendered_is_told_by_its_option() {
    let kitchen = Kitchen::open().await;
    let error = kitchen.shell(|plan| plan.execute_command = Some("{{bad}}".to_owned())).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "provisioner 2 (shell) failed: execute_command cannot be rendered: function \"bad\" is not defined"
    );
}

#[tokio::test]
async fn a_script_starts_once_the_machine_is_back() {
    let mut kitchen = Kitchen::open().await;
    let recipe = std::mem::replace(&mut kitchen.server, Server::openssh("")).stop();
    let script = kitchen.shell(|plan| plan.source = inline(&["echo back"]));
    let (result, server) = tokio::join!(script, async { recipe.start() });
    result.unwrap();
    assert_eq!(kitchen.output.stdout(), "back\n");
    drop(server);
}
