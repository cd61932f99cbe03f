//! The gate: who is it that asks? A token is looked up for every request, so that a revoked one is worth nothing at once.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use axum::http::{HeaderMap, header};
use chrono::{DateTime, TimeDelta, Utc};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    AccessError, Network, Principal, Slot, Who,
    failures::Failures,
    oidc::{Oidc, OidcSettings},
    peer,
    revocation::{Revocations, Watch},
    streams::Streams,
    token,
};
use crate::store::{StoreError, tokens};

/// Longer than any token of ours or of a provider's.
const LONGEST: usize = 16 << 10;

/// Denials of one principal that are recorded in a minute.
const DENIALS: NonZeroU32 = NonZeroU32::new(60).unwrap();

/// Principals whose denials are counted before those are forgotten that behaved since.
const PRINCIPALS: usize = 1024;

/// What the operator decides about access.
#[derive(Debug, Clone)]
pub struct AuthSettings {
    /// Everybody needs a token, even before the first one was made.
    pub required: bool,
    /// Whether `/metrics` needs none.
    pub metrics_open: bool,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Streams that may be open at once in this process.
    pub streams: usize,
    /// The same for one token or OpenID subject.
    pub streams_each: usize,
    /// Builds that may be queued or running at once.
    pub builds: u32,
    /// The same for one OpenID subject, or a token without a limit of its own.
    pub builds_each: u32,
    /// The OpenID provider.
    pub oidc: Option<OidcSettings>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            required: false,
            metrics_open: false,
            trusted_proxies: Vec::new(),
            streams: 2000,
            streams_each: 200,
            builds: 10_000,
            builds_each: 1000,
            oidc: None,
        }
    }
}

/// Why a request does not pass.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// It may not.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Nobody can tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for GateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Lets requests in or not.
#[derive(Debug)]
pub struct Gate {
    store: PgPool,
    settings: AuthSettings,
    /// Once it is known that there are tokens; that never changes back.
    closed: AtomicBool,
    failures: Failures,
    /// Denials that are recorded, by principal.
    denials: DefaultKeyedRateLimiter<String>,
    streams: Streams,
    revocations: Revocations,
    oidc: Option<Oidc>,
}

impl Gate {
    /// A gate in front of what is in `store`, until `shutdown`.
    #[must_use]
    pub fn new(store: PgPool, settings: AuthSettings, shutdown: CancellationToken) -> Self {
        let oidc = settings.oidc.clone().map(Oidc::new);
        Self {
            closed: AtomicBool::new(settings.required || oidc.is_some()),
            failures: Failures::default(),
            denials: RateLimiter::keyed(Quota::per_minute(DENIALS)),
            streams: Streams::new(settings.streams, settings.streams_each),
            revocations: Revocations::new(store.clone(), shutdown),
            store,
            settings,
            oidc,
        }
    }

    /// What the operator decided.
    #[must_use]
    pub const fn settings(&self) -> &AuthSettings {
        &self.settings
    }

    /// The address that a request comes from.
    #[must_use]
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        peer::client(peer, headers, &self.settings.trusted_proxies)
    }

    /// Whether it is already known that everybody needs a token. Asks nobody.
    #[must_use]
    pub fn is_known_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether everybody needs a token.
    async fn is_closed(&self) -> Result<bool, GateError> {
        if self.is_known_closed() {
            return Ok(true);
        }
        let exist = tokens::exist(&mut *self.store.acquire().await?).await?;
        if exist {
            self.closed.store(true, Ordering::Release);
        }
        Ok(exist)
    }

    /// Who it is that asks.
    ///
    /// # Errors
    /// Nobody who is let in, or the database is away.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<IpAddr>,
        now: DateTime<Utc>,
    ) -> Result<Principal, GateError> {
        if !self.is_closed().await? {
            return Ok(Principal::local());
        }
        let given = bearer(headers)?;
        let hash = token::hash(given);
        // Without an address all share one account.
        let address = address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        if let Some(wait) = self.failures.wait(address, &hash, Instant::now()) {
            return Err(AccessError::TooManyFailures(wait).into());
        }
        let found = match &self.oidc {
            Some(oidc) if looks_like_jwt(given) => oidc.check(given).await.map_err(GateError::from),
            _ => self.look_up(&hash, now).await,
        };
        match &found {
            Ok(_) => self.failures.succeeded(hash, Instant::now()),
            Err(GateError::Access(error)) if error.is_failure() => {
                self.failures.failed(address, &hash, Instant::now());
            }
            Err(_) => {}
        }
        found
    }

    async fn look_up(&self, hash: &token::Hash, now: DateTime<Utc>) -> Result<Principal, GateError> {
        let mut db = self.store.acquire().await?;
        let row = tokens::find(&mut db, hash).await?.filter(|row| row.revoked_at.is_none());
        let row = row.ok_or(AccessError::Unknown)?;
        if row.expires_at.is_some_and(|end| end <= now) {
            return Err(AccessError::Expired(row.name).into());
        }
        let limits = row.limits()?;
        if row.last_used_at.is_none_or(|last| now - last >= TimeDelta::minutes(1))
            && let Err(error) = tokens::used(&mut db, row.id, now).await
        {
            tracing::warn!(error = %error, "the use of the token {} could not be remembered", row.name);
        }
        Ok(Principal {
            who: Who::Token { id: row.id, name: row.name },
            role: row.role,
            limits,
            until: row.expires_at,
        })
    }

    /// To be asked before [`Gate::authenticate`], for [`Gate::watch`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.revocations.generation()
    }

    /// Watches whether a principal who was just let in may stay.
    ///
    /// # Errors
    /// They may not any more, or the database is away.
    pub async fn watch(&self, principal: &Principal, generation: u64) -> Result<Stay, GateError> {
        let id = match &principal.who {
            Who::Local => Some(Uuid::nil()),
            Who::Token { id, .. } => Some(*id),
            Who::Oidc { .. } => None,
        };
        let watch = id.map(|id| self.revocations.watch(id));
        if let Some(id) = id
            && self.revocations.is_revoked_since(generation, id).await?
        {
            return Err(AccessError::Ended.into());
        }
        Ok(Stay { watch, until: principal.until })
    }

    /// Whether another denial of this principal is worth a row of the audit: somebody who tries over and over must not fill
    /// the database.
    #[must_use]
    pub fn may_record_denial(&self, principal: &str) -> bool {
        if self.denials.len() > PRINCIPALS {
            self.denials.retain_recent();
        }
        self.denials.check_key(&principal.to_owned()).is_ok()
    }

    /// The place of one stream.
    ///
    /// # Errors
    /// Too many are open.
    pub fn stream(&self, principal: &Principal) -> Result<Slot, AccessError> {
        self.streams.take(&principal.who)
    }
}

/// How long somebody may stay.
#[derive(Debug)]
pub struct Stay {
    watch: Option<Watch>,
    until: Option<DateTime<Utc>>,
}

impl Stay {
    /// Returns when the token is revoked or its time is over. Safe to cancel and to call again.
    pub async fn ended(&self) {
        let revoked = async {
            match &self.watch {
                Some(watch) => watch.ended().await,
                None => std::future::pending().await,
            }
        };
        let over = async {
            match self.until {
                Some(until) => {
                    let left = (until - Utc::now()).to_std().unwrap_or_default();
                    tokio::time::sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revoked => {}
            () = over => {}
        }
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Result<&str, AccessError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AccessError::Missing)?;
    if values.next().is_some() {
        return Err(AccessError::Malformed("is given more than once"));
    }
    let value = value.to_str().map_err(|_| AccessError::Malformed("holds other than ASCII characters"))?;
    let (scheme, token) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AccessError::Malformed("must be `Bearer` and a token"));
    }
    let token = token.trim();
    if token.is_empty() {
        return Err(AccessError::Malformed("has no token after `Bearer`"));
    }
    if token.len() > LONGEST {
        return Err(AccessError::Malformed("has a token that is too long"));
    }
    Ok(token)
}

fn looks_like_jwt(token: &str) -> bool {
    token.starts_with("eyJ") && token.matches('.').count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Result<String, u16> {
        let headers = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap())).collect();
        bearer(&headers).map(str::to_owned).map_err(|error| error.problem().status)
    }

    #[test]
    fn only_one_bearer_token_is_taken() {
        for value in ["Bearer abc", "bearer  abc", "BEARER abc "] {
            assert_eq!(read(&[value]), Ok("abc".to_owned()), "{value}");
        }
        for values in [
            &["Basic abc"][..],
            &["Bearer"],
            &["Bearer "],
            &["abc"],
            &[""],
            &["Bearer a", "Bearer b"],
            &[&format!("Bearer {}", "x".repeat(LONGEST + 1))],
            &[],
        ] {
            assert_eq!(read(values), Err(401), "{values:?}");
        }
    }
}
