//! The role of the VM that this machine is: keys that the metadata service hands out, and that expire. OUTSCALE has none
//! today; clients that are made for the day when it has can be tried here. The answer has the shape of EC2's.

use std::{
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, SecondsFormat, SubsecRound, TimeDelta, Utc};
use rand::Rng;
use serde_json::{Value, json};

use crate::config::Secret;

/// New keys are handed out when less than one part in so many of the old ones' life is left.
const RENEWED_AT: i32 = 3;
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// A role, with the keys that were handed out and have not expired.
#[derive(Debug)]
pub struct Role {
    name: String,
    lifetime: TimeDelta,
    keys: Mutex<Vec<RoleKey>>,
}

/// An access key for a while.
#[derive(Debug, Clone)]
pub struct RoleKey {
    access_key: String,
    pub secret_key: Secret,
    pub token: Secret,
    issued: DateTime<Utc>,
    expires: DateTime<Utc>,
}

impl Role {
    /// A role of this name.
    pub fn new(name: &str, lifetime: Lifetime) -> Self {
        Self { name: name.to_owned(), lifetime: lifetime.0, keys: Mutex::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the metadata service says: the newest key, or another one if that has not long to live.
    pub fn credentials(&self, now: DateTime<Utc>) -> Value {
        let mut keys = self.keys();
        keys.retain(|key| key.expires > now);
        let newest = keys.last().filter(|key| key.expires - now >= self.lifetime / RENEWED_AT).cloned();
        let key = newest.unwrap_or_else(|| {
            let key = RoleKey::new(now.trunc_subsecs(0), self.lifetime);
            keys.push(key.clone());
            key
        });
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        json!({
            "Code": "Success",
            "LastUpdated": text(key.issued),
            "Type": "AWS-HMAC",
            "AccessKeyId": key.access_key,
            "SecretAccessKey": key.secret_key.0,
            "Token": key.token.0,
            "Expiration": text(key.expires),
        })
    }

    /// The key of this name, unless it has expired.
    pub fn key(&self, access_key: &str, now: DateTime<Utc>) -> Option<RoleKey> {
        self.keys().iter().find(|key| key.access_key == access_key && key.expires > now).cloned()
    }

    fn keys(&self) -> MutexGuard<'_, Vec<RoleKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoleKey {
    fn new(issued: DateTime<Utc>, lifetime: TimeDelta) -> Self {
        Self {
            access_key: random(20),
            secret_key: Secret(random(40)),
            token: Secret(random(200)),
            issued,
            expires: issued + lifetime,
        }
    }
}

fn random(length: usize) -> String {
    let mut generator = rand::rng();
    (0..length).map(|_| char::from(LETTERS[generator.random_range(0..LETTERS.len())])).collect()
}

/// How long a key lives: `1h`, `5m`, `30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime(TimeDelta);

/// Why a text says no time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a number of hours, minutes or seconds, such as 1h, 5m or 30s (2s to 36h)")]
pub struct InvalidLifetime;

impl FromStr for Lifetime {
    type Err = InvalidLifetime;

    fn from_str(text: &str) -> Result<Self, InvalidLifetime> {
        let unit = text.char_indices().last().map_or(0, |(at, _)| at);
        let (number, unit) = text.split_at(unit);
        let seconds = match unit {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return Err(InvalidLifetime),
        };
        let number: u32 = number.parse().map_err(|_| InvalidLifetime)?;
        let seconds = i64::from(number) * seconds;
        if !(2..=36 * 3600).contains(&seconds) {
            return Err(InvalidLifetime);
        }
        Ok(Self(TimeDelta::seconds(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renewed_in_time_and_old_ones_live_on_until_they_expire() {
        let role = Role::new("baker", "30s".parse().unwrap());
        let start: DateTime<Utc> = "2026-11-26T00:00:00.700Z".parse().unwrap();
        let at = |seconds: i64| start + TimeDelta::seconds(seconds);
        let first = role.credentials(start);
        assert_eq!(
            (&first["Code"], &first["Expiration"]),
            (&json!("Success"), &json!("2026-11-26T00:00:30Z"))
        );
        let first_key = first["AccessKeyId"].as_str().unwrap();
        assert_eq!(role.key(first_key, start).unwrap().secret_key.0, first["SecretAccessKey"]);
        assert_eq!(role.credentials(at(19)), first);
        let second = role.credentials(at(20));
        let second_key = second["AccessKeyId"].as_str().unwrap();
        assert_ne!(second_key, first_key);
        assert!(role.key(first_key, at(29)).is_some() && role.key(second_key, at(29)).is_some());
        assert!(role.key(first_key, at(30)).is_none() && role.key(second_key, at(30)).is_some());
        assert!(role.key("NOBODY", start).is_none());
        assert!(!format!("{role:?}").contains(first["SecretAccessKey"].as_str().unwrap()));
        assert!(!format!("{role:?}").contains(first["Token"].as_str().unwrap()));
    }

    #[test]
    fn lifetimes_have_a_unit_and_bounds() {
        let parse = |text: &str| text.parse::<Lifetime>().map(|lifetime| lifetime.0.num_seconds());
        assert_eq!((parse("1h"), parse("5m"), parse("2s")), (Ok(3600), Ok(300), Ok(2)));
        for text in ["", "h", "5", "1d", "1s", "37h", "-5m", "5é", "99999999999h"] {
            assert_eq!(parse(text), Err(InvalidLifetime), "{text}");
        }
    }
}
