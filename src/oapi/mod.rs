//! The OUTSCALE API: typed requests and answers, signing, retries, the pace of each account, and shared waiting.
//! Everything here talks to an endpoint that it is given and knows neither builds nor the database; which resource is
//! made when, and how a lost answer is found again, is for the callers.
//!
//! ```text
//! pool.client(config) ──► Client ──call──► pacing ──► signing ──► HTTP ──► answer or OapiError
//!                           ▲
//! waits.wait_vm(&client, …) ┘  one poller for all that wait for the same kind in the same account
//! ```

pub mod client;
pub mod endpoint;
pub mod error;
pub mod keys;
pub mod lookup;
pub mod pacing;
pub mod predicates;
pub mod retry;
pub mod signing;
pub mod types;
pub mod waiters;

mod answer;
mod http;
mod polling;
mod skew;
mod trust;

pub use client::{CallRecord, Client, ClientConfig, Clock, ConfigError, OapiPool, Observer, TlsConfig};
pub use endpoint::{Endpoint, EndpointError};
pub use error::OapiError;
pub use keys::{KeyPair, KeySource, NoKeys};
pub use pacing::PaceConfig;
pub use retry::RetryPolicy;
pub use skew::ClockSkew;
pub use trust::{Trust, check_client_certificate};
pub use types::{PagedRequest, Request, Retry};
pub use waiters::{Progress, WaitConfig, WaitError, Waits};
