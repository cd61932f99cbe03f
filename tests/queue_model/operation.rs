//! What can happen to the queue, and how a sequence of it is drawn. proptest draws places in lists that it does not know
//! yet; what they stand for is looked up in the model when their turn comes, so that a shorter sequence means something too.

use fournil::domain::{CleanupState, RunState, StepState};
use proptest::{collection::vec, option, prelude::*, sample::Index};

use crate::model::Model;

/// The workers; the last one can do what some runs require.
pub const WORKERS: [&str; 3] = ["ann", "bob", "cleo"];

/// What some runs require.
pub const CAPABILITY: &str = "chroot";

/// What a worker can do.
pub fn capabilities(worker: usize) -> Vec<String> {
    if worker == WORKERS.len() - 1 { vec![CAPABILITY.to_owned(), "kvm".to_owned()] } else { Vec::new() }
}

/// The steps that a run can take.
pub const STEPS: [&str; 2] = ["launch_vm", "provision"];

/// What a run can make: the slot, whether it stays on success, whether its id is known from the start.
pub const SLOTS: [(&str, bool, bool); 3] =
    [("vm", false, false), ("image", true, false), ("volume", true, true)];

#[derive(Debug, Clone)]
pub struct NewBuild {
    pub priority: i32,
    /// Builds are not always inserted in the order in which they were accepted.
    pub accepted: i64,
    pub runs: Vec<NewRun>,
}

#[derive(Debug, Clone)]
pub struct NewRun {
    pub omi_key: Option<u8>,
    pub requires_capability: bool,
    /// Not to be claimed before it is woken.
    pub later: bool,
}

/// Something that happens. Builds, runs and claims are numbered in the order in which they came.
#[derive(Debug, Clone)]
pub enum Operation {
    Submit(NewBuild),
    Claim {
        worker: usize,
    },
    ClaimCleanup {
        worker: usize,
    },
    /// One statement for all, as the heartbeat does it.
    Renew {
        claims: Vec<usize>,
    },
    /// The lease runs out.
    Expire {
        run: usize,
    },
    HandOver {
        claim: usize,
    },
    Cancel {
        build: usize,
    },
    /// The run's time comes.
    Wake {
        run: usize,
    },
    Write {
        claim: usize,
        write: Write,
    },
}

/// What only the holder of the lease may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Begin,
    BeginStep(usize),
    SucceedStep(usize),
    FailStep(usize, StepState),
    Intend(usize),
    Created(i32, usize),
    Removed(i32, usize),
    RemovalFailed(i32, usize),
    Log,
    Decide(RunState),
    NextAttempt,
    Finish(Finish),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    pub cleanup: CleanupState,
    /// Whether the reaper shall wait before it looks.
    pub later: bool,
}

impl Write {
    /// One of each kind, for those who may do none.
    fn every_kind() -> Vec<Self> {
        let finish = |cleanup| Self::Finish(Finish { cleanup, later: false });
        let mut writes = vec![Self::Begin, Self::Log, Self::NextAttempt];
        writes.extend([RunState::Succeeded, RunState::Failed, RunState::Cancelled].map(Self::Decide));
        writes.extend([CleanupState::None, CleanupState::Pending, CleanupState::Done].map(finish));
        for step in 0..STEPS.len() {
            writes.extend([
                Self::BeginStep(step),
                Self::SucceedStep(step),
                Self::FailStep(step, StepState::Interrupted),
            ]);
        }
        for slot in 0..SLOTS.len() {
            writes.extend([
                Self::Intend(slot),
                Self::Created(1, slot),
                Self::Removed(1, slot),
                Self::RemovalFailed(1, slot),
            ]);
        }
        writes
    }
}

/// A claim that is still the newest of its run, or one that is not.
#[derive(Debug, Clone)]
pub struct Whose {
    outdated: bool,
    place: Index,
}

/// An [`Operation`] whose subjects are not looked up yet.
#[derive(Debug, Clone)]
pub enum Draw {
    Submit(NewBuild),
    Claim(usize),
    ClaimCleanup(usize),
    Renew(Vec<Whose>),
    Expire(Index),
    HandOver(Whose),
    Cancel(Index),
    Wake(Index),
    Write(Whose, Index),
}

impl Draw {
    /// What it stands for now; `None`: there is nothing of the kind.
    pub fn look_up(&self, model: &Model) -> Option<Operation> {
        Some(match self {
            Self::Submit(build) => Operation::Submit(build.clone()),
            Self::Claim(worker) => Operation::Claim { worker: *worker },
            Self::ClaimCleanup(worker) => Operation::ClaimCleanup { worker: *worker },
            Self::Renew(leases) => {
                let claims: Vec<_> =
                    leases.iter().filter_map(|whose| pick(&claims(model, whose), &whose.place)).collect();
                if claims.is_empty() {
                    return None;
                }
                Operation::Renew { claims }
            }
            Self::Expire(place) => Operation::Expire { run: pick(&model.runs_with_valid_lease(), place)? },
            Self::HandOver(whose) => {
                let claim = pick(&claims(model, whose), &whose.place)?;
                if !whose.outdated && model.is_given_back(claim) {
                    return None;
                }
                Operation::HandOver { claim }
            }
            Self::Cancel(place) => {
                Operation::Cancel { build: pick(&(0..model.builds()).collect::<Vec<_>>(), place)? }
            }
            Self::Wake(place) => Operation::Wake { run: pick(&model.runs_that_wait(), place)? },
            Self::Write(whose, which) => {
                let claim = pick(&claims(model, whose), &whose.place)?;
                let writes = if whose.outdated { Write::every_kind() } else { model.writes(claim) };
                Operation::Write { claim, write: pick(&writes, which)? }
            }
        })
    }
}

fn claims(model: &Model, whose: &Whose) -> Vec<usize> {
    (0..model.claims()).filter(|claim| model.is_outdated(*claim) == whose.outdated).collect()
}

fn pick<T: Clone>(from: &[T], place: &Index) -> Option<T> {
    if from.is_empty() { None } else { Some(place.get(from).clone()) }
}

/// Sequences of at most `length`.
pub fn sequences(length: usize) -> impl Strategy<Value = Vec<Draw>> {
    vec(draw(), 1..=length)
}

fn draw() -> impl Strategy<Value = Draw> {
    let place = any::<Index>;
    prop_oneof![
        6 => new_build().prop_map(Draw::Submit),
        12 => (0..WORKERS.len()).prop_map(Draw::Claim),
        6 => (0..WORKERS.len()).prop_map(Draw::ClaimCleanup),
        4 => vec(whose(), 1..4).prop_map(Draw::Renew),
        5 => place().prop_map(Draw::Expire),
        3 => whose().prop_map(Draw::HandOver),
        3 => place().prop_map(Draw::Cancel),
        4 => place().prop_map(Draw::Wake),
        40 => (whose(), place()).prop_map(|(whose, which)| Draw::Write(whose, which)),
    ]
}

fn whose() -> impl Strategy<Value = Whose> {
    (prop::bool::weighted(0.25), any::<Index>()).prop_map(|(outdated, place)| Whose { outdated, place })
}

fn new_build() -> impl Strategy<Value = NewBuild> {
    let run = (option::weighted(0.4, 0..2_u8), prop::bool::weighted(0.25), prop::bool::weighted(0.2))
        .prop_map(|(omi_key, requires_capability, later)| NewRun { omi_key, requires_capability, later });
    (0..3_i32, 0..4_i64, vec(run, 1..=3)).prop_map(|(priority, accepted, runs)| NewBuild {
        priority,
        accepted,
        runs,
    })
}
