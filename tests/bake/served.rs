//! The real binary as a server, and its commands, with nothing of the test's environment.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
};

use fournil::embedded_postgres;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};

use crate::app::{TestApp, eventually};

/// The binary; killed with the test.
pub fn fournil(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_fournil")]).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/nonexistent");
    command.envs(variables.iter().copied());
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end, with a text as its standard input.
pub async fn run(mut command: Command, input: &str) -> Output {
    let input = input.to_owned();
    tokio::task::spawn_blocking(move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

/// What a command printed, on both sides.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `fournil serve` with a database and a data folder of its own.
pub struct Served {
    child: Child,
    pub url: String,
    /// The URL of its database.
    pub database: String,
    pub pool: PgPool,
    pub data: tempfile::TempDir,
    /// Whether it runs the database itself.
    is_embedded: bool,
    /// What every request brings, if it was started with a token.
    token: Option<String>,
}

impl Served {
    /// Starts it beside the test's fournil, with a database on the same Postgres.
    pub async fn start(app: &TestApp, variables: &[(&str, &str)]) -> Self {
        Self::start_in(app, tempfile::tempdir().unwrap(), variables).await
    }

    /// The same with a data folder that has something in it.
    pub async fn start_in(app: &TestApp, data: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let name = format!("fournil_served_{}", uuid::Uuid::new_v4().simple());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&app.pool).await.unwrap();
        let server = std::env::var("DATABASE_URL").expect("DATABASE_URL");
        let (server, _) = server.rsplit_once('/').unwrap();
        Self::on(Some(format!("{server}/{name}")), data, variables).await
    }

    /// With an embedded database in this folder.
    pub async fn embedded(data: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        Self::on(None, data, variables).await
    }

    async fn on(database: Option<String>, data: tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = fournil(variables);
        command.envs(database.iter().map(|url| ("DATABASE_URL", url)));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let log = File::options().create(true).append(true).open(data.path().join("served.log")).unwrap();
        let before = log.metadata().unwrap().len();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().map(Mutex::new).unwrap();
        let path = data.path().join("served.log");
        eventually("fournil listens or ends", || async {
            address(&path, before).is_some() || child_ended(&child)
        })
        .await;
        let Some(address) = address(&path, before) else {
            panic!("fournil does not start: {}", std::fs::read_to_string(&path).unwrap())
        };
        let is_embedded = database.is_none();
        let database = database.or_else(|| embedded_postgres::url_of_running(data.path())).unwrap();
        let pool = PgPoolOptions::new().max_connections(2).connect(&database).await.unwrap();
        let child = child.into_inner().unwrap();
        let token = variables.iter().find(|(name, _)| *name == "FOURNIL_BOOTSTRAP_TOKEN");
        let token = token.map(|(_, token)| (*token).to_owned());
        Self { child, url: format!("http://{address}"), database, pool, data, is_embedded, token }
    }

    /// The same again, with other variables, after a good end.
    pub async fn restart(self, variables: &[(&str, &str)]) -> Self {
        let is_embedded = self.is_embedded;
        let (database, data) = self.end().await;
        Self::on(Some(database).filter(|_| !is_embedded), data, variables).await
    }

    /// SIGTERM; answers the database and the data folder.
    pub async fn end(self) -> (String, tempfile::TempDir) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let Self { mut child, database, data, pool, .. } = self;
        pool.close().await;
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}");
        (database, data)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// The build as it is.
    pub async fn build(&self, id: &str) -> Value {
        self.request(Method::GET, &format!("/builds/{id}")).send().await.unwrap().json().await.unwrap()
    }

    /// Removes what the build announced, of which the test's own fournil knows nothing.
    pub async fn destroy(&self, id: &str) {
        self.request(Method::DELETE, &format!("/builds/{id}/artifacts")).send().await.unwrap();
        eventually("the artifacts are destroyed", || async {
            let build = self.build(id).await;
            build["runs"].as_array().unwrap().iter().all(|run| run["destroy"] != "pending")
        })
        .await;
    }

    pub fn log_path(&self) -> PathBuf {
        self.data.path().join("served.log")
    }

    /// A command beside the server, on its data folder and its database.
    pub fn beside(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = fournil(variables);
        command.envs((!self.is_embedded).then_some(("DATABASE_URL", &self.database)));
        command.args(arguments).arg("--data-dir").arg(self.data.path());
        command
    }

    /// A command that asks this server.
    pub fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = fournil(variables);
        command.env("FOURNIL_URL", &self.url).args(arguments);
        command
    }
}

fn child_ended(child: &Mutex<Child>) -> bool {
    !matches!(child.lock().unwrap().try_wait(), Ok(None))
}

/// Where it listens, by what it logged behind this many bytes.
fn address(log: &Path, behind: u64) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(usize::try_from(behind).unwrap()..)?).into_owned();
    let (_, rest) = text.split_once(" listens on http://")?;
    rest.lines().next().filter(|_| rest.contains('\n')).map(|line| {
        line.chars().take_while(|char| char.is_ascii_digit() || matches!(char, '.' | ':')).collect()
    })
}
