//! `GET /builds`.

use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{HeaderMap, HeaderValue, header},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::view::BuildView;
use crate::{
    api::{AppState, auth::Caller, extract::Pairs, problem::ApiError},
    auth::spec::BUILDERS,
    domain::{BuildState, Problem},
    store::builds::read::{self, BuildFilter, Position},
};

/// How many builds a page has if nothing is said.
const DEFAULT_LIMIT: i64 = 50;

/// The most that a page has.
const MAX_LIMIT: i64 = 200;

/// The most labels to filter by.
const MAX_LABELS: usize = 32;

/// A page of builds.
#[derive(Debug, Serialize, ToSchema)]
pub struct BuildList {
    /// Newest first.
    pub builds: Vec<BuildView>,
    /// The `cursor` of the next page; null on the last one.
    pub next: Option<String>,
}

/// Lists builds, newest first.
#[utoipa::path(
    get, path = "/builds", operation_id = "list_builds", tag = "builds",
    params(
        ("state" = Option<String>, Query, description = "Only builds in this state; several separated by commas, or repeated.", example = "queued,running",
            pattern = "^((queued|running|succeeded|failed|cancelled)(,(queued|running|succeeded|failed|cancelled))*)?$"),
        ("builder" = Option<String>, Query, description = "Only builds with a run of this builder; several separated by commas, or repeated.", example = "osc-bsu",
            pattern = "^(osc-(bsu|bsusurrogate|chroot|bsuvolume)(,osc-(bsu|bsusurrogate|chroot|bsuvolume))*)?$"),
        ("label" = Option<String>, Query, description = "Only builds with this label, as `key=value`; repeated: with all of them.", example = "team=web", pattern = r"^[^=\u0000]+=[^\u0000]*$"),
        ("name" = Option<String>, Query, description = "Only builds of exactly this name."),
        ("created_after" = Option<DateTime<Utc>>, Query, description = "Only builds accepted after this moment (RFC 3339).", example = "2026-11-22T10:00:00Z"),
        ("limit" = Option<i64>, Query, description = "How many, 1 to 200; 50 if nothing is said.", minimum = 1, maximum = 200),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "A page of builds.", body = BuildList,
            headers(("Link" = String, description = "`<…>; rel=\"next\"` if there is another page."))),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<AppState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    pairs: Pairs,
) -> Result<(HeaderMap, Json<BuildList>), ApiError> {
    let pairs = pairs.only(&["state", "builder", "label", "name", "created_after", "limit", "cursor"])?;
    let limit = pairs.parsed::<i64>("limit", "a whole number from 1 to 200")?.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::parameter(
            "limit",
            format!("`limit` must be a whole number from 1 to 200, not `{limit}`."),
        ));
    }
    let after = pairs.text("cursor")?.map(decode).transpose()?;
    let mut filter = filter(&pairs)?;
    // Without the token's labels nothing is there for it.
    for (name, value) in &caller.principal.limits.labels {
        let asked = filter.labels.insert(name.clone(), Value::from(value.as_str()));
        if asked.is_some_and(|asked| asked != *value.as_str()) {
            return Ok((HeaderMap::new(), Json(BuildList { builds: Vec::new(), next: None })));
        }
    }

    let mut db = state.store.acquire().await?;
    let mut rows = read::list(&mut db, &filter, after, limit + 1).await?;
    let page = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > page;
    rows.truncate(page);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|last| encode(Position { created_at: last.created_at, id: last.id }));

    let mut headers = HeaderMap::new();
    if let Some(next) = &next
        && let Ok(link) = HeaderValue::from_str(&link(uri.query().unwrap_or_default(), next))
    {
        headers.insert(header::LINK, link);
    }
    Ok((headers, Json(BuildList { builds: rows.into_iter().map(BuildView::from).collect(), next })))
}

fn filter(pairs: &Pairs) -> Result<BuildFilter, ApiError> {
    let words = |name: &'static str| {
        pairs.all(name).flat_map(|value| value.split(',')).filter(|word| !word.is_empty()).map(str::to_owned)
    };
    let states = words("state")
        .map(|word| {
            word.parse::<BuildState>().map_err(|detail| ApiError::parameter("state", format!("{detail}.")))
        })
        .collect::<Result<_, _>>()?;
    let builders = words("builder")
        .map(|word| {
            if BUILDERS.contains(&word.as_str()) {
                return Ok(word);
            }
            let known = BUILDERS.join(", ");
            Err(ApiError::parameter("builder", format!("`{}` is none of {known}.", word.escape_debug())))
        })
        .collect::<Result<_, _>>()?;
    let mut labels = Map::new();
    for label in pairs.all("label") {
        let invalid = || ApiError::parameter("label", "`label` must be given as `label=key=value`.");
        let (key, value) = label.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(invalid)?;
        if label.contains('\0') {
            return Err(invalid());
        }
        if labels.insert(key.to_owned(), Value::from(value)).is_some_and(|other| other != value) {
            return Err(ApiError::parameter(
                "label",
                format!("No build has two values of the label `{key}`."),
            ));
        }
    }
    if labels.len() > MAX_LABELS {
        return Err(ApiError::parameter("label", format!("At most {MAX_LABELS} labels can be asked for.")));
    }
    Ok(BuildFilter {
        states,
        builders,
        labels,
        name: pairs.text("name")?.map(str::to_owned),
        created_after: pairs.moment("created_after")?,
    })
}

fn encode(position: Position) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{}", position.created_at.timestamp_micros(), position.id))
}

fn decode(cursor: &str) -> Result<Position, ApiError> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (micros, id) = text.split_once(':')?;
        let created_at = DateTime::from_timestamp_micros(micros.parse().ok()?)?;
        // Beyond these years Postgres could not compare it.
        (1970..10_000).contains(&created_at.year()).then_some(Position { created_at, id: id.parse().ok()? })
    };
    read().ok_or_else(|| ApiError::parameter("cursor", "`cursor` must be the `next` of an earlier page."))
}

/// The same query with another cursor.
fn link(query: &str, cursor: &str) -> String {
    let others = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: Vec<_> = others.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
    format!("</builds?{}>; rel=\"next\"", query.join("&"))
}
