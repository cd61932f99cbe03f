//! How there come to be tokens: made by an administrator over HTTP, straight in the database for the first one, or from the
//! environment of a container. And whether the service may listen where strangers are.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

use super::{Limits, Role, spec::TokenSpec, token};
use crate::store::{
    StoreError,
    audit::{self, Actor, Entry},
    tokens::{self, NewToken, TokenRow},
};

/// What the token of the environment is called.
pub const BOOTSTRAP: &str = "bootstrap";

/// The variable that holds it.
pub const BOOTSTRAP_VARIABLE: &str = "FOURNIL_BOOTSTRAP_TOKEN";

/// The shortest token that is taken from the environment. One that people make up should be as hard to guess as ours.
const SHORTEST: usize = 32;

/// Why the service does not start, or a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Strangers could use the operator's keys.
    #[error(
        "{0} can be reached from other machines, and there is no token yet that would keep strangers out. Make one with \
         `fournil token create NAME --role admin --database-url …`, or set {BOOTSTRAP_VARIABLE}, or configure an OpenID \
         provider (oidc.issuer); or listen on 127.0.0.1 or [::1]"
    )]
    Exposed(SocketAddr),
    /// The token of the environment is too weak.
    #[error(
        "{BOOTSTRAP_VARIABLE} must hold at least {SHORTEST} visible ASCII characters; `openssl rand -hex 32` makes a good one"
    )]
    Weak,
    /// The system has no random numbers.
    #[error("no random token can be made")]
    Random(#[source] rand::rand_core::OsError),
    /// The database is away.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for SetupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A token that was just made.
#[derive(Debug)]
pub struct Made {
    /// The token itself; nobody can have it again.
    pub secret: SecretString,
    /// What is stored of it.
    pub row: TokenRow,
}

/// Makes a token that was checked, and writes that into the audit; `None`: the name is taken. To be called in a
/// transaction.
///
/// # Errors
/// The database is away, or the system has no random numbers.
pub async fn make(
    db: &mut PgConnection,
    spec: &TokenSpec,
    actor: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<Made>, SetupError> {
    let secret = token::generate().map_err(SetupError::Random)?;
    Ok(insert(db, spec, &secret, actor, now).await?.map(|row| Made { secret, row }))
}

async fn insert(
    db: &mut PgConnection,
    spec: &TokenSpec,
    secret: &SecretString,
    actor: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<TokenRow>, StoreError> {
    let new = NewToken {
        name: &spec.name,
        hash: &token::hash_secret(secret),
        role: spec.role,
        limits: &spec.limits,
        created_at: now,
        created_by: &actor.principal,
        expires_at: spec.expires_at,
    };
    let row = tokens::insert(db, &new).await?;
    if row.is_some() {
        let detail = json!({ "role": spec.role, "limits": spec.limits, "expires_at": spec.expires_at });
        let entry = Entry { target: Some(&spec.name), detail, ..Entry::done("token.create") };
        audit::record(db, actor, &entry, now).await?;
    }
    Ok(row)
}

/// Revokes a token by its name, and writes that into the audit; `None`: there is none. To be called in a transaction.
///
/// # Errors
/// The database is away.
pub async fn revoke(
    db: &mut PgConnection,
    name: &str,
    actor: &Actor,
    now: DateTime<Utc>,
) -> Result<Option<TokenRow>, StoreError> {
    let row = tokens::revoke(db, name, now).await?;
    if row.is_some() {
        let entry = Entry { target: Some(name), ..Entry::done("token.revoke") };
        audit::record(db, actor, &entry, now).await?;
    }
    Ok(row)
}

/// Whoever can write into the database itself.
#[must_use]
pub fn owner_of_the_database() -> Actor {
    Actor {
        principal: "database".to_owned(),
        token: None,
        role: Role::Admin,
        address: None,
        request_id: None,
    }
}

/// Makes the token of the environment an administrator's, called `bootstrap`. It replaces an earlier one; one that was revoked
/// stays so.
///
/// # Errors
/// It is too weak, or the database is away.
pub async fn bootstrap(pool: &PgPool, secret: &SecretString, now: DateTime<Utc>) -> Result<(), SetupError> {
    let text = secret.expose_secret();
    if text.len() < SHORTEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SetupError::Weak);
    }
    let mut transaction = pool.begin().await?;
    // Several replicas may start at once.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('bootstrap token', 9))")
        .execute(&mut *transaction)
        .await?;
    match tokens::find(&mut transaction, &token::hash_secret(secret)).await? {
        Some(row) if row.revoked_at.is_some() => {
            tracing::warn!("{BOOTSTRAP_VARIABLE} holds a token that was revoked; it stays so");
        }
        Some(_) => {}
        None => {
            let spec = TokenSpec {
                name: BOOTSTRAP.to_owned(),
                role: Role::Admin,
                limits: Limits::default(),
                expires_at: None,
            };
            let actor = owner_of_the_database();
            revoke(&mut transaction, BOOTSTRAP, &actor, now).await?;
            insert(&mut transaction, &spec, secret, &actor, now).await?;
            tracing::info!(
                "the token of {BOOTSTRAP_VARIABLE} is an administrator's, by the name `{BOOTSTRAP}`"
            );
        }
    }
    transaction.commit().await?;
    Ok(())
}

/// Checks that the service may listen there.
///
/// # Errors
/// Other machines reach it, and nothing would keep them out.
pub async fn check_exposure(
    pool: &PgPool,
    listen: SocketAddr,
    has_oidc: bool,
    now: DateTime<Utc>,
) -> Result<(), SetupError> {
    if listen.ip().is_loopback() || has_oidc {
        return Ok(());
    }
    let mut db = pool.acquire().await?;
    if !tokens::exist(&mut db).await? {
        return Err(SetupError::Exposed(listen));
    }
    // Builds that are under way must go on, so this is no reason not to start.
    if !tokens::exist_valid(&mut db, now).await? {
        tracing::warn!("all tokens are revoked or expired: nobody can use the API until there is a new one");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn strangers_are_kept_out_from_the_start(pool: PgPool) {
        let (open, here) = ("0.0.0.0:8080".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
        let now = Utc::now();
        check_exposure(&pool, here, false, now).await.unwrap();
        check_exposure(&pool, open, true, now).await.unwrap();
        let error = check_exposure(&pool, open, false, now).await.unwrap_err();
        assert!(error.to_string().contains("fournil token create"), "{error}");
        let spec = TokenSpec {
            name: "ops".to_owned(),
            role: Role::Admin,
            limits: Limits::default(),
            expires_at: Some(now + TimeDelta::days(1)),
        };
        let mut transaction = pool.begin().await.unwrap();
        make(&mut transaction, &spec, &owner_of_the_database(), now).await.unwrap().unwrap();
        transaction.commit().await.unwrap();
        check_exposure(&pool, open, false, now).await.unwrap();
        // It still keeps everybody out.
        check_exposure(&pool, open, false, now + TimeDelta::days(2)).await.unwrap();
    }

    #[sqlx::test(migrator = "crate::store::MIGRATOR")]
    async fn the_token_of_the_environment_is_made_once(pool: PgPool) {
        let (first, second) = (SecretString::from("a".repeat(40)), SecretString::from("b".repeat(40)));
        let now = Utc::now();
        for weak in ["short", &"é".repeat(40), &format!("{} b", "a".repeat(40))] {
            assert!(matches!(bootstrap(&pool, &SecretString::from(weak), now).await, Err(SetupError::Weak)));
        }
        let listed = async || tokens::list(&mut pool.acquire().await.unwrap(), true).await.unwrap();
        bootstrap(&pool, &first, now).await.unwrap();
        bootstrap(&pool, &first, now).await.unwrap();
        assert_eq!(listed().await.len(), 1);
        // Another value replaces it.
        bootstrap(&pool, &second, now).await.unwrap();
        let rows = listed().await;
        assert_eq!(rows.iter().filter(|row| row.revoked_at.is_none()).count(), 1);
        // The old value does not come back.
        bootstrap(&pool, &first, now).await.unwrap();
        assert_eq!(listed().await.len(), 2);
        let found = tokens::find(&mut pool.acquire().await.unwrap(), &token::hash_secret(&second)).await;
        assert!(found.unwrap().unwrap().revoked_at.is_none());
    }
}
