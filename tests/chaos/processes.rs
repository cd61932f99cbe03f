//! Processes of the test: started with nothing of its environment, ended with it however it ends.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
};

use crate::{PATIENCE, until};

/// A process, what it writes, and how to end it.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it. The kernel kills it when the thread that starts it ends, so that a test that is killed leaves nothing;
    /// tests start their processes from their own thread.
    pub fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", program]).args(arguments).env_clear();
        for name in ["PATH", "HOME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
        let output = Arc::default();
        collect(child.stdout.take().expect("piped"), &output);
        collect(child.stderr.take().expect("piped"), &output);
        Self { child, output }
    }

    /// What it wrote so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it still runs, else how it ended as `wait` tells it (9: killed), and what it wrote; for a message about a failure.
    pub fn account(&self) -> String {
        let stat = self.child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/stat")).ok());
        let stat = stat.unwrap_or_default();
        let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let state = match fields.as_slice() {
            ["Z", .., status] => format!("it ended with status {status}"),
            [state, ..] => format!("it is in state {state}"),
            [] => "it is gone".to_owned(),
        };
        format!("{state}; it wrote:\n{}", self.output())
    }

    /// Waits until it has written this, behind the first `known` bytes of its output.
    pub async fn until_written(&self, known: usize, words: &str) {
        until(&format!("it writes `{words}`"), async || {
            self.output().get(known..)?.contains(words).then_some(())
        })
        .await;
    }

    /// The address that it tells in a line `… on http://ADDRESS`.
    pub async fn url(&mut self) -> String {
        let output = self.output.clone();
        let child = &mut self.child;
        until("a process tells where it listens", async || {
            let text = output.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(status) = child.try_wait().expect("it is a child") {
                panic!("it ended with {status}: {text}");
            }
            let (_, rest) = text.split_once(" on http://")?;
            let end = rest.find(char::is_whitespace)?;
            Some(format!("http://{}", &rest[..end]))
        })
        .await
    }

    /// Sends a signal, by its name.
    pub async fn signal(&self, signal: &str) {
        let Some(id) = self.child.id() else { return };
        let sent = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status().await;
        assert!(sent.expect("kill can be run").success(), "signal {signal} could not be sent");
    }

    /// `kill -9`, and waits until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// SIGTERM; answers the exit code and all that it wrote.
    pub async fn end(self) -> (Option<i32>, String) {
        self.signal("TERM").await;
        self.exit().await
    }

    /// Waits for its end; answers the exit code and all that it wrote.
    pub async fn exit(mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status =
            ended.unwrap_or_else(|_| panic!("it does not end: {}", self.output())).expect("it is a child");
        (status.code(), self.output())
    }
}

fn collect(stream: impl AsyncRead + Unpin + Send + 'static, output: &Arc<Mutex<String>>) {
    let output = output.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            output.push_str(&line);
            output.push('\n');
        }
    });
}

/// The sandbox's binary. It belongs to another package, which `cargo test` does not build by itself, so it is built here if
/// it is not there; as part of the workspace, so that what both packages use is not built twice.
pub async fn sandbox_binary() -> String {
    static BUILT: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();
    BUILT
        .get_or_init(|| async {
            let folder =
                std::path::Path::new(env!("CARGO_BIN_EXE_fournil")).parent().expect("it is in a folder");
            let binary = folder.join("oapi-sandbox");
            if !binary.exists() {
                let mut build = Command::new(env!("CARGO"));
                build
                    .args(["build", "--quiet", "--workspace", "--bins"])
                    .current_dir(env!("CARGO_MANIFEST_DIR"));
                if folder.ends_with("release") {
                    build.arg("--release");
                }
                assert!(
                    build.status().await.expect("cargo can be run").success(),
                    "oapi-sandbox cannot be built"
                );
            }
            binary.to_string_lossy().into_owned()
        })
        .await
        .clone()
}
