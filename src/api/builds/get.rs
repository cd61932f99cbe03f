//! `GET /builds/{id}`, at once or when it changes.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::view::BuildView;
use crate::{
    api::{
        AppState,
        extract::{BuildPath, Pairs},
        problem::ApiError,
    },
    domain::{BuildId, Problem},
    store::{builds::read, log_lines},
};

/// The least time between two looks at a build that is waited for.
const BREATH: Duration = Duration::from_millis(50);

/// Shows a build. With `wait`, the answer comes when the build is no longer at `version`, or when the time is up.
#[utoipa::path(
    get, path = "/builds/{id}", operation_id = "get_build", tag = "builds",
    params(
        ("id" = BuildId, Path, description = "The build's id."),
        ("wait" = Option<String>, Query, description = "How long to wait for a change, at most one minute: a duration, or a number of seconds.", example = "30s",
            pattern = "^([0-9]+|([0-9]+([.][0-9]+)?(ms|us|µs|ns|h|m|s))+)$"),
        ("version" = Option<i64>, Query, description = "The version that is known; absent: that of `If-None-Match`, else the one at the time of the request."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier answer."),
    ),
    responses(
        (status = 200, description = "The build.", body = BuildView, headers(("ETag" = String, description = "The version, in quotes."))),
        (status = 304, description = "The build has not changed."),
        (status = 400, description = "A parameter is wrong.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn get(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
    pairs: Pairs,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let pairs = pairs.only(&["wait", "version"])?;
    let wait = pairs.duration("wait", state.limits.max_wait)?;
    let version = pairs.parsed::<i64>("version", "a whole number")?;
    let known = tags(&headers);
    if let Some(wait) = wait {
        wait_for_change(&state, id, version.or_else(|| known.iter().find_map(|tag| version_of(tag))), wait)
            .await?;
    }
    let mut db = state.store.acquire().await?;
    let row = read::get(&mut db, id).await?.ok_or_else(|| ApiError::BuildNotFound(id.to_string()))?;
    // Workers come and go without a new version of the build.
    let waits = if row.runs.0.iter().any(|run| run.has_no_worker) { "-waiting" } else { "" };
    let tag = format!("\"{}{waits}\"", row.version);
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(value) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, value);
    }
    if known.iter().any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, Json(BuildView::from(row))).into_response())
}

/// Waits until the build is at another version than `known`, or has ended if no version is known, or `wait` is over.
async fn wait_for_change(
    state: &AppState,
    id: BuildId,
    known: Option<i64>,
    wait: Duration,
) -> Result<(), ApiError> {
    let deadline = Instant::now() + wait;
    // Subscribed before the first look, so that nothing falls between.
    let mut wake = state.hub.subscribe(id);
    let mut baseline = known;
    loop {
        let head = log_lines::head(&mut *state.store.acquire().await?, id)
            .await?
            .ok_or_else(|| ApiError::BuildNotFound(id.to_string()))?;
        if *baseline.get_or_insert(head.version) != head.version || (known.is_none() && head.state.is_final())
        {
            return Ok(());
        }
        tokio::select! {
            // Log lines wake this reader too, though it shows none.
            () = wake.changed() => sleep(BREATH).await,
            () = sleep_until(deadline) => return Ok(()),
            () = state.draining.cancelled() => return Ok(()),
        }
    }
}

/// The tags of `If-None-Match`.
fn tags(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect()
}

fn version_of(tag: &str) -> Option<i64> {
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').trim_end_matches("-waiting").parse().ok()
}
