//! The bodies that a build can be asked for with, by media type: read within bounds, told apart, and made into one
//! [`BuildRequest`] with the uploaded folder. What the request means is `template`'s affair.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Multipart, Request},
    http::{HeaderMap, header},
};
use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    api::{
        AppState,
        extract::{Pairs, media_type},
        problem::{ACCEPTED_TYPES, ApiError},
    },
    domain::Problem,
    template::{BuildRequest, ContextFolder, QueryOptions},
};

/// A body as it came, not yet understood.
#[derive(Debug)]
pub struct Received {
    form: Form,
    query: Vec<(String, String)>,
    /// Held until the archive is unpacked and stored or refused, so that only so many are in memory at once.
    _upload: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Form {
    Json(Bytes),
    Hcl2(Bytes),
    Folder(Bytes),
    Multipart { request: Bytes, context: Bytes },
}

/// A request and its folder.
#[derive(Debug)]
pub struct Understood {
    /// What is asked for.
    pub request: BuildRequest,
    /// The uploaded folder.
    pub folder: Option<ContextFolder>,
}

impl Received {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// The media type is unknown, or the body is too large, too slow or broken.
    pub async fn read(state: &AppState, request: Request) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let Pairs(query) = {
            let mut parts = parts.clone();
            <Pairs as axum::extract::FromRequestParts<()>>::from_request_parts(&mut parts, &()).await?
        };
        if let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING)
            && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
        {
            return Err(ApiError::UnsupportedMediaType(
                "A body with `Content-Encoding` is not taken; send a tar.gz as `Content-Type: application/gzip`.".to_owned(),
            ));
        }
        let media_type = media_type(&parts.headers).unwrap_or_default();
        let mut upload = None;
        let form = match media_type.as_str() {
            "application/json" => {
                if let Some((name, _)) = query.first() {
                    return Err(ApiError::parameter(
                        name,
                        "A JSON body takes no query parameters: put the options into the body, beside `template`.",
                    ));
                }
                Form::Json(read_body(state, &parts.headers, body, state.limits.json_bytes).await?)
            }
            "application/x-tar" | "application/tar" | "application/gzip" | "application/x-gzip" => {
                upload = Some(state.upload().await?);
                Form::Folder(read_body(state, &parts.headers, body, state.limits.archive_bytes).await?)
            }
            "multipart/form-data" => {
                upload = Some(state.upload().await?);
                let limit = state.limits.archive_bytes.saturating_add(state.limits.json_bytes);
                let body = read_body(state, &parts.headers, body, limit).await?;
                if let Some((name, _)) = query.first() {
                    return Err(ApiError::parameter(
                        name,
                        "A multipart body takes no query parameters: put the options into its part `request`.",
                    ));
                }
                multipart(state, Request::from_parts(parts, Body::from(body))).await?
            }
            "application/hcl" | "text/x-hcl" | "text/hcl" => {
                Form::Hcl2(read_body(state, &parts.headers, body, state.limits.json_bytes).await?)
            }
            other => return Err(unsupported(other)),
        };
        Ok(Self { form, query, _upload: upload })
    }

    /// A digest of all that was asked, for telling whether two requests with the same key ask the same. The parts of a
    /// multipart body count, not the boundary between them, which clients make up anew each time.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        match &self.form {
            Form::Json(body) => [b"json".as_slice(), body].map(&mut add),
            Form::Hcl2(body) => [b"hcl2".as_slice(), body].map(&mut add),
            Form::Folder(body) => [b"folder".as_slice(), body].map(&mut add),
            Form::Multipart { request, context } => {
                add(b"multipart");
                [request.as_ref(), context].map(&mut add)
            }
        };
        let mut query: Vec<_> = self.query.iter().collect();
        query.sort();
        for (name, value) in query {
            add(name.as_bytes());
            add(value.as_bytes());
        }
        digest.finalize().to_vec()
    }

    /// Makes a request of the body. Unpacks and parses: to be called where blocking is allowed.
    ///
    /// # Errors
    /// What `template` finds wrong.
    pub fn understand(&self, state: &AppState) -> Result<Understood, ApiError> {
        let limits = &state.limits;
        match &self.form {
            Form::Json(body) => {
                Ok(Understood { request: BuildRequest::from_json(body, &limits.request)?, folder: None })
            }
            Form::Hcl2(body) => {
                let text = std::str::from_utf8(body).map_err(|error| {
                    ApiError::BodyUnreadable(format!("it is not UTF-8 from byte {} on", error.valid_up_to()))
                })?;
                let request = BuildRequest::from_template_text(text, self.options()?, &limits.request)?;
                Ok(Understood { request, folder: None })
            }
            Form::Folder(body) => {
                let folder = ContextFolder::from_archive(body, &limits.context)?;
                let request = BuildRequest::from_folder(&folder, self.options()?, &limits.request)?;
                Ok(Understood { request, folder: Some(folder) })
            }
            Form::Multipart { request, context } => {
                let folder = ContextFolder::from_archive(context, &limits.context)?;
                let request = BuildRequest::from_json_and_folder(request, &folder, &limits.request)?;
                Ok(Understood { request, folder: Some(folder) })
            }
        }
    }
}

impl Received {
    fn options(&self) -> Result<QueryOptions, Problem> {
        QueryOptions::from_pairs(self.query.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

fn unsupported(media_type: &str) -> ApiError {
    let why = match media_type {
        "" => "The request has no `Content-Type`".to_owned(),
        "application/x-www-form-urlencoded" => {
            "`application/x-www-form-urlencoded`, which curl sends when it is told nothing else, is not taken"
                .to_owned()
        }
        other => format!("`{other}` is not taken"),
    };
    ApiError::UnsupportedMediaType(format!("{why}; send {ACCEPTED_TYPES}."))
}

/// Reads a body to its end, which must come soon and before `limit` bytes.
pub(crate) async fn read_body(
    state: &AppState,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(ApiError::BodyTooLarge { limit });
    }
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| ApiError::BodyUnreadable(error.to_string()))?;
            if whole.len() + chunk.len() > limit {
                return Err(ApiError::BodyTooLarge { limit });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(Bytes::from(whole))
    };
    let patience = state.limits.body_timeout;
    tokio::time::timeout(patience, read).await.unwrap_or(Err(ApiError::BodyTooSlow(patience)))
}

async fn multipart(state: &AppState, request: Request) -> Result<Form, ApiError> {
    let unreadable = |detail: String| ApiError::BodyUnreadable(detail);
    let mut multipart = Multipart::from_request(request, state)
        .await
        .map_err(|rejection| unreadable(rejection.body_text()))?;
    let (mut json, mut context) = (None, None);
    while let Some(field) = multipart.next_field().await.map_err(|error| unreadable(error.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        let (slot, limit) = match name.as_str() {
            "request" => (&mut json, state.limits.json_bytes),
            "context" => (&mut context, state.limits.archive_bytes),
            other => {
                return Err(unreadable(format!(
                    "it has a part `{other}`; known are `request` and `context`"
                )));
            }
        };
        let data = field.bytes().await.map_err(|error| unreadable(error.body_text()))?;
        if data.len() > limit {
            return Err(ApiError::BodyTooLarge { limit });
        }
        if slot.replace(data).is_some() {
            return Err(unreadable(format!("its part `{name}` comes twice")));
        }
    }
    match (json, context) {
        (Some(request), Some(context)) => Ok(Form::Multipart { request, context }),
        (Some(request), None) => Ok(Form::Json(request)),
        (None, _) => Err(unreadable("it has no part `request`, which holds the JSON".to_owned())),
    }
}
