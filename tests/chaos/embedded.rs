//! The embedded database: fournil is killed in the middle of a bake and its Postgres stays behind; started again on the
//! same folder, it goes on.

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::{
    database::end_leases,
    gate::Moment,
    until,
    world::{Server, World, template},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_its_embedded_database_fournil_goes_on_at_the_next_start() {
    let world = World::new().await;
    let held = world.gate.hold("CreateImage", 1, Moment::After);
    let first = start(&world, "first").await;
    let build = world.build(&first, &template("laptop", &["echo baking"])).await;
    tokio::time::timeout(crate::PATIENCE, held.reached)
        .await
        .expect("the call comes")
        .expect("the gate is open");
    let said = world.log(&first, &build).await.len();
    first.process.kill().await;

    let second = start(&world, "second").await;
    until_taken_over(&world, &second, &build, "first").await;
    let ended = world.succeeds(&second, &build).await;
    let ended = ended.unwrap_or_else(|why| panic!("{why}\n{}", second.process.output()));
    assert_eq!(ended.attempt(), 1);
    let log = world.log(&second, &build).await;
    assert!(log.len() > said, "what was in the log before stands before what came after");
    assert!(log.iter().zip(1..).all(|(line, seq)| line["seq"] == seq), "the log has gaps: {log:?}");

    // A second kill with nothing to do, straight after an answer: what was answered is there.
    let idle = world.build(&second, &template("later", &["echo baking"])).await;
    second.process.kill().await;
    let third = start(&world, "third").await;
    until("the accepted build is known", async || world.look(&third, &idle).await).await;
    until_taken_over(&world, &third, &idle, "second").await;
    let later = world.ended(&third, &idle).await.expect("it ends");
    assert_eq!(later.state, "succeeded", "{}", later.build);
    world.holds_only(&[&ended, &later]).await.expect("nothing is left behind");
    let (code, output) = third.process.end().await;
    assert_eq!(code, Some(0), "{output}");
    world.close().await;
}

/// The server of this name on the folder that all share.
async fn start(world: &World, name: &str) -> Server {
    world.fournil_with("laptop", &[("FOURNIL_WORKER_NAME", name)]).await
}

/// Ends the leases of the server `lost`, which is dead, until another one has the build or it has ended.
async fn until_taken_over(world: &World, server: &Server, build: &str, lost: &str) {
    let file = world.data_dir.path().join("laptop/postgres/cluster/postmaster.pid");
    let text = std::fs::read_to_string(file).expect("the embedded database runs");
    let socket = text.lines().nth(4).expect("it tells its socket's folder");
    let database = PgConnectOptions::new_without_pgpass().socket(socket).port(5432);
    let database = database.username("fournil").database("fournil").ssl_mode(PgSslMode::Disable);
    until("another server takes over", async || {
        end_leases(&database, lost).await;
        world.is_without(server, build, lost).await
    })
    .await;
}
