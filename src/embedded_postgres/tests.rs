//! Real clusters: made, killed, found running, and kept apart.

use std::{
    env,
    io::{BufRead, BufReader},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Child, Command},
};

use sqlx::PgPool;
use tempfile::TempDir;

use super::*;
use crate::{config::is_root, testing::PATIENCE};

/// Tells a process of this test program which data folder to use.
const FOLDER: &str = "FOURNIL_TEST_DATA_FOLDER";

fn data_folder() -> TempDir {
    tempfile::tempdir_in("/tmp").unwrap()
}

async fn remember(url: &str, word: &str) {
    let pool = PgPool::connect(url).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS words (word text)").execute(&pool).await.unwrap();
    sqlx::query("INSERT INTO words VALUES ($1)").bind(word).execute(&pool).await.unwrap();
    pool.close().await;
}

async fn remembered(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT word FROM words ORDER BY word").fetch_all(&mut connection).await.unwrap()
}

fn postmaster(data_folder: &Path) -> Option<u32> {
    let text = fs::read_to_string(data_folder.join("postgres/cluster/postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
}

/// A fournil of its own, to be killed: this program again, running only [`a_fournil_to_be_killed`].
fn another_fournil(data_folder: &Path, uid: Option<u32>) -> Child {
    let module = module_path!().split_once("::").unwrap().1;
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", &format!("{module}::a_fournil_to_be_killed"), "--ignored", "--nocapture"]);
    command.env(FOLDER, data_folder).env_remove("TMPDIR").stdout(Stdio::piped()).current_dir("/");
    if let Some(uid) = uid {
        command.uid(uid);
    }
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.as_mut().unwrap());
    assert!(output.lines().any(|line| line.unwrap().ends_with("is up")), "the other fournil did not start");
    child
}

#[tokio::test]
#[ignore = "is run by other tests as a process of its own"]
async fn a_fournil_to_be_killed() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let postgres = EmbeddedPostgres::start(Path::new(&folder), None).await.unwrap();
    remember(postgres.url(), "before the kill").await;
    println!("\nthe other fournil is up");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_cluster_is_made_stopped_and_found_again() {
    let folder = data_folder();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    remember(postgres.url(), "kept").await;
    postgres.stop().await.unwrap();
    assert_eq!(postmaster(folder.path()), None, "the pid file is left, so the server did not end in peace");

    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert_eq!(remembered(postgres.url()).await, ["kept"]);
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    for (setting, expected) in
        [("fsync", "on"), ("listen_addresses", ""), ("max_connections", "100"), ("data_checksums", "on")]
    {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(value, expected, "{setting}");
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postmaster_comes_back_with_its_data() {
    let folder = data_folder();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    remember(postgres.url(), "committed").await;
    let first = postmaster(folder.path()).unwrap();
    kill(first);
    let connection = timeout(PATIENCE, async {
        loop {
            // Until the old socket is gone a connection may be accepted by nobody, hence the time for each try.
            match timeout(Duration::from_secs(10), PgConnection::connect(postgres.url())).await {
                Ok(Ok(connection)) if postmaster(folder.path()).is_some_and(|pid| pid != first) => {
                    break connection;
                }
                _ => sleep(CONNECT_EVERY).await,
            }
        }
    });
    drop(connection.await.expect("the server did not come back"));
    assert_eq!(remembered(postgres.url()).await, ["committed"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_of_a_killed_fournil_is_replaced() {
    let folder = data_folder();
    let mut other = another_fournil(folder.path(), None);
    other.kill().unwrap();
    other.wait().unwrap();
    let old = postmaster(folder.path()).unwrap();
    assert!(Path::new(&format!("/proc/{old}/cwd")).exists(), "the server should have outlived its fournil");

    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert_ne!(postmaster(folder.path()).unwrap(), old);
    assert!(!Path::new(&format!("/proc/{old}/cwd")).exists());
    assert_eq!(remembered(postgres.url()).await, ["before the kill"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn fournil_and_server_killed_together_lose_nothing() {
    let folder = data_folder();
    let mut other = another_fournil(folder.path(), None);
    other.kill().unwrap();
    other.wait().unwrap();
    kill(postmaster(folder.path()).unwrap());

    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert_eq!(remembered(postgres.url()).await, ["before the kill"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_somebody_else_does_no_harm() {
    let folder = data_folder();
    EmbeddedPostgres::start(folder.path(), None).await.unwrap().stop().await.unwrap();
    // Our own process: alive, and certainly no postmaster.
    let text = format!("{}\n{}\n1\n5432\n", std::process::id(), folder.path().display());
    fs::write(folder.path().join("postgres/cluster/postmaster.pid"), text).unwrap();

    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert_ne!(postmaster(folder.path()), Some(std::process::id()));
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_fournil_on_the_same_folder_is_told_who_has_it() {
    let folder = data_folder();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    let error = EmbeddedPostgres::start(folder.path(), None).await.unwrap_err();
    assert!(
        matches!(error, EmbeddedPostgresError::Occupied { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    remember(postgres.url(), "undisturbed").await;
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_long_path_gets_a_socket_elsewhere() {
    let folder = data_folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let long = folder.path().join("a".repeat(60)).join("b".repeat(60));
    let postgres = EmbeddedPostgres::start(&long, None).await.unwrap();
    remember(postgres.url(), "reached").await;
    let socket = postgres.server.socket.path().to_owned();
    assert!(socket.starts_with("/tmp/") && !socket.starts_with(folder.path()), "{}", socket.display());
    postgres.stop().await.unwrap();
    assert!(!socket.exists(), "the temporary folder was left behind");
}

#[tokio::test]
async fn nobody_else_may_enter_the_socket_folder() {
    let folder = data_folder();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    let mode = fs::metadata(postgres.server.socket.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_cluster_stops() {
    let folder = data_folder();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    drop(postgres);
    timeout(PATIENCE, async {
        while postmaster(folder.path()).is_some() {
            sleep(CONNECT_EVERY).await;
        }
    })
    .await
    .expect("the server goes on");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let folder = data_folder();
    EmbeddedPostgres::start(folder.path(), None).await.unwrap().stop().await.unwrap();
    fs::write(folder.path().join("postgres/cluster/postgresql.conf"), "no_such_setting = 1\n").unwrap();
    let error = EmbeddedPostgres::start(folder.path(), None).await.unwrap_err().to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn an_initdb_that_was_cut_short_is_begun_anew() {
    let folder = data_folder();
    let draft = folder.path().join("postgres/cluster.new-1");
    fs::create_dir_all(&draft).unwrap();
    fs::write(draft.join("PG_VERSION"), "15\n").unwrap();
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert!(!draft.exists());
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_a_closed_parent_moves_the_cluster_behind_a_link() {
    if !is_root() {
        return;
    }
    let closed = data_folder();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let folder = closed.path().join("data");
    let postgres = EmbeddedPostgres::start(&folder, None).await.unwrap();
    remember(postgres.url(), "elsewhere").await;
    postgres.stop().await.unwrap();
    assert_eq!(
        fs::metadata(closed.path()).unwrap().permissions().mode() & 0o777,
        0o700,
        "it is not ours to open"
    );

    let postgres = EmbeddedPostgres::start(&folder, None).await.unwrap();
    assert_eq!(remembered(postgres.url()).await, ["elsewhere"]);
    let home = fs::read_link(folder.join("postgres")).unwrap();
    postgres.stop().await.unwrap();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn an_ordinary_user_gets_a_cluster_too() {
    if !is_root() {
        return; // Every other test of this file shows it then.
    }
    let folder = data_folder();
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = passwd.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').nth(2).unwrap();
    let uid = nobody.parse().unwrap();
    std::os::unix::fs::chown(folder.path(), Some(uid), None).unwrap();
    let mut other = another_fournil(folder.path(), Some(uid));
    assert!(postmaster(folder.path()).is_some());
    other.kill().unwrap();
    other.wait().unwrap();
    // Taken over by root, it stays the property of the user who made it.
    let postgres = EmbeddedPostgres::start(folder.path(), None).await.unwrap();
    assert_eq!(remembered(postgres.url()).await, ["before the kill"]);
    assert_eq!(postgres.server.place.user.map(|user| user.uid), Some(uid));
    postgres.stop().await.unwrap();
}
