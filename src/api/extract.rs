//! What handlers take from a request beside its body: the build's id in the path, and query parameters that are all
//! known and well-formed.

use std::{str::FromStr, time::Duration};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{HeaderMap, header, request::Parts},
};
use chrono::{DateTime, Datelike, Utc};

use super::problem::ApiError;
use crate::domain::{BuildId, duration};

/// The `{id}` of a path. A text that is no id names no build.
#[derive(Debug, Clone, Copy)]
pub struct BuildPath(pub BuildId);

impl<S: Send + Sync> FromRequestParts<S> for BuildPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(segments) = Path::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::RouteNotFound(parts.uri.path().to_owned()))?;
        let text =
            segments.into_iter().find(|(name, _)| name == "id").map(|(_, value)| value).unwrap_or_default();
        text.parse().map(Self).map_err(|_| ApiError::BuildNotFound(text))
    }
}

/// The decoded query, in order.
#[derive(Debug, Clone, Default)]
pub struct Pairs(pub Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| ApiError::parameter("?", "The query cannot be read."))
    }
}

impl Pairs {
    /// Checks that nothing but these parameters is given.
    ///
    /// # Errors
    /// Names the first one that is unknown, and those that there are.
    pub fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(self),
            Some((name, _)) if known.is_empty() => {
                Err(ApiError::parameter(name, format!("There is no query parameter `{name}` here.")))
            }
            Some((name, _)) => Err(ApiError::parameter(
                name,
                format!("There is no query parameter `{name}` here; known are {}.", known.join(", ")),
            )),
        }
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is given at most once.
    ///
    /// # Errors
    /// It is given twice, or holds a NUL character, which no stored text can.
    pub fn text<'a>(&'a self, name: &str) -> Result<Option<&'a str>, ApiError> {
        let mut values = self.0.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str());
        let first = values.next();
        if values.next().is_some() {
            return Err(ApiError::parameter(name, format!("`{name}` is given more than once.")));
        }
        if first.is_some_and(|value| value.contains('\0')) {
            return Err(ApiError::parameter(name, format!("`{name}` holds a NUL character.")));
        }
        Ok(first)
    }

    /// A parameter that is read from its text; `wanted` says what it should be.
    ///
    /// # Errors
    /// It is not what is wanted, or given twice.
    pub fn parsed<T: FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, ApiError> {
        let invalid =
            |value: &str| ApiError::parameter(name, format!("`{name}` must be {wanted}, not `{value}`."));
        self.text(name)?.map(|value| value.parse().map_err(|_| invalid(value))).transpose()
    }

    /// A switch: `true`, `false`, `1`, `0`, or the bare name.
    ///
    /// # Errors
    /// It is something else, or given twice.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name)? {
            None => Ok(None),
            Some("" | "1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(value) => {
                Err(ApiError::parameter(name, format!("`{name}` must be `true` or `false`, not `{value}`.")))
            }
        }
    }

    /// A duration as in templates, or a number of seconds.
    ///
    /// # Errors
    /// It is no duration, longer than `max`, or given twice.
    pub fn duration(&self, name: &str, max: Duration) -> Result<Option<Duration>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let seconds = text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
        let duration = match seconds {
            Some(duration) => duration,
            None => duration::parse(text)
                .map_err(|error| ApiError::parameter(name, format!("`{name}`: {error}.")))?,
        };
        if duration > max {
            let max = duration::format(max);
            return Err(ApiError::parameter(name, format!("`{name}` is at most {max}.")));
        }
        Ok(Some(duration))
    }

    /// A moment in RFC 3339.
    ///
    /// # Errors
    /// It is no moment, or given twice.
    pub fn moment(&self, name: &str) -> Result<Option<DateTime<Utc>>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        // A `+` that was not escaped arrives as a space.
        DateTime::parse_from_rfc3339(&text.replace(' ', "+"))
            .ok()
            .map(|moment| moment.with_timezone(&Utc))
            // What RFC 3339 can write, in any time zone; Postgres can compare all of it.
            .filter(|moment| (-1..=10_000).contains(&moment.year()))
            .map(Some)
            .ok_or_else(|| {
                ApiError::parameter(
                    name,
                    format!("`{name}` must be a time such as 2026-11-22T10:00:00Z, not `{text}`."),
                )
            })
    }
}

/// The media type of the body in lower case, without parameters.
#[must_use]
pub fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// How much a client likes a media type by its `Accept` header, from 0 to 1; `explicit` ranges only, so that `*/*` does
/// not choose a stream.
#[must_use]
pub fn preference(headers: &HeaderMap, media_type: &str) -> f32 {
    let kind = media_type.split('/').next().unwrap_or_default();
    let mut best = 0.0_f32;
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            if name != media_type && name != format!("{kind}/*") {
                continue;
            }
            let quality = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0_f32).clamp(0.0, 1.0));
            // `text/*` fits plain text as well as event streams; the exact name is the stronger wish.
            best = best.max(if name == media_type { quality } else { quality * 0.5 });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(query: &str) -> Pairs {
        let uri = format!("/x?{query}").parse().unwrap();
        Pairs(Query::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn parameters_are_checked() {
        assert!(pairs("a=1&b=2").only(&["a"]).is_err());
        assert!(pairs("a=1&a=2").text("a").is_err());
        assert!(pairs("a=%00").text("a").is_err());
        assert_eq!(
            pairs("wait=30").duration("wait", Duration::from_secs(60)).unwrap(),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            pairs("wait=1m").duration("wait", Duration::from_secs(60)).unwrap(),
            Some(Duration::from_secs(60))
        );
        assert!(pairs("wait=61s").duration("wait", Duration::from_secs(60)).is_err());
        assert_eq!(pairs("f").flag("f").unwrap(), Some(true));
        assert!(pairs("f=maybe").flag("f").is_err());
        let moment = pairs("t=2026-11-22T10:00:00+01:00").moment("t").unwrap().unwrap();
        assert_eq!(moment.to_rfc3339(), "2026-11-22T09:00:00+00:00");
        assert!(pairs("t=yesterday").moment("t").is_err());
        for edge in ["0000-01-01T00:00:00%2B23:59", "9999-12-31T23:59:60-23:59"] {
            assert!(pairs(&format!("t={edge}")).moment("t").unwrap().is_some(), "{edge}");
        }
    }

    #[test]
    fn the_exact_media_type_wins() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/*;q=0.9, application/x-ndjson;q=0.3, */*".parse().unwrap());
        assert!(preference(&headers, "text/plain") > preference(&headers, "application/x-ndjson"));
        assert!(preference(&headers, "application/json") == 0.0);
    }
}
