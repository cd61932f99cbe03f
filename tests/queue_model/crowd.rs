//! Many workers at once on the same runs, some of which crash, hand over, or stand still until another has their run and
//! then go on as if nothing had been. Every answer is written down, and in the end compared with what is in the tables.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use fournil::{
    domain::{BuildId, BuildState, CleanupState, RunId, RunState, log::Stream},
    queue::{self, Claimed, Lease, finish, renew},
    store::{
        StoreError,
        builds::{self, NewRun},
        journal, ledger,
        log_lines::{self, Batch, NewLine},
        runs,
    },
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use tokio::task::JoinSet;

use crate::{
    operation::CAPABILITY,
    rows::{Row, Snapshot},
    story::is_over,
    system::{LEASE, insert, intent, outcome},
};

/// How many work at the same time, beside those who only think they do.
pub const WORKERS: usize = 8;

/// Only failures take this long.
const PATIENCE: Duration = Duration::from_secs(240);

/// Between two looks at something that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What was answered.
#[derive(Default)]
struct Answers {
    /// The tokens that claims of work and hand-overs have used.
    tokens: HashMap<RunId, Vec<i64>>,
    /// Under which tokens a run that was claimed as work was ended.
    ended: HashMap<RunId, Vec<i64>>,
    /// The newest token under which something was written.
    newest: BTreeMap<(RunId, Deed), i64>,
    /// How many lines a run wrote to its log.
    lines: HashMap<RunId, usize>,
    taken_over: usize,
    refused: usize,
}

/// What a worker does with a run, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Begin,
    BeginStep,
    Intend,
    Created,
    Renew,
    SucceedStep,
    Log,
    Decide,
    Removed,
    Finish,
}

const DEEDS: [Deed; 10] = [
    Deed::Begin,
    Deed::BeginStep,
    Deed::Intend,
    Deed::Created,
    Deed::Renew,
    Deed::SucceedStep,
    Deed::Log,
    Deed::Decide,
    Deed::Removed,
    Deed::Finish,
];

#[derive(Clone)]
struct Crowd {
    pool: PgPool,
    builds: Arc<Vec<BuildId>>,
    answers: Arc<Mutex<Answers>>,
}

/// A claimed run and how far its worker is.
struct Work {
    claimed: Claimed,
    as_cleanup: bool,
    cancel: bool,
    leaves_something: bool,
    /// Whoever works on it has not noticed that time has passed.
    paused: bool,
    /// The lease was found lost; it must never hold again.
    lost: bool,
}

/// Lets the crowd work on `runs` runs until all are over, and looks at what is left.
pub async fn work(pool: &PgPool, seed: u64, runs: usize) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let builds = Arc::new(fill(pool, &mut random, runs).await);
    let crowd = Crowd { pool: pool.clone(), builds, answers: Arc::default() };
    let mut workers = JoinSet::new();
    for number in 0..WORKERS {
        workers.spawn(crowd.clone().serve(number, StdRng::seed_from_u64(random.random())));
    }
    let all = async {
        while let Some(worker) = workers.join_next().await {
            worker.expect("a worker panicked");
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        let found = Snapshot::take(pool).await;
        let stuck: Vec<_> = found.rows.values().filter(|row| !is_over(row)).collect();
        panic!("after {} s there is still {stuck:#?}", PATIENCE.as_secs());
    }
    crowd.check().await
}

async fn fill(pool: &PgPool, random: &mut StdRng, runs: usize) -> Vec<BuildId> {
    let accepted = DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
    let (mut builds, mut left) = (Vec::new(), runs);
    while left > 0 {
        let count = random.random_range(1..=left.min(3));
        left -= count;
        let new: Vec<_> = (0..count)
            .map(|ordinal| NewRun {
                id: RunId::generate(),
                name: format!("run-{ordinal}"),
                builder: "osc-bsu",
                plan_sealed: Vec::new(),
                omi_key: random
                    .random_bool(0.4)
                    .then(|| format!("omi-{}", random.random_range(0..=runs / 20))),
                requires: if random.random_bool(0.2) { vec![CAPABILITY.to_owned()] } else { Vec::new() },
            })
            .collect();
        let id = BuildId::generate();
        let age = TimeDelta::seconds(random.random_range(0..60));
        let mut transaction = pool.begin().await.unwrap();
        insert(&mut transaction, id, random.random_range(0..3), accepted + age, &new).await.unwrap();
        transaction.commit().await.unwrap();
        builds.push(id);
    }
    builds
}

impl Crowd {
    /// Takes what there is until nothing is left; every second worker can do what some runs require.
    async fn serve(self, number: usize, mut random: StdRng) {
        let name = format!("worker-{number}");
        let capabilities: Vec<_> =
            number.is_multiple_of(2).then(|| CAPABILITY.to_owned()).into_iter().collect();
        let mut paused = JoinSet::new();
        loop {
            if random.random_bool(0.03) {
                self.cancel_one(&mut random).await;
            }
            let work = queue::claim(&self.pool, &name, &capabilities, LEASE).await.unwrap();
            let as_cleanup = work.is_none();
            let claimed = match work {
                Some(claimed) => Some(claimed),
                None => queue::claim_cleanup(&self.pool, &name, LEASE).await.unwrap(),
            };
            match claimed {
                Some(claimed) => self.do_some(claimed, as_cleanup, &mut random, &mut paused).await,
                None if self.all_is_over().await => break,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        while let Some(ended) = paused.join_next().await {
            ended.expect("a paused worker panicked");
        }
    }

    async fn cancel_one(&self, random: &mut StdRng) {
        let build = *self.builds.choose(random).expect("there are builds");
        let mut transaction = self.pool.begin().await.unwrap();
        builds::request_cancel(&mut transaction, build, Utc::now()).await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Works on a run to its end, or only up to some point.
    async fn do_some(
        &self,
        claimed: Claimed,
        as_cleanup: bool,
        random: &mut StdRng,
        paused: &mut JoinSet<()>,
    ) {
        self.note_claim(&claimed);
        let decided = self.is_decided(claimed.lease.run).await;
        let mut work = Work {
            claimed,
            as_cleanup,
            cancel: false,
            leaves_something: !as_cleanup && random.random_bool(0.2),
            paused: false,
            lost: false,
        };
        let deeds = if decided { &DEEDS[8..] } else { &DEEDS[..] };
        let fate = random.random_range(0..100);
        let until = if fate < 60 { deeds.len() } else { random.random_range(0..deeds.len()) };
        for deed in &deeds[..until] {
            self.attempt(&mut work, *deed).await;
            assert!(!work.lost, "nobody could take {:?}", work.claimed);
        }
        match fate {
            0..60 => {}
            60..70 => self.hand_over(&work.claimed.lease).await,
            70..80 => self.let_expire(&work.claimed.lease).await,
            _ => {
                self.let_expire(&work.claimed.lease).await;
                work.paused = true;
                let (crowd, rest, waits) = (self.clone(), deeds[until..].to_vec(), fate < 89);
                paused.spawn(async move { crowd.go_on(work, rest, waits).await });
            }
        }
    }

    /// What somebody does who has not noticed that the lease ran out.
    async fn go_on(self, mut work: Work, deeds: Vec<Deed>, waits: bool) {
        while waits && !self.is_taken(&work.claimed.lease).await {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        for deed in deeds {
            self.attempt(&mut work, deed).await;
            assert!(work.lost || !waits, "{deed:?} went through with {:?}", work.claimed);
        }
    }

    /// Does it, and writes down what came of it. A lease that was lost once is lost for ever.
    async fn attempt(&self, work: &mut Work, deed: Deed) {
        let lease = work.claimed.lease.clone();
        let done = match deed {
            Deed::Log => self.log(work).await,
            Deed::Renew => self.renew(work).await,
            _ => {
                let mut transaction = self.pool.begin().await.unwrap();
                let done = write(&mut transaction, work, deed).await;
                match &done {
                    Ok(()) => transaction.commit().await.unwrap(),
                    Err(_) => transaction.rollback().await.unwrap(),
                }
                done
            }
        };
        let mut answers = self.answers.lock().unwrap();
        match done {
            Ok(()) => {
                assert!(!work.lost, "{deed:?} went through with the lost {lease:?}");
                let newest = answers.newest.entry((lease.run, deed)).or_default();
                *newest = lease.token.max(*newest);
                match deed {
                    Deed::Finish if !work.as_cleanup => {
                        answers.ended.entry(lease.run).or_default().push(lease.token);
                    }
                    Deed::Log => *answers.lines.entry(lease.run).or_default() += 1,
                    _ => {}
                }
            }
            Err(StoreError::LeaseLost(run)) => {
                assert_eq!(run, lease.run);
                answers.refused += 1;
                work.lost = true;
            }
            Err(error) => panic!("{deed:?} with {lease:?}: {error:?}"),
        }
    }

    async fn renew(&self, work: &mut Work) -> Result<(), StoreError> {
        let lease = &work.claimed.lease;
        let renewed = renew::renew(&self.pool, std::slice::from_ref(lease), LEASE).await?;
        let renewal = renewed.get(&lease.run).ok_or(StoreError::LeaseLost(lease.run))?;
        work.cancel = renewal.cancel_requested;
        Ok(())
    }

    /// Appends a line that names the token, however often another run of the build was faster.
    async fn log(&self, work: &Work) -> Result<(), StoreError> {
        let lease = &work.claimed.lease;
        let mut db = self.pool.acquire().await?;
        let lines = [NewLine {
            at: DateTime::from_timestamp(1_800_000_000, 0).expect("a moment"),
            step: None,
            stream: Stream::Stdout,
            line: format!("{} {}", lease.run, lease.token),
        }];
        loop {
            let review = log_lines::review(&mut db, lease, None).await?.expect("the run is there");
            let before = review.tip;
            let batch =
                Batch { run: &work.claimed.name, before, lines: &lines, log_bytes: before.log_bytes + 1 };
            if log_lines::append(&mut db, lease, batch).await? {
                return Ok(());
            }
            if !review.held {
                return Err(StoreError::LeaseLost(lease.run));
            }
        }
    }

    async fn hand_over(&self, lease: &Lease) {
        renew::hand_over(&self.pool, lease).await.unwrap();
        self.answers.lock().unwrap().tokens.entry(lease.run).or_default().push(lease.token + 1);
    }

    /// Time passes.
    async fn let_expire(&self, lease: &Lease) {
        sqlx::query(
            "UPDATE runs SET lease_expires_at = now() - interval '1 second'
             WHERE id = $1 AND lease_token = $2 AND lease_expires_at IS NOT NULL",
        )
        .bind(lease.run)
        .bind(lease.token)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    async fn is_taken(&self, lease: &Lease) -> bool {
        let token: i64 = sqlx::query_scalar("SELECT lease_token FROM runs WHERE id = $1")
            .bind(lease.run)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        token != lease.token
    }

    async fn is_decided(&self, run: RunId) -> bool {
        sqlx::query_scalar("SELECT outcome IS NOT NULL FROM runs WHERE id = $1")
            .bind(run)
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    async fn all_is_over(&self) -> bool {
        sqlx::query_scalar(
            "SELECT NOT EXISTS (SELECT FROM runs WHERE state IN ('queued', 'running') OR cleanup IN ('pending', 'failed'))",
        )
        .fetch_one(&self.pool)
        .await
        .unwrap()
    }

    fn note_claim(&self, claimed: &Claimed) {
        let mut answers = self.answers.lock().unwrap();
        answers.tokens.entry(claimed.lease.run).or_default().push(claimed.lease.token);
        answers.taken_over += usize::from(claimed.taken_over);
    }
}

async fn write(db: &mut PgConnection, work: &Work, deed: Deed) -> Result<(), StoreError> {
    let Claimed { lease, name, attempt, .. } = &work.claimed;
    let step = "launch_vm";
    match deed {
        Deed::Begin => {
            runs::begin(db, lease, 1).await?;
            builds::refresh_after(db, lease.build, lease.run).await?;
            Ok(())
        }
        Deed::BeginStep => journal::begin(db, lease, name, *attempt, step, 0).await,
        Deed::Intend => ledger::intend(db, lease, *attempt, &intent(0)).await.map(|_| ()),
        Deed::Created => {
            let (row, _) = ledger::intend(db, lease, *attempt, &intent(0)).await?;
            ledger::created(db, lease, row.id, &format!("vm-{}", lease.token)).await
        }
        Deed::SucceedStep => {
            journal::succeed(db, lease, name, *attempt, step, &json!({ "token": lease.token })).await
        }
        Deed::Decide => {
            let state = if work.cancel { RunState::Cancelled } else { RunState::Succeeded };
            finish::decide(db, lease, name, *attempt, &outcome(name, state), &[]).await?;
            builds::refresh_after(db, lease.build, lease.run).await?;
            Ok(())
        }
        Deed::Removed => {
            journal::guard(db, lease).await?;
            if work.paused {
                // Nobody takes the run while the transaction that found the lease in order is open.
                tokio::time::sleep(LOOK_AGAIN * 5).await;
                journal::guard(db, lease).await.expect("the run stays locked");
            }
            for resource in ledger::live(db, lease.run).await?.iter().filter(|_| !work.leaves_something) {
                ledger::removed(db, lease, resource.id, None).await?;
            }
            Ok(())
        }
        Deed::Finish => {
            let decided = "SELECT coalesce(outcome ->> 'state', 'failed') FROM runs WHERE id = $1";
            let decided: String = sqlx::query_scalar(decided).bind(lease.run).fetch_one(&mut *db).await?;
            let remaining = ledger::live(db, lease.run).await?;
            let cleanup = if remaining.is_empty() { CleanupState::Done } else { CleanupState::Pending };
            let state = decided.parse().expect("a state");
            finish::finish(db, lease, &outcome(name, state), cleanup, Duration::ZERO, false).await
        }
        Deed::Log | Deed::Renew => ready(Ok(())).await,
    }
}

impl Crowd {
    /// All is over, each run was ended once, and what stands in the tables was written under a lease that held.
    #[expect(clippy::await_holding_lock, reason = "all workers have ended: nobody else wants it")]
    async fn check(&self) -> String {
        let found = Snapshot::take(&self.pool).await;
        let answers = self.answers.lock().unwrap();
        for row in found.rows.values() {
            assert!(is_over(row), "it is not over: {row:?}");
            match row {
                Row::Step(step) => {
                    let expected = answers.newest.get(&(step.run, Deed::SucceedStep));
                    assert_eq!(step.output.as_ref(), expected, "{step:?}");
                }
                Row::Resource(resource) => {
                    let expected = answers.newest.get(&(resource.run, Deed::Created));
                    let expected = expected.map(|token| format!("vm-{token}"));
                    assert_eq!(resource.cloud_id, expected, "{resource:?}");
                }
                Row::Build(_) | Row::Run(_) => {}
            }
        }
        for run in found.runs() {
            let ended = answers.ended.get(&run.id).map_or(0, Vec::len);
            let touched = run.token > 0;
            assert_eq!(ended, usize::from(touched), "how often it ended: {run:?}");
            assert!(touched || run.state == RunState::Cancelled, "{run:?}");
            let mut tokens = answers.tokens.get(&run.id).cloned().unwrap_or_default();
            tokens.sort_unstable();
            assert_eq!(tokens, (1..=run.token).collect::<Vec<_>>(), "each token is given once: {run:?}");
        }
        for build in found.builds() {
            let states: Vec<_> =
                found.runs().filter(|run| run.build == build.id).map(|run| run.state).collect();
            assert_eq!(build.state, BuildState::of_runs(&states), "{build:?}");
            assert_eq!(build.version, build.events + 1, "{build:?}");
        }
        self.check_log(&answers.lines).await;
        assert!(answers.refused > 0 && answers.taken_over > 0, "nothing went wrong, so nothing was tried");
        format!(
            "{} runs, {} taken over, {} writes refused",
            found.runs().count(),
            answers.taken_over,
            answers.refused
        )
    }

    /// The lines are those whose writers were told so, and no line of an earlier holder stands behind one of a later.
    async fn check_log(&self, written: &HashMap<RunId, usize>) {
        let lines: Vec<String> = sqlx::query_scalar("SELECT line FROM log_lines ORDER BY build_id, seq")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        let mut newest: HashMap<&str, i64> = HashMap::new();
        let mut seen = HashSet::new();
        for line in &lines {
            let (run, token) = line.split_once(' ').expect("run and token");
            let token: i64 = token.parse().expect("a token");
            assert!(seen.insert(line), "stored twice: {line}");
            let newest = newest.entry(run).or_default();
            assert!(*newest < token, "{line} stands behind token {newest}");
            *newest = token;
        }
        assert_eq!(lines.len(), written.values().sum::<usize>());
    }
}
