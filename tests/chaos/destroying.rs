//! `kill -9` while the artifacts of a build are destroyed: another server goes on, and nothing of the build is left.

use crate::{
    gate::Moment,
    until,
    world::{World, surrogate},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_it_destroys_leaves_it_to_another_one() {
    for (action, nth, moment) in [
        ("DeleteImage", 1, Moment::Before),
        ("DeleteImage", 1, Moment::After),
        ("DeleteSnapshot", 2, Moment::After),
    ] {
        let world = World::new().await;
        let first = world.fournil("first").await;
        let build = world.build(&first, &surrogate("chaos", &["echo baking"])).await;
        world.succeeds(&first, &build).await.expect("an undisturbed bake succeeds");
        let held = world.gate.hold(action, nth, moment);
        world.destroy(&first, &build).await;
        held.reached.await.expect("the call comes");
        first.process.kill().await;
        world.gate.until_quiet().await;
        let second = world.fournil("second").await;
        until("the artifacts are destroyed", async || {
            world.database.end_leases("first").await;
            (world.look(&second, &build).await?["runs"][0]["destroy"] == "done").then_some(())
        })
        .await;
        let left = world.resources().await;
        assert!(left.is_empty(), "{action} {moment:?}: {left:?}");
        second.process.end().await;
        world.close().await;
    }
}
