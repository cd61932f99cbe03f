//! Who may do what: tokens and their limits, identities of an OpenID provider, the table of routes and roles, and the gate
//! that every request passes. The HTTP side of it is `api::auth`, the rows are `store::tokens` and `store::audit`.
//!
//! ```text
//! request ──► policy (which role?) ──► gate (who is it? token, JWT or open) ──► limits (which builds?) ──► handler
//! ```

pub mod error;
mod failures;
pub mod gate;
pub mod limits;
pub mod oidc;
pub mod peer;
pub mod policy;
pub mod principal;
mod revocation;
pub mod role;
pub mod setup;
pub mod spec;
mod streams;
pub mod token;

pub use error::AccessError;
pub use gate::{AuthSettings, Gate};
pub use limits::Limits;
pub use peer::Network;
pub use principal::{Principal, Who};
pub use role::Role;
pub use streams::Slot;
