//! `kill -9` at every call: before it arrives; of those that make or change something also when it takes effect only after
//! the death of the server, when its answer is lost with the server, and when the answer was still read. Another server
//! then has to bring the build to its end.

use std::{collections::HashMap, fmt, time::Duration};

use futures::{StreamExt, stream};
use serde_json::Value;

use crate::{
    PATIENCE,
    gate::Moment,
    is_long,
    pause::Pause,
    until,
    world::{World, chroot, surrogate, template, volumes},
};

/// Worlds at a time. They mostly wait, for things to settle.
const AT_A_TIME: usize = 12;

/// How long the next server believes in the effect of a call whose sender is dead, when that comes late: longer than the test
/// takes to let the call go, however busy the machine is.
const LATE: (&str, &str) = ("FOURNIL_OAPI_SETTLE", "30s");

#[derive(Debug, Clone)]
struct KillPoint {
    bake: Bake,
    action: String,
    nth: usize,
    death: Death,
}

/// What is baked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bake {
    /// An OMI of a VM.
    Bsu,
    /// An OMI of other volumes.
    Surrogate,
    /// Volumes.
    Volumes,
    /// An OMI of a volume that is mounted on this machine.
    Chroot,
}

impl Bake {
    async fn world(self) -> World {
        match self {
            Self::Chroot => World::of_this_machine().await,
            Self::Bsu | Self::Surrogate | Self::Volumes => World::new().await,
        }
    }

    fn template(self, inline: &[&str]) -> Value {
        match self {
            Self::Bsu => template("chaos", inline),
            Self::Surrogate => surrogate("chaos", inline),
            Self::Volumes => volumes(inline),
            Self::Chroot => chroot("chaos", inline),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Death {
    /// The call is never made.
    Before,
    /// The call takes effect when nobody is there any more.
    Late,
    /// The call has had its effect, its answer never arrives.
    After,
    /// The answer arrives; death comes this much later.
    Answered(Duration),
    /// While provisioners run.
    Provisioning,
}

impl KillPoint {
    fn is_while_linking(&self) -> bool {
        let actions = ["ReadVms", "ReadVolumes", "LinkVolume"];
        self.bake == Bake::Chroot && actions.contains(&self.action.as_str())
    }
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?} {} no. {}", self.bake, self.death, self.action, self.nth)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whenever_the_server_is_killed_the_build_ends_well_and_nothing_is_left() {
    let points = kill_points(Bake::Bsu, &calls_of_a_bake(Bake::Bsu).await);
    try_all(points, AT_A_TIME).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_surrogates_and_for_volumes() {
    let mut points = Vec::new();
    for bake in [Bake::Surrogate, Bake::Volumes] {
        points.extend(kill_points(bake, &calls_of_a_bake(bake).await));
    }
    try_all(points, AT_A_TIME).await;
}

/// One machine has eleven names for devices, and other tests use some of them.
const CHROOTS_AT_A_TIME: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_holds_for_chroots_and_nothing_stays_mounted() {
    let points = kill_points(Bake::Chroot, &calls_of_a_bake(Bake::Chroot).await);
    try_all(points, CHROOTS_AT_A_TIME).await;
}

async fn try_all(points: Vec<KillPoint>, at_a_time: usize) {
    let tried = points.len();
    let failures: Vec<String> =
        stream::iter(points)
            .map(|point| async move {
                Box::pin(try_point(&point)).await.err().map(|why| format!("{point}: {why}"))
            })
            .buffer_unordered(at_a_time)
            .filter_map(std::future::ready)
            .collect()
            .await;
    println!("kill points tried: {tried}, leaks or failures: {}", failures.len());
    assert!(failures.is_empty(), "{} of {tried} kill points:\n{}", failures.len(), failures.join("\n"));
}

/// The calls of a bake that nothing happens to.
async fn calls_of_a_bake(bake: Bake) -> Vec<String> {
    let world = bake.world().await;
    let server = world.fournil("undisturbed").await;
    let build = world.build(&server, &bake.template(&["echo baking"])).await;
    world.succeeds(&server, &build).await.expect("an undisturbed bake succeeds");
    let calls = world.gate.calls();
    server.process.end().await;
    world.close().await;
    calls
}

/// Up to a stopped VM one builder does what the other does, except that a volume has to be known that may stay.
fn is_its_own(bake: Bake, action: &str, has_stopped: bool) -> bool {
    matches!(bake, Bake::Bsu | Bake::Chroot)
        || has_stopped
        || is_long()
        || (bake == Bake::Volumes && action == "CreateVms")
}

fn kill_points(bake: Bake, calls: &[String]) -> Vec<KillPoint> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut points = Vec::new();
    if is_its_own(bake, "(none)", false) {
        points.push(KillPoint { bake, action: "(none)".to_owned(), nth: 1, death: Death::Provisioning });
    }
    let stops = calls.iter().position(|action| action == "StopVms").unwrap_or_default();
    for (index, action) in calls.iter().enumerate() {
        let nth = seen.entry(action).or_default();
        *nth += 1;
        let is_read = action.starts_with("Read");
        // Of a poll, and of a removal that is tried again, one call is like another.
        let most = if is_read {
            2
        } else if action.starts_with("Delete") {
            1
        } else {
            usize::MAX
        };
        if *nth > most || !is_its_own(bake, action, index > stops) {
            continue;
        }
        let mut deaths = vec![Death::Before];
        if !is_read {
            deaths.push(Death::After);
        }
        if action == "CreateTags" && !is_long() {
            // There are many of them, alike: one death each, in turn.
            deaths.remove(*nth % 2);
        }
        if is_long() {
            deaths.extend([0, 5, 30].map(|ms| Death::Answered(Duration::from_millis(ms))));
        }
        if action.starts_with("Create") && (is_long() || action != "CreateTags") {
            deaths.push(Death::Late);
        }
        points.extend(deaths.into_iter().map(|death| KillPoint {
            bake,
            action: action.clone(),
            nth: *nth,
            death,
        }));
    }
    points
}

async fn try_point(point: &KillPoint) -> Result<(), String> {
    let world = point.bake.world().await;
    let result = try_in(&world, point).await;
    world.close().await;
    result
}

async fn try_in(world: &World, point: &KillPoint) -> Result<(), String> {
    let first = world.fournil("first").await;
    let moment =
        if matches!(point.death, Death::Before | Death::Late) { Moment::Before } else { Moment::After };
    let held = world.gate.hold(&point.action, point.nth, moment);
    let pause = Pause::new();
    let line = pause.line();
    let is_provisioning = matches!(point.death, Death::Provisioning);
    let script: &[&str] = if is_provisioning { &["echo baking", &line] } else { &["echo baking"] };
    let build = world.build(&first, &point.bake.template(script)).await;
    if is_provisioning {
        pause.reached().await;
        world.until_said(&first, &build, "baking").await;
    } else if tokio::time::timeout(PATIENCE, held.reached).await.is_err() {
        return Err(format!("the call never came: {}", first.process.output()));
    }
    let mut go = Some(held.go);
    if let Death::Answered(delay) = point.death {
        go.take().map(|go| go.send(()));
        tokio::time::sleep(delay).await;
    }
    first.process.kill().await;
    world.gate.until_quiet().await;
    let database = ("DATABASE_URL", world.database.url.as_str());
    let is_late = matches!(point.death, Death::Late);
    let variables: &[_] = if is_late { &[database, LATE] } else { &[database] };
    let second = world.fournil_with("second", variables).await;
    let made_by_first = world.gate.calls().len();
    world.until_taken_over(&second, &build, "first").await;
    if is_late {
        until("the second server calls", async || (world.gate.calls().len() > made_by_first).then_some(()))
            .await;
        go.take().map(|go| go.send(()));
    }
    if is_provisioning {
        world.until_said(&second, &build, "attempt 2 of 2").await;
        pause.end().await;
    }
    let result = world.succeeds(&second, &build).await;
    let result = result.and_then(|ended| match (point.death, ended.attempt()) {
        (Death::Provisioning, 2) | (Death::Answered(_), _) => Ok(()),
        (Death::Provisioning, attempt) => {
            Err(format!("provisioned in attempt {attempt}, on a VM that is half done"))
        }
        // What is mounted ends with its worker, and linking is not begun by one and ended by another.
        (_, 2) if point.is_while_linking() => Ok(()),
        // Nothing but provisioning has to begin anew.
        (_, 1) => Ok(()),
        (_, attempt) => Err(format!("it took {attempt} attempts")),
    });
    let result = match result {
        Ok(()) => match world.has_no_cells("first").await {
            Ok(()) => world.has_no_cells("second").await,
            left => left,
        },
        failed => failed,
    };
    let (code, output) = second.process.end().await;
    match result {
        Ok(()) if code != Some(0) => Err(format!("the second server ended with {code:?}: {output}")),
        Ok(()) => Ok(()),
        Err(why) => Err(format!("{why}\ncalls: {}\n{output}", world.gate.calls().join(" "))),
    }
}
