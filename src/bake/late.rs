//! Late templates: what a template leaves open until the source OMI or the VM is known.

use std::collections::BTreeMap;

use super::{error::StepError, oven::Cx, steps::SourceImage};
use crate::{
    provision::Render,
    template::{LateData, render_late},
};

/// Renders late templates of one run.
pub struct Late {
    data: LateData,
}

impl Late {
    /// With what is known of the source OMI by now.
    #[must_use]
    pub fn new(cx: &Cx, source: Option<&SourceImage>) -> Self {
        Self {
            data: LateData {
                source_omi: source.map(|source| source.id.clone()).unwrap_or_default(),
                source_omi_name: source.map(|source| source.name.clone()).unwrap_or_default(),
                source_omi_tags: source.map(|source| source.tags.clone()).unwrap_or_default(),
                build_region: cx.cloud.region.clone(),
                build_name: cx.plan.name.clone(),
                builder_type: cx.plan.builder.kind().to_owned(),
                ..LateData::default()
            },
        }
    }

    /// The same with data of the VM (`{{build "ID"}}`).
    #[must_use]
    pub fn with_generated(mut self, generated: BTreeMap<String, String>) -> Self {
        self.data.generated = generated;
        self
    }

    /// Renders one text.
    ///
    /// # Errors
    /// Says what of the template cannot be rendered.
    pub fn render(&self, text: &str) -> Result<String, StepError> {
        render_late(text, &self.data).map_err(|reason| {
            StepError::found(
                422,
                "template_failed",
                "A template of the build cannot be rendered",
                format!("`{text}`: {reason}"),
            )
        })
    }
}

impl Render for Late {
    fn render(&self, template: &str, extra: &[(&str, &str)]) -> Result<String, String> {
        let mut data = self.data.clone();
        data.vars.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        render_late(template, &data)
    }
}
