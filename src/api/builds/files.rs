//! `GET /builds/{id}/files`: what the build downloaded from its VMs, and what its post-processors wrote.

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::exists;
use crate::{
    api::{AppState, extract::BuildPath, problem::ApiError},
    domain::{BuildId, Problem},
    store::files,
};

/// Files of a build.
#[derive(Debug, Serialize, ToSchema)]
pub struct FileList {
    /// By run and path.
    pub files: Vec<FileView>,
}

/// A file of a build.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "File")]
pub struct FileView {
    /// The run's name.
    pub run: String,
    /// Its path as the template gave it.
    pub path: String,
    /// In bytes.
    pub size: i64,
    /// When it was stored.
    pub created_at: DateTime<Utc>,
}

/// Lists the files that the build downloaded from its VMs and that its post-processors wrote.
#[utoipa::path(
    get, path = "/builds/{id}/files", operation_id = "list_files", tag = "builds",
    params(("id" = BuildId, Path, description = "The build's id.")),
    responses(
        (status = 200, description = "The files.", body = FileList),
        (status = 404, description = "There is no such build.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
) -> Result<Json<FileList>, ApiError> {
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let rows = files::of_build(&mut db, id).await?.into_iter();
    let files =
        rows.map(|row| FileView { run: row.run, path: row.path, size: row.size, created_at: row.created_at });
    Ok(Json(FileList { files: files.collect() }))
}

/// Downloads a file.
#[utoipa::path(
    get, path = "/builds/{id}/files/{run}/{path}", operation_id = "download_file", tag = "builds",
    params(
        ("id" = BuildId, Path, description = "The build's id."),
        ("run" = String, Path, description = "The run's name."),
        ("path" = String, Path, description = "The file's path; its slashes need not be escaped."),
    ),
    responses(
        (status = 200, description = "The content of the file.", content_type = "application/octet-stream"),
        (status = 404, description = "There is no such build or file.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn download(
    State(state): State<AppState>,
    BuildPath(id): BuildPath,
    Path(names): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (_, run, path) = names;
    let not_found = || ApiError::FileNotFound { run: run.clone(), path: path.clone() };
    if run.contains('\0') || path.contains('\0') {
        return Err(not_found());
    }
    let mut db = state.store.acquire().await?;
    exists(&mut db, id).await?;
    let data = files::load(&mut db, id, &run, &path).await?.ok_or_else(not_found)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    // Whatever the VM put into the file, a browser must not show it as a page of ours.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok((headers, data).into_response())
}
