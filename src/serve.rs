//! `fournil serve`: builds its world in plain order, then serves until a signal: the API, the workers and the reaper in
//! one process. The first signal drains, the second ends at once.

mod connections;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiLimits, AppState, Clock},
    auth::setup,
    bake::CellHome,
    cell,
    config::{Config, Database},
    credentials::{provider::EnvironmentSource, role::Roles, rotation, vault::Vault},
    embedded_postgres::EmbeddedPostgres,
    logs::{LogHub, LogLimits},
    metadata::MetadataService,
    oapi::{OapiPool, PaceConfig, WaitConfig, Waits},
    store,
    worker::{self, Kitchen, WorkerSettings},
};

/// Connections that the API and the listeners may hold, beside those of the workers.
const API_CONNECTIONS: u32 = 14;

/// How long a database may be away at the start.
const DATABASE_PATIENCE: Duration = Duration::from_secs(60);

/// How long open requests may go on after the signal to drain.
const REQUESTS_END: Duration = Duration::from_secs(10);

/// Serves until a signal.
///
/// # Errors
/// The database cannot be reached, the address is taken, the master key is missing or wrong, or strangers could come in.
pub async fn run(config: Config, environment: BTreeMap<String, String>) -> anyhow::Result<ExitCode> {
    without_core_dumps();
    let drain = CancellationToken::new();
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("could not make {}", config.data_dir.display()))?;
    watch_signals(drain.clone())?;

    let (embedded, url) = match &config.database {
        Database::Url(url) => (None, url.expose_secret().to_owned()),
        Database::Embedded => {
            let started = EmbeddedPostgres::start(&config.data_dir, config.postgres_bin.as_deref()).await;
            let embedded = started.context("could not start the embedded Postgres")?;
            let url = embedded.url().to_owned();
            (Some(embedded), url)
        }
    };
    let connections = API_CONNECTIONS + u32::try_from(config.workers.min(60)).unwrap_or(60);
    let pool = store::pool(&url, connections).context("could not use the database's URL")?;
    migrate(&pool).await?;
    let clock = Clock::system();
    if let Some(secret) = &config.bootstrap_token {
        setup::bootstrap(&pool, secret, clock.now()).await?;
    }
    setup::check_exposure(&pool, config.listen, config.access.oidc.is_some(), clock.now()).await?;
    let vault = Vault::load(config.master_key.as_ref(), &config.data_dir, embedded.is_some())
        .context("could not load the master key")?;
    let vault = Arc::new(vault);

    store::master_keys::check(&mut *pool.acquire().await.context("could not use the database")?, &vault)
        .await
        .context("the master key does not fit the database")?;
    let hub = LogHub::start(pool.clone(), drain.clone());
    let limits = ApiLimits {
        json_bytes: usize::try_from(config.limits.request).unwrap_or(usize::MAX),
        archive_bytes: usize::try_from(config.limits.archive).unwrap_or(usize::MAX),
        build_timeout: config.build_timeout,
        hosts: config.hosts.clone(),
        env_allowed: exposed(&config.env_allowed),
        capabilities: config.capabilities.clone(),
        ..ApiLimits::default()
    };
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("could not listen on {}", config.listen))?;
    let address = listener.local_addr().context("could not learn the address")?;

    let telling =
        tokio::spawn(rotation::keep_telling(pool.clone(), vault.clone(), hostname(), drain.clone()));
    let kitchen = kitchen(&config, pool.clone(), vault.clone(), environment)?;
    let state = AppState::new(pool.clone(), hub, vault, limits, clock, drain.clone())
        .with_auth(config.access.clone())
        .with_skew(kitchen.oapi.skew());
    let workers = (config.workers > 0).then(|| tokio::spawn(worker::serve(kitchen, drain.clone())));
    tracing::info!(
        workers = config.workers,
        "fournil {} listens on http://{address}",
        env!("CARGO_PKG_VERSION")
    );

    // While workers drain, the API still answers: `/readyz` says no, and a build can still be cancelled.
    let closing = CancellationToken::new();
    let stopping = closing.clone();
    let mut served = tokio::spawn(connections::serve(listener, api::router(state), stopping));
    tokio::select! {
        ended = &mut served => ended.context("the API ended")?,
        () = drain.cancelled() => {}
    }
    drain.cancel();
    if let Some(workers) = workers {
        workers.await.context("the workers ended")?;
    }
    telling.await.context("the heartbeat ended")?;
    closing.cancel();
    if tokio::time::timeout(REQUESTS_END, &mut served).await.is_err() {
        served.abort();
    }
    if let Some(embedded) = embedded {
        drop(pool);
        embedded.stop().await.context("could not stop the embedded Postgres")?;
    }
    tracing::info!("drained");
    Ok(ExitCode::SUCCESS)
}

/// A core file would hold every secret that is in memory. The programs that are started inherit it.
fn without_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(error = %error, "core dumps could not be turned off");
    }
}

fn exposed(values: &BTreeMap<String, SecretString>) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}

async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    let give_up = tokio::time::Instant::now() + DATABASE_PATIENCE;
    loop {
        match store::migrate(pool).await {
            Ok(()) => return Ok(()),
            Err(error) if is_away(&error) && tokio::time::Instant::now() < give_up => {
                tracing::warn!(error = ?error, "the database is away, trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(error).context("could not prepare the database"),
        }
    }
}

fn is_away(error: &store::StoreError) -> bool {
    match error {
        store::StoreError::Migrate(sqlx::migrate::MigrateError::Execute(
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut,
        )) => true,
        error => error.is_transient(),
    }
}

fn kitchen(
    config: &Config,
    store: PgPool,
    vault: Arc<Vault>,
    environment: BTreeMap<String, String>,
) -> anyhow::Result<Kitchen> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let cells = CellHome::of_process(&config.data_dir);
    match cell::clean_leftovers(&cells.folder) {
        Ok(left) => left.iter().for_each(|left| {
            tracing::warn!("left by a chroot of a fournil that was lost: {left}");
        }),
        // What is left there hinders nothing else.
        Err(error) => tracing::warn!("could not look for what chroots have left: {error}"),
    }
    let (scratch, scratch_lock) =
        scratch(&config.data_dir, &id).context("could not make a folder for the files of bakes")?;
    let hostname = hostname();
    let name = config.worker_name.clone().unwrap_or_else(|| hostname.clone());
    let metadata = MetadataService::new(&config.metadata_url).context("no HTTP client can be made")?;
    Ok(Kitchen {
        store,
        vault,
        oapi: Arc::new(OapiPool::new(PaceConfig {
            calls_per_second: config.oapi_calls_per_second,
            ..PaceConfig::default()
        })),
        waits: Waits::new(WaitConfig {
            min_interval: config.oapi_poll_interval,
            settle: config.oapi_settle,
            ..WaitConfig::default()
        }),
        environment: Arc::new(EnvironmentSource {
            variables: environment,
            ..EnvironmentSource::of_process()
        }),
        roles: Roles::new(metadata.clone()),
        metadata,
        cells: Arc::new(cells),
        trust: Arc::new(config.oapi_trust.clone()),
        endpoints: Arc::new(config.allowed_endpoints.clone()),
        env_allowed: Arc::new(exposed(&config.env_allowed)),
        settings: WorkerSettings {
            id: format!("{name}-{id}"),
            hostname,
            slots: config.workers,
            capabilities: config.capabilities.iter().map(ToString::to_string).collect(),
            lease: config.lease,
            grace: config.drain_timeout,
        },
        log_limits: LogLimits {
            line_bytes: usize::try_from(config.limits.log_line).unwrap_or(usize::MAX),
            build_bytes: config.limits.log_build,
        },
        settle: config.oapi_settle,
        scratch: Arc::new(scratch),
        scratch_lock: Arc::new(scratch_lock),
    })
}

/// This process's own folder for the files of its bakes, locked as long as it lives. What killed processes left is removed.
fn scratch(data_dir: &Path, id: &str) -> std::io::Result<(PathBuf, File)> {
    let all = data_dir.join("scratch");
    make_private(&all)?;
    for entry in std::fs::read_dir(&all)?.flatten() {
        let is_free = File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_free {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let own = all.join(id);
    make_private(&own)?;
    let lock = File::create(own.join("lock"))?;
    lock.lock()?;
    Ok((own, lock))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The first signal drains, the second ends at once.
fn watch_signals(drain: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if drain.is_cancelled() {
                tracing::warn!("ending at once; what was running goes on when fournil is started again");
                std::process::exit(130);
            }
            drain.cancel();
        }
    });
    Ok(())
}
