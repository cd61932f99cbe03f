//! What an earlier server left: one that still runs because its fournil was killed, processes that outlived their
//! postmaster, pid files that are no longer true. After this the cluster can be started.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tracing::{info, warn};

use super::{
    EmbeddedPostgresError, FAST_SHUTDOWN_WITHIN, IMMEDIATE_SHUTDOWN_WITHIN, Server, place::SOCKET_NAME,
};

/// How long processes whose postmaster is dead may take to notice; idle ones do so at once.
const ORPHANS_END_WITHIN: Duration = Duration::from_secs(8);

/// Between two looks at /proc.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Stops everything that uses the cluster and removes the files that name its processes.
///
/// # Errors
/// Some process does not end.
pub async fn clear(server: &Server) -> Result<(), EmbeddedPostgresError> {
    let cluster = server.place.cluster();
    let pid_file = cluster.join("postmaster.pid");
    let running = processes_in(&cluster);
    let postmaster =
        fs::read_to_string(&pid_file).ok().and_then(|text| text.lines().next()?.trim().parse().ok());
    if let Some(postmaster) = postmaster.filter(|pid| running.contains(pid)) {
        info!("a database server of an earlier fournil still runs (process {postmaster}); stopping it");
        server.signal("INT", postmaster).await;
        if !ended(&cluster, FAST_SHUTDOWN_WITHIN).await {
            server.signal("QUIT", postmaster).await;
        }
    }
    if !ended(&cluster, ORPHANS_END_WITHIN).await {
        let orphans = processes_in(&cluster);
        warn!("processes of an earlier database server do not end by themselves: {orphans:?}; stopping them");
        for orphan in orphans {
            server.signal("QUIT", orphan).await;
        }
        if !ended(&cluster, IMMEDIATE_SHUTDOWN_WITHIN).await {
            return Err(EmbeddedPostgresError::StillInUse { pids: processes_in(&cluster), cluster });
        }
    }
    // PostgreSQL takes any living process with the old number for its predecessor, in either file, and would not start.
    // The first may go only now: through it PostgreSQL finds memory that orphans share, and they are gone.
    let socket_lock = server.socket.path().join(format!("{SOCKET_NAME}.lock"));
    for path in [pid_file, socket_lock] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(EmbeddedPostgresError::folder("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn ended(cluster: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !processes_in(cluster).is_empty() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// The PostgreSQL processes that work in this cluster. Each of them has the cluster as its working folder, which,
/// unlike a process id, is not given to somebody else later.
fn processes_in(cluster: &Path) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let process = Path::new("/proc").join(pid.to_string());
            fs::read_link(process.join("cwd")).is_ok_and(|folder| folder == cluster) && is_postgres(&process)
        })
        .collect()
}

/// Somebody's shell may be in the folder too. A server's processes are called `postgres` or `postmaster`.
fn is_postgres(process: &Path) -> bool {
    fs::read_to_string(process.join("comm"))
        .is_ok_and(|name| matches!(name.trim(), "postgres" | "postmaster"))
}
