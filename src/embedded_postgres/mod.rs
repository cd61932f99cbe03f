//! A private Postgres cluster under the data folder, for a fournil that is given no database: made on the first start,
//! watched while fournil runs, stopped with it. The schema and everything in the database are the store's affair.

mod binaries;
mod place;
mod remains;
#[cfg(test)]
mod tests;

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Connection, PgConnection,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use binaries::Binaries;
use place::{Place, SocketFolder};

/// Name of the superuser and of the database.
const NAME: &str = "fournil";

/// How long a started server may need until it answers; recovery after a crash is part of it.
const READY_WITHIN: Duration = Duration::from_secs(180);

/// Between two tries to connect to a server that is starting.
const CONNECT_EVERY: Duration = Duration::from_millis(40);

/// How long a fast shutdown (SIGINT) may take before the server is stopped at once (SIGQUIT).
const FAST_SHUTDOWN_WITHIN: Duration = Duration::from_secs(20);

/// How long an immediate shutdown (SIGQUIT) may take before the server is killed.
const IMMEDIATE_SHUTDOWN_WITHIN: Duration = Duration::from_secs(8);

/// Longest pause between two tries to bring a dead server back.
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(15);

/// A server log larger than this is begun anew at the next start.
const LARGEST_LOG: u64 = 4 * 1024 * 1024;

/// What differs from Postgres's defaults. Durability stays on: an accepted build must survive a power cut.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "port=5432",
    "cluster_name=fournil",
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "shared_buffers=64MB",
    "max_connections=100",
    "max_wal_size=512MB",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_parallel_workers_per_gather=0",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "logging_collector=off",
    "log_destination=stderr",
    "log_min_messages=warning",
    "log_checkpoints=off",
];

/// Why there is no private cluster.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedPostgresError {
    /// No server is installed.
    #[error(
        "no PostgreSQL server was found (looked in {looked}): run `apt install postgresql`, or name the folder of \
         `initdb` and `postgres` with FOURNIL_POSTGRES_BIN, or give a database with --database-url"
    )]
    NoServer {
        /// Where it was looked for.
        looked: String,
    },
    /// The cluster needs a server of another major version.
    #[error(
        "the database in {} was made by PostgreSQL {needed}, but only {found} is installed: \
         run `apt install postgresql-{needed}`, or move the database with pg_upgrade", cluster.display()
    )]
    OtherVersion {
        /// The cluster's folder.
        cluster: PathBuf,
        /// Its major version.
        needed: u32,
        /// What is installed.
        found: String,
    },
    /// Another fournil runs on this data folder.
    #[error("another fournil{} uses the data folder {}: stop it, or choose another --data-dir",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), folder.display())]
    Occupied {
        /// The data folder.
        folder: PathBuf,
        /// The other process, as far as it could be read.
        pid: Option<u32>,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd knows neither `postgres` nor `nobody`: \
         run `adduser --system postgres`, or start fournil as another user"
    )]
    NoUser,
    /// A folder on the way is closed to the server's user.
    #[error("{} is closed to user id {uid}, which the database server runs as: \
             choose another --data-dir, or run `chmod o+x {}`", folder.display(), folder.display())]
    Impassable {
        /// The first closed folder.
        folder: PathBuf,
        /// The server's user.
        uid: u32,
    },
    /// A file or folder could not be used.
    #[error("could not {action} {}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program of PostgreSQL could not be started.
    #[error("could not run {}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("the database could not be made: initdb ended with {status}\n{output}")]
    NotMade {
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        output: String,
    },
    /// The server ended instead of answering.
    #[error("the database server ended with {status} while starting; the end of {}:\n{output}", log.display())]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        output: String,
    },
    /// The server runs but does not answer.
    #[error("the database server does not answer after {} s; see {}", READY_WITHIN.as_secs(), log.display())]
    Silent {
        /// Its log.
        log: PathBuf,
        /// What the last try to connect met.
        #[source]
        source: sqlx::Error,
    },
    /// Processes of an earlier server do not end.
    #[error("processes of an earlier database server still use {}: {pids:?}; stop them", cluster.display())]
    StillInUse {
        /// The cluster's folder.
        cluster: PathBuf,
        /// Their ids.
        pids: Vec<u32>,
    },
    /// The server answers but refuses.
    #[error("the database server refused to make the database")]
    Refused(#[source] sqlx::Error),
}

impl EmbeddedPostgresError {
    fn folder(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Folder { action, path: path.to_owned(), source }
    }
}

/// A running private cluster. A server that dies is started again by a task of its own; [`EmbeddedPostgres::stop`]
/// ends both. When fournil itself is killed the server goes on alone, and the next start on the data folder stops it.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    url: String,
    server: Arc<Server>,
    stopping: CancellationToken,
    supervisor: Option<JoinHandle<Result<(), EmbeddedPostgresError>>>,
}

impl EmbeddedPostgres {
    /// Starts the cluster under `data_folder`, making both if they do not exist. `programs` is the folder of `initdb`
    /// and `postgres`; absent, the newest installed version that fits is taken. Returns once the database answers.
    ///
    /// # Errors
    /// No server is installed, another fournil has the folder, or the server cannot be made or started.
    pub async fn start(data_folder: &Path, programs: Option<&Path>) -> Result<Self, EmbeddedPostgresError> {
        let place = Place::prepare(data_folder)?;
        let binaries = Binaries::find(programs, &place.cluster()).await?;
        let socket = SocketFolder::prepare(&place)?;
        let server = Server { place, binaries, socket, pid: AtomicU32::new(0) };
        server.make_cluster().await?;
        let child = server.launch().await?;
        let url = server.url();
        let server = Arc::new(server);
        let stopping = CancellationToken::new();
        let supervisor = tokio::spawn(supervise(Arc::clone(&server), child, stopping.clone()));
        info!(
            postgres.version = server.binaries.major,
            "the private database in {} is up",
            server.place.home.display()
        );
        Ok(Self { url, server, stopping, supervisor: Some(supervisor) })
    }

    /// Where the database is, for `sqlx` and `psql`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the server: open transactions are rolled back, everything committed is on disk. Takes some 30 seconds at
    /// most. Close the pools first; their connections are cut otherwise.
    ///
    /// # Errors
    /// The server could not be waited for.
    pub async fn stop(mut self) -> Result<(), EmbeddedPostgresError> {
        self.stopping.cancel();
        match self.supervisor.take() {
            Some(supervisor) => supervisor.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

impl Drop for EmbeddedPostgres {
    /// For the ways out that do not pass by `stop`, e.g. an error while starting: asks the server to end.
    fn drop(&mut self) {
        self.stopping.cancel();
        if self.supervisor.is_some() {
            self.server.signal_now("INT");
        }
    }
}

/// Restarts the server whenever it ends unasked, until `stopping`.
async fn supervise(
    server: Arc<Server>,
    mut child: Child,
    stopping: CancellationToken,
) -> Result<(), EmbeddedPostgresError> {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return server.shut_down(child).await,
            ended = child.wait() => {
                server.pid.store(0, Ordering::Relaxed);
                let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
                error!("the database server ended unasked ({how}); starting it again");
            }
        }
        let mut pause = Duration::from_millis(200);
        child = loop {
            // Launching is not interrupted: a server that is half started would be left behind.
            match server.launch().await {
                Ok(child) => break child,
                Err(error) => {
                    error!(error = &error as &dyn std::error::Error, "the database server does not come back")
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_RESTART_PAUSE),
            }
        };
        info!("the database server is back");
    }
}

#[derive(Debug)]
struct Server {
    place: Place,
    binaries: Binaries,
    socket: SocketFolder,
    /// Of the postmaster; 0 while there is none.
    pid: AtomicU32,
}

impl Server {
    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(self.socket.path())
            .port(5432)
            .username(NAME)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }

    fn url(&self) -> String {
        url_of(self.socket.path())
    }

    /// A program of PostgreSQL, as the server's user and with none of our environment: it may hold keys.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.folder.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        if let Some(user) = self.place.user {
            command.gid(user.gid).uid(user.uid);
        }
        command
    }

    fn program_error(&self, program: &str) -> impl FnOnce(io::Error) -> EmbeddedPostgresError {
        let program = self.binaries.folder.join(program);
        move |source| EmbeddedPostgresError::Program { program, source }
    }

    /// Runs `initdb` unless there is a cluster. It works under another name, so that a cluster is whole or absent.
    async fn make_cluster(&self) -> Result<(), EmbeddedPostgresError> {
        let cluster = self.place.cluster();
        if cluster.join("PG_VERSION").exists() {
            return Ok(());
        }
        let draft = self.place.new_draft()?;
        // The C locale: its order of texts does not change with the operating system, which would break indexes.
        let output = self
            .command("initdb")
            .arg("-D")
            .arg(&draft)
            .args(["-U", NAME, "-E", "UTF8", "--no-locale", "--data-checksums"])
            // Whoever may enter the socket's folder is trusted: it is closed to everybody but fournil and the server.
            .args(["--auth-local=trust", "--auth-host=reject"])
            .output()
            .await
            .map_err(self.program_error("initdb"))?;
        if !output.status.success() {
            let _ = fs::remove_dir_all(&draft);
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            return Err(EmbeddedPostgresError::NotMade { status: output.status, output: last_lines(&said) });
        }
        fs::rename(&draft, &cluster).map_err(EmbeddedPostgresError::folder("rename", &draft))?;
        fs::File::open(&self.place.home)
            .and_then(|folder| folder.sync_all())
            .map_err(EmbeddedPostgresError::folder("write", &self.place.home))
    }

    /// Starts the server behind whatever an earlier one left, and waits until the database can be used.
    async fn launch(&self) -> Result<Child, EmbeddedPostgresError> {
        remains::clear(self).await?;
        let log = self.place.open_log(LARGEST_LOG)?;
        let stderr = log.try_clone().map_err(EmbeddedPostgresError::folder("write", &self.place.log()))?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.place.cluster());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let mut folder = std::ffi::OsString::from("unix_socket_directories=");
        folder.push(self.socket.path());
        command.arg("-c").arg(folder);
        // Ctrl-C in a terminal goes to the whole process group, and fournil still needs its database to finish.
        let mut child = command
            .process_group(0)
            .stdout(log)
            .stderr(stderr)
            .spawn()
            .map_err(self.program_error("postgres"))?;
        self.pid.store(child.id().unwrap_or(0), Ordering::Relaxed);
        match self.wait_until_ready(&mut child).await {
            Ok(()) => Ok(child),
            Err(error) => {
                if let Err(error) = self.shut_down(child).await {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the database server could not be stopped"
                    );
                }
                Err(error)
            }
        }
    }

    async fn wait_until_ready(&self, child: &mut Child) -> Result<(), EmbeddedPostgresError> {
        let deadline = Instant::now() + READY_WITHIN;
        let mut connection = loop {
            let ended = child.try_wait().map_err(self.program_error("postgres"))?;
            if let Some(status) = ended {
                let log = self.place.log();
                let output = last_lines(&fs::read_to_string(&log).unwrap_or_default());
                return Err(EmbeddedPostgresError::Ended { status, log, output });
            }
            match PgConnection::connect_with(&self.options("postgres")).await {
                Ok(connection) => break connection,
                Err(source) if Instant::now() > deadline => {
                    return Err(EmbeddedPostgresError::Silent { log: self.place.log(), source });
                }
                Err(_) => sleep(CONNECT_EVERY).await,
            }
        };
        let exists: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'fournil')")
                .fetch_one(&mut connection)
                .await
                .map_err(EmbeddedPostgresError::Refused)?;
        if !exists {
            sqlx::query("CREATE DATABASE fournil")
                .execute(&mut connection)
                .await
                .map_err(EmbeddedPostgresError::Refused)?;
        }
        // Closing is a courtesy; the server has what it needs.
        let _ = connection.close().await;
        Ok(())
    }

    /// SIGINT, then SIGQUIT, then SIGKILL, each with its time.
    async fn shut_down(&self, mut child: Child) -> Result<(), EmbeddedPostgresError> {
        for (signal, patience) in [("INT", FAST_SHUTDOWN_WITHIN), ("QUIT", IMMEDIATE_SHUTDOWN_WITHIN)] {
            let Some(pid) = child.id() else { break };
            self.signal(signal, pid).await;
            match timeout(patience, child.wait()).await {
                Ok(_) => break,
                Err(_) => {
                    warn!("the database server did not end within {} s of SIG{signal}", patience.as_secs())
                }
            }
        }
        if child.id().is_some() {
            child.kill().await.map_err(self.program_error("postgres"))?;
        }
        self.pid.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Sends a signal by way of `pg_ctl`. A failure shows in that the process does not end.
    async fn signal(&self, signal: &str, pid: u32) {
        let sent = self.command("pg_ctl").args(["kill", signal, &pid.to_string()]).output().await;
        if let Err(error) = sent {
            warn!("could not run pg_ctl: {error}");
        }
    }

    /// The same without waiting for a runtime.
    fn signal_now(&self, signal: &str) {
        let pid = self.pid.load(Ordering::Relaxed);
        if pid != 0 {
            let mut command = self.command("pg_ctl").into_std();
            let _ = command
                .args(["kill", signal, &pid.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Whether there is a cluster under a data folder, so that starting it makes nothing new.
#[must_use]
pub fn exists(data_folder: &Path) -> bool {
    data_folder.join("postgres/cluster/PG_VERSION").exists()
}

/// Where the server that another fournil runs on this data folder is to be reached, as the server itself wrote it down.
/// For whoever is told by [`EmbeddedPostgres::start`] that the folder is occupied.
#[must_use]
pub fn url_of_running(data_folder: &Path) -> Option<String> {
    // The fifth line is the folder of the socket.
    let text = fs::read_to_string(data_folder.join("postgres/cluster/postmaster.pid")).ok()?;
    let folder = text.lines().nth(4).filter(|folder| folder.starts_with('/'))?;
    Some(url_of(Path::new(folder)))
}

fn url_of(socket_folder: &Path) -> String {
    let mut folder = String::new();
    for byte in socket_folder.as_os_str().as_encoded_bytes() {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                folder.write_char(char::from(*byte))
            }
            _ => write!(folder, "%{byte:02X}"),
        };
    }
    format!("postgres://{NAME}@localhost:5432/{NAME}?host={folder}&sslmode=disable")
}

/// The end of a text, as much as an error message can bear.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
