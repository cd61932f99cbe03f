//! What fournil talks about: builds, runs, plans, artifacts, problems, and which moves between states are legal.
//! Nothing here does I/O; every other module may depend on this one.

pub mod artifact;
mod builder;
pub mod capability;
pub mod duration;
pub mod ids;
pub mod log;
pub mod manifest;
pub mod on_error;
pub mod plan;
pub mod post_processor;
pub mod problem;
pub mod provisioner;
pub mod secret_text;
pub mod state;

pub use artifact::Artifact;
pub use capability::Capability;
pub use ids::{BuildId, ResourceId, RunId};
pub use on_error::OnError;
pub use plan::{BuildPlan, RunPlan};
pub use problem::Problem;
pub use state::{BuildState, CleanupState, DestroyState, RunState, StepState};
