//! Finding one image: by id or by filter, the most recent one if asked. For the source OMI of a run and for data sources.

use serde_json::{Map, Value, json};

use super::error::StepError;
use crate::{
    domain::{Problem, plan::SourceOmi},
    oapi::{
        Client,
        types::{FiltersImage, Image, ImageState, ReadImages},
    },
    store::StoreError,
};

/// Finds the image that is meant.
///
/// # Errors
/// There is none, there are several, or the cloud does not answer.
pub async fn find(client: &Client, source: &SourceOmi) -> Result<Image, StepError> {
    let search = Search { source };
    let filters = search.filters(client).await?;
    search.choose(client.read_all(&ReadImages::filtered(filters)).await?)
}

struct Search<'a> {
    source: &'a SourceOmi,
}

impl Search<'_> {
    async fn filters(&self, client: &Client) -> Result<FiltersImage, StepError> {
        let mut wanted: Map<String, Value> =
            self.source.filters.iter().map(|(name, values)| (name.clone(), json!(values))).collect();
        let mut add = |name: &str, value: String| {
            if let Value::Array(values) = wanted.entry(name).or_insert_with(|| json!([])) {
                values.push(value.into());
            }
        };
        if let Some(id) = &self.source.id {
            add("ImageIds", id.clone());
        }
        for owner in &self.source.owners {
            if owner == "self" {
                add("AccountIds", client.account_id().await?);
            } else if owner.chars().all(|c| c.is_ascii_digit()) {
                add("AccountIds", owner.clone());
            } else {
                add("AccountAliases", owner.clone());
            }
        }
        let filters = serde_json::from_value(Value::Object(wanted));
        Ok(filters.map_err(|source| StoreError::Unreadable { what: "source filter", source })?)
    }

    fn choose(&self, images: Vec<Image>) -> Result<Image, StepError> {
        let (mut usable, others): (Vec<_>, Vec<_>) =
            images.into_iter().partition(|image| image.state == ImageState::Available);
        usable.sort_by(|a, b| a.creation_date.cmp(&b.creation_date));
        let asked = self.describe();
        match usable.len() {
            0 if others.is_empty() => Err(not_found(format!("no OMI matches {asked}"))),
            0 => Err(not_found(format!(
                "the OMIs that match {asked} are not available but {}",
                states(&others)
            ))),
            1 => Ok(usable.remove(0)),
            count if !self.source.most_recent => Err(StepError::Found(Box::new(
                Problem::new(
                    422,
                    "source_omi_ambiguous",
                    "Several source OMIs match",
                    format!("{count} OMIs match {asked}, for example {}", names(&usable)),
                )
                .with_hint("Narrow the filter, name `source_omi`, or set `most_recent` to take the newest."),
            ))),
            _ => usable.pop().ok_or_else(|| not_found(format!("no OMI matches {asked}"))),
        }
    }

    fn describe(&self) -> String {
        let mut parts: Vec<String> = self.source.id.iter().map(|id| format!("`source_omi` {id}")).collect();
        parts.extend(
            self.source.filters.iter().map(|(name, values)| format!("{name} = {}", values.join(" or "))),
        );
        if !self.source.owners.is_empty() {
            parts.push(format!("owner {}", self.source.owners.join(" or ")));
        }
        parts.join(", ")
    }
}

fn not_found(detail: String) -> StepError {
    StepError::found(404, "source_omi_not_found", "The source OMI was not found", detail).hint(
        "Check the id or the filter, the owner and the Region; an OMI of another account must be shared with this one.",
    )
}

fn states(images: &[Image]) -> String {
    images
        .iter()
        .take(3)
        .map(|image| format!("{} is {}", image.image_id, image.state))
        .collect::<Vec<_>>()
        .join(", ")
}

fn names(images: &[Image]) -> String {
    let names = images
        .iter()
        .rev()
        .take(3)
        .map(|image| format!("{} ({})", image.image_id, image.image_name.as_deref().unwrap_or("")));
    names.collect::<Vec<_>>().join(", ")
}
