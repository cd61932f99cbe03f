//! Two replicas on one database: one is killed, frozen or told to stop, the other one goes on.

use std::time::{Duration, Instant};

use crate::{
    LEASE, PATIENCE,
    gate::{Held, Moment},
    until,
    world::{Server, World, template},
};

/// How long after the end of a lease the other replica may take to notice.
const NOTICE: Duration = Duration::from_secs(4);

/// A world with two replicas, of which one bakes.
struct Pair {
    world: World,
    baking: Server,
    idle: Server,
    build: String,
    /// The name of the one that does not bake.
    idle_name: &'static str,
}

impl Pair {
    /// Starts both and a build.
    async fn baking(inline: &[&str], more: &[(&str, &str)]) -> Self {
        let world = World::new().await;
        Self::in_world(world, inline, more).await
    }

    async fn in_world(world: World, inline: &[&str], more: &[(&str, &str)]) -> Self {
        let variables: Vec<_> =
            [("DATABASE_URL", world.database.url.as_str())].into_iter().chain(more.iter().copied()).collect();
        let left = world.fournil_with("left", &variables).await;
        let right = world.fournil_with("right", &variables).await;
        let build = world.build(&left, &template("takeover", inline)).await;
        let worker = until("a replica claims the build", async || {
            let build = world.look(&left, &build).await?;
            build["runs"][0]["worker"].as_str().map(str::to_owned)
        })
        .await;
        if worker.starts_with("left-") {
            Self { world, baking: left, idle: right, build, idle_name: "right-" }
        } else {
            Self { world, baking: right, idle: left, build, idle_name: "left-" }
        }
    }

    async fn until_said(&self, words: &str) {
        until("the log says it", async || {
            self.world.has_said(&self.idle, &self.build, words).await.then_some(())
        })
        .await;
    }

    async fn until_taken_over(&self) {
        until("the other replica takes over", async || {
            let build = self.world.look(&self.idle, &self.build).await?;
            build["runs"][0]["worker"].as_str()?.starts_with(self.idle_name).then_some(())
        })
        .await;
    }

    /// The build has to succeed, by the other replica, in this attempt.
    async fn other_finishes(&self, attempt: i64) {
        let ended = self.world.succeeds(&self.idle, &self.build).await;
        let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", self.idle.process.output()));
        assert!(ended.worker().starts_with(self.idle_name), "{} ended it", ended.worker());
        assert_eq!(ended.attempt(), attempt, "{}", ended.build);
    }

    /// Ends both, which they have to do in order.
    async fn close_both(self) {
        for server in [self.baking, self.idle] {
            let (code, output) = server.process.end().await;
            assert_eq!(code, Some(0), "{output}");
        }
        self.world.close().await;
    }

    /// Ends the one that is left.
    async fn close(self) {
        let (code, output) = self.idle.process.end().await;
        assert_eq!(code, Some(0), "{output}");
        self.world.close().await;
    }
}

async fn reached(held: &mut Held) {
    tokio::time::timeout(PATIENCE, &mut held.reached)
        .await
        .expect("the call comes")
        .expect("the gate is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_baking_replica_is_killed_the_other_takes_over_as_soon_as_the_lease_is_over() {
    let world = World::new().await;
    let mut held = world.gate.hold("StopVms", 1, Moment::Before);
    let pair = Pair::in_world(world, &["echo baking"], &[]).await;
    reached(&mut held).await;
    let killed = Instant::now();
    pair.baking.process.signal("KILL").await;
    pair.until_taken_over().await;
    assert!(killed.elapsed() < LEASE + NOTICE, "it took {:?}", killed.elapsed());
    // Nothing but provisioning begins anew, and that was over.
    pair.other_finishes(1).await;
    assert_eq!(pair.world.requests("CreateVms").await.len(), 1);
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_frozen_with_a_call_on_its_way_makes_no_second_omi() {
    let world = World::new().await;
    let mut held = world.gate.hold("CreateImage", 1, Moment::Before);
    let pair = Pair::in_world(world, &["echo baking"], &[]).await;
    reached(&mut held).await;
    pair.baking.process.signal("STOP").await;
    pair.other_finishes(1).await;
    // Its call arrives now, long after another one has done the work.
    let _ = held.go.send(());
    pair.baking.process.signal("CONT").await;
    until("the frozen replica notices", async || {
        pair.baking.process.output().contains("stopped working on run").then_some(())
    })
    .await;
    // It still answers, and still tells the truth.
    pair.world.succeeds(&pair.baking, &pair.build).await.expect("nothing has changed");
    pair.close_both().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_frozen_while_provisioning_does_no_harm_to_the_next_attempt() {
    let pair = Pair::baking(&["echo baking", "sleep 1", "echo baked"], &[]).await;
    pair.until_said("baking").await;
    pair.baking.process.signal("STOP").await;
    pair.until_taken_over().await;
    pair.until_said("attempt 2 of 2").await;
    pair.baking.process.signal("CONT").await;
    pair.other_finishes(2).await;
    until("the frozen replica notices", async || {
        pair.baking.process.output().contains("stopped working on run").then_some(())
    })
    .await;
    pair.close_both().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_stop_hands_over_at_once() {
    let world = World::new().await;
    let mut held = world.gate.hold("CreateVms", 1, Moment::After);
    let pair = Pair::in_world(world, &["echo baking"], &[("FOURNIL_DRAIN_TIMEOUT", "0s")]).await;
    reached(&mut held).await;
    let told = Instant::now();
    pair.baking.process.signal("TERM").await;
    let _ = held.go.send(());
    pair.until_taken_over().await;
    assert!(told.elapsed() < LEASE, "it waited {:?}, as for a lost worker", told.elapsed());
    pair.other_finishes(1).await;
    assert_eq!(pair.world.requests("CreateVms").await.len(), 1, "what was made was made again");
    pair.close_both().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_stop_finishes_within_its_time() {
    let pair = Pair::baking(&["echo baking", "sleep 0.5"], &[("FOURNIL_DRAIN_TIMEOUT", "60s")]).await;
    pair.until_said("baking").await;
    let Pair { world, baking, idle, build, .. } = pair;
    let (code, output) = baking.process.end().await;
    assert_eq!(code, Some(0), "{output}");
    let ended = world.succeeds(&idle, &build).await.expect("the build succeeds");
    assert_eq!(ended.attempt(), 1);
    assert!(
        !output.contains("from a lost worker") && !idle.process.output().contains("claimed run"),
        "it was handed over"
    );
    idle.process.end().await;
    world.close().await;
}
