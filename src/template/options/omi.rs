//! The image to make: its name, who may use it, its tags.

use super::fields::Fields;
use crate::{
    domain::plan::OmiPlan,
    template::render::{Scope, functions::is_omi_name_byte},
};

/// Reads the options of the image.
pub fn omi(fields: &Fields<'_>) -> OmiPlan {
    let force_deregister = fields.is_on("force_deregister");
    let force_delete_snapshot = fields.is_on("force_delete_snapshot");
    if force_delete_snapshot && !force_deregister {
        fields.notice("force_delete_snapshot", "has no effect without `force_deregister`");
    }
    OmiPlan {
        name: name(fields).unwrap_or_default(),
        description: fields.late_text("omi_description", Scope::Tags).filter(|text| !text.is_empty()),
        account_ids: fields.texts("omi_account_ids").unwrap_or_default(),
        snapshot_account_ids: fields.texts("snapshot_account_ids").unwrap_or_default(),
        global_permission: fields.is_on("global_permission"),
        product_codes: fields.texts("product_codes").unwrap_or_default(),
        boot_modes: boot_modes(fields),
        tags: fields.late_map("tags", Scope::Tags).unwrap_or_default(),
        snapshot_tags: fields.late_map("snapshot_tags", Scope::Tags).unwrap_or_default(),
        force_deregister,
        force_delete_snapshot,
    }
}

fn name(fields: &Fields<'_>) -> Option<String> {
    if !fields.has("omi_name") {
        fields.fail("omi_name", "`omi_name` is missing: what the OMI will be called");
        return None;
    }
    let name = fields.text("omi_name")?;
    let length = name.chars().count();
    if !(3..=128).contains(&length) {
        fields.fail("omi_name", format!("`omi_name` must have 3 to 128 characters; it has {length}"));
        return None;
    }
    if let Some(character) = name.chars().find(|c| !c.is_ascii() || !is_omi_name_byte(*c as u8)) {
        fields.fail(
            "omi_name",
            format!(
                "`omi_name` cannot hold `{}`; letters, digits, spaces and `()[]./-'@_` are possible, and \
                 `{{{{clean_omi_name}}}}` replaces the rest",
                character.escape_debug()
            ),
        );
        return None;
    }
    Some(name)
}

fn boot_modes(fields: &Fields<'_>) -> Vec<String> {
    let modes = fields.texts("omi_boot_modes").unwrap_or_default();
    if let Some(other) = modes.iter().find(|mode| !matches!(mode.as_str(), "legacy" | "uefi")) {
        fields.fail(
            "omi_boot_modes",
            format!("`omi_boot_modes` cannot hold `{other}`; use `legacy` and `uefi`"),
        );
    }
    modes
}
