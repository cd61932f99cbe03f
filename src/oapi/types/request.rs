//! What makes a struct a request: its action, its answer, and when it may be sent a second time.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// When a request may be repeated after an answer that leaves open whether the call took effect
/// (HTTP 5xx, timeout, reset). A call that certainly was not run (throttled, no connection) may always be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Repeating does no harm: reads, deletes, tags, updates, starts and stops, links.
    Always,
    /// Repeating does no harm if the request carries a `ClientToken`.
    WithToken,
    /// Repeating could make a second resource; the caller has to look first.
    OnlyIfNotRun,
}

/// A call of the OUTSCALE API.
///
/// Fields that are `None`, empty lists and empty objects are not sent.
pub trait Request: Serialize + Send + Sync {
    /// Name of the call, the last part of its path.
    const ACTION: &'static str;
    /// When it may be repeated.
    const RETRY: Retry;
    /// What OAPI answers.
    type Answer: DeserializeOwned + Send;

    /// Whether this very request carries a `ClientToken`.
    fn has_client_token(&self) -> bool {
        false
    }
}

/// A read that OAPI answers page by page.
pub trait PagedRequest: Request + Clone {
    /// What is listed.
    type Item: Send;

    /// Asks for one page: at most `results_per_page` (1–1000) items, from `token` of the page before.
    fn set_page(&mut self, results_per_page: u32, token: Option<String>);

    /// The items of a page, and the token of the next one.
    fn split(answer: Self::Answer) -> (Vec<Self::Item>, Option<String>);
}

/// The answer of calls that return nothing but the request id.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Done {}

/// Writes the `Request` of an action: `request!(StopVms => StopVmsAnswer, Always)`.
macro_rules! request {
    ($request:ident => $answer:ty, WithToken) => {
        impl $crate::oapi::types::Request for $request {
            const ACTION: &'static str = stringify!($request);
            const RETRY: $crate::oapi::types::Retry = $crate::oapi::types::Retry::WithToken;
            type Answer = $answer;

            fn has_client_token(&self) -> bool {
                self.client_token.is_some()
            }
        }
    };
    ($request:ident => $answer:ty, $retry:ident) => {
        impl $crate::oapi::types::Request for $request {
            const ACTION: &'static str = stringify!($request);
            const RETRY: $crate::oapi::types::Retry = $crate::oapi::types::Retry::$retry;
            type Answer = $answer;
        }
    };
}

/// Writes request, answer and paging of a read: `paged!(ReadVms, FiltersVm => ReadVmsAnswer { vms: Vm })`.
macro_rules! paged {
    ($(#[$meta:meta])* $request:ident, $filters:ident => $answer:ident { $items:ident: $item:ty }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        pub struct $request {
            /// What to list; without any filter everything that the account can see.
            pub filters: $filters,
            /// Checks credentials and rights only; the answer lists nothing.
            pub dry_run: Option<bool>,
            /// Size of a page, 1–1000; `Client::read_all` sets it.
            pub results_per_page: Option<u32>,
            /// Where the page starts; `Client::read_all` sets it.
            pub next_page_token: Option<String>,
        }

        impl $request {
            /// The read with these filters.
            pub fn filtered(filters: $filters) -> Self {
                Self { filters, ..Self::default() }
            }
        }

        #[doc = concat!("One page of the answer to `", stringify!($request), "`.")]
        #[derive(Debug, Clone, Default, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $answer {
            /// The listed items.
            pub $items: Vec<$item>,
            /// Set if there are more.
            pub next_page_token: Option<String>,
        }

        $crate::oapi::types::request::request!($request => $answer, Always);

        impl $crate::oapi::types::PagedRequest for $request {
            type Item = $item;

            fn set_page(&mut self, results_per_page: u32, token: Option<String>) {
                self.results_per_page = Some(results_per_page);
                self.next_page_token = token;
            }

            fn split(answer: Self::Answer) -> (Vec<Self::Item>, Option<String>) {
                (answer.$items, answer.next_page_token)
            }
        }
    };
}

pub(super) use {paged, request};
