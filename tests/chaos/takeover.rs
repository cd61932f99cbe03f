//! Two replicas on one database: one is killed, frozen or told to stop, the other one goes on.

use crate::{
    PATIENCE,
    gate::{Held, Moment},
    pause::Pause,
    until,
    world::{Server, World, template},
};

/// A world with two replicas, of which one bakes.
struct Pair {
    world: World,
    baking: Server,
    idle: Server,
    build: String,
    /// The name of the one that bakes.
    baking_name: &'static str,
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
            Self { world, baking: left, idle: right, build, baking_name: "left", idle_name: "right" }
        } else {
            Self { world, baking: right, idle: left, build, baking_name: "right", idle_name: "left" }
        }
    }

    async fn until_said(&self, words: &str) {
        self.world.until_said(&self.idle, &self.build, words).await;
    }

    /// Ends the lease of the replica that bakes, which is dead or frozen by now, and waits for what comes of it.
    async fn end_lease(&self) {
        self.world.until_taken_over(&self.idle, &self.build, self.baking_name).await;
    }

    /// Thaws the replica that baked; it has to notice that it has lost the build.
    async fn thaw(&self) {
        self.baking.process.signal("CONT").await;
        until("the frozen replica notices", async || {
            self.world.database.have_leases_renewed().await;
            self.baking.process.output().contains("stopped working on run").then_some(())
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
async fn when_the_baking_replica_is_killed_the_other_takes_over_once_the_lease_is_over() {
    let world = World::new().await;
    let mut held = world.gate.hold("StopVms", 1, Moment::Before);
    let pair = Pair::in_world(world, &["echo baking"], &[]).await;
    reached(&mut held).await;
    pair.baking.process.signal("KILL").await;
    pair.end_lease().await;
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
    // So it is not in the middle of a transaction either, which would hold up the other one.
    pair.until_said("creating OMI").await;
    pair.baking.process.signal("STOP").await;
    pair.end_lease().await;
    pair.other_finishes(1).await;
    // Its call arrives now, long after another one has done the work.
    let _ = held.go.send(());
    pair.thaw().await;
    // It still answers, and still tells the truth.
    pair.world.succeeds(&pair.baking, &pair.build).await.expect("nothing has changed");
    pair.close_both().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_frozen_while_provisioning_does_no_harm_to_the_next_attempt() {
    let pause = Pause::new();
    let pair = Pair::baking(&["echo baking", &pause.line(), "echo baked"], &[]).await;
    pause.reached().await;
    pair.until_said("baking").await;
    pair.baking.process.signal("STOP").await;
    pair.end_lease().await;
    pair.until_said("attempt 2 of 2").await;
    pair.thaw().await;
    pause.end().await;
    pair.other_finishes(2).await;
    pair.close_both().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_stop_hands_over_at_once() {
    let world = World::new().await;
    let mut held = world.gate.hold("CreateVms", 1, Moment::After);
    let pair = Pair::in_world(world, &["echo baking"], &[("FOURNIL_DRAIN_TIMEOUT", "0s")]).await;
    reached(&mut held).await;
    pair.baking.process.signal("TERM").await;
    let _ = held.go.send(());
    // Its lease lasts for an hour, so nobody takes it for lost meanwhile.
    until("the other replica takes over", async || {
        pair.world.is_without(&pair.idle, &pair.build, pair.baking_name).await
    })
    .await;
    pair.other_finishes(1).await;
    let Pair { world, baking, idle, .. } = pair;
    assert_eq!(world.requests("CreateVms").await.len(), 1, "what was made was made again");
    for (code, output) in [baking.process.exit().await, idle.process.end().await] {
        assert_eq!(code, Some(0), "{output}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_stop_finishes_within_its_time() {
    let pause = Pause::new();
    let drain = [("FOURNIL_DRAIN_TIMEOUT", "1h")];
    let Pair { world, baking, idle, build, .. } = Pair::baking(&["echo baking", &pause.line()], &drain).await;
    pause.reached().await;
    baking.process.signal("TERM").await;
    baking.process.until_written(0, "draining").await;
    pause.end().await;
    let (code, output) = baking.process.exit().await;
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
