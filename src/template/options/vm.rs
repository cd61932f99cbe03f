//! The VM in which the image is made.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;

use super::{fields::Fields, files, lookup};
use crate::{
    domain::plan::{BlockDevice, VmPlan},
    template::{envelope::shorten, render::Scope},
};

/// So many places are asked for room, at most, of each kind.
const MAX_CANDIDATES: usize = 8;

/// OUTSCALE's limit for user data, in bytes.
const MAX_USER_DATA: usize = 500 * 1024;

/// Reads the options of the VM, which is launched with these volumes.
pub fn vm(fields: &Fields<'_>, block_devices: Vec<BlockDevice>) -> VmPlan {
    let (vm_type, other_vm_types) = one_or_several(fields, "vm_type", "vm_types");
    if vm_type.is_none() {
        fields.fail("vm_type", "`vm_type` is missing, such as `tinav5.c2r4p1`");
    }
    let (subregion, other_subregions) = one_or_several(fields, "subregion_name", "subregions");
    if fields.is_on("bsu_optimized") {
        fields.notice("bsu_optimized", "has no effect: the OUTSCALE API takes it and does nothing with it");
    }
    let (subnet, subnet_choice) = lookup::subnet(fields);
    if !other_subregions.is_empty() && subnet.is_some() {
        fields.fail(
            "subregions",
            "`subregions` cannot be combined with a Subnet, which lies in one Subregion; leave one of them out",
        );
    }
    VmPlan {
        vm_type: vm_type.unwrap_or_default(),
        other_vm_types,
        source: lookup::source_omi(fields),
        subregion,
        other_subregions,
        associate_public_ip: fields.is_on("associate_public_ip_address"),
        net: lookup::net(fields),
        subnet,
        subnet_choice,
        security_groups: lookup::security_groups(fields),
        source_cidr: source_cidr(fields),
        user_data: user_data(fields).map(SecretString::from),
        disable_stop: fields.is_on("disable_stop_vm"),
        boot_mode: fields.word("boot_mode", &["legacy", "uefi"]),
        block_devices,
        tags: fields.late_map("run_tags", Scope::Tags).unwrap_or_default(),
        bsu_optimized: fields.is_on("bsu_optimized"),
    }
}

/// Packer's single value, or fournil's list of values in the order in which they are tried.
fn one_or_several(
    fields: &Fields<'_>,
    one: &'static str,
    several: &'static str,
) -> (Option<String>, Vec<String>) {
    let mut values: Vec<String> = Vec::new();
    for value in fields.texts(several).unwrap_or_default() {
        if value.trim().is_empty() || values.contains(&value) {
            fields.fail(several, format!("`{several}` has a value that is empty or given twice"));
        }
        values.push(value);
    }
    if values.len() > MAX_CANDIDATES {
        fields.fail(several, format!("`{several}` has at most {MAX_CANDIDATES} values"));
    }
    match (fields.filled(one), values.is_empty()) {
        (Some(_), false) => {
            fields.fail(several, format!("`{one}` and `{several}` are both given; give one of them"));
            (Some(values.remove(0)), values)
        }
        (value, true) => (value, Vec::new()),
        (None, false) => (Some(values.remove(0)), values),
    }
}

/// Reads `shutdown_behavior` of a builder whose OMI is made of the VM.
pub fn refuse_termination(fields: &Fields<'_>) {
    match behavior(fields).as_deref() {
        Some("terminate") => fields.fail(
            "shutdown_behavior",
            "`shutdown_behavior` cannot be `terminate` for this builder: the OMI is made of the stopped VM, which would be gone",
        ),
        Some(other) if other != "stop" => {
            fields.fail("shutdown_behavior", format!("`shutdown_behavior` must be `stop`, not `{}`", shorten(other)));
        }
        _ => {}
    }
}

/// What `shutdown_behavior` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// `terminate`.
    pub terminates: bool,
}

impl Shutdown {
    /// Whether the template says that this volume goes with the VM; what it does not say is no contradiction.
    pub fn deletes(self, fields: &Fields<'_>, device: &str) -> bool {
        let entries = fields.objects("launch_block_device_mappings").unwrap_or_default();
        self.terminates
            && entries.iter().any(|entry| {
                entry.text("device_name").as_deref() == Some(device) && entry.is_on("delete_on_vm_deletion")
            })
    }
}

/// Reads `shutdown_behavior` of a builder for which the VM may end. It is stopped all the same, and removed when `until`.
pub fn shutdown_behavior(fields: &Fields<'_>, until: &str) -> Shutdown {
    let behavior = behavior(fields);
    if behavior.as_deref() == Some("terminate") {
        let taken = format!("`terminate` is taken as `stop`: the VM is removed when {until}");
        fields.notice("shutdown_behavior", &taken);
    } else if behavior.is_some() {
        fields.word("shutdown_behavior", &["stop", "terminate"]);
    }
    Shutdown { terminates: behavior.as_deref() == Some("terminate") }
}

fn behavior(fields: &Fields<'_>) -> Option<String> {
    fields.filled("shutdown_behavior")
}

fn source_cidr(fields: &Fields<'_>) -> String {
    let Some(cidr) = fields.filled("temporary_security_group_source_cidr") else {
        return "0.0.0.0/0".to_owned();
    };
    let is_cidr = cidr.split_once('/').is_some_and(|(address, bits)| {
        let bits = bits.parse::<u8>().ok().filter(|_| bits.bytes().all(|byte| byte.is_ascii_digit()));
        match (address.parse::<std::net::IpAddr>(), bits) {
            (Ok(std::net::IpAddr::V4(_)), Some(bits)) => bits <= 32,
            (Ok(std::net::IpAddr::V6(_)), Some(bits)) => bits <= 128,
            _ => false,
        }
    });
    if !is_cidr {
        fields.fail(
            "temporary_security_group_source_cidr",
            format!(
                "`temporary_security_group_source_cidr` must be a range such as `203.0.113.0/24`, not `{}`",
                shorten(&cidr)
            ),
        );
    }
    cidr
}

fn user_data(fields: &Fields<'_>) -> Option<String> {
    let (text, file) = (fields.filled("user_data"), fields.filled("user_data_file"));
    let (name, text) = match (text, file) {
        (Some(_), Some(_)) => {
            fields.fail("user_data", "`user_data` and `user_data_file` are both given; give one of them");
            return None;
        }
        (Some(text), None) => ("user_data", text),
        (None, Some(_)) => ("user_data_file", files::text(fields, "user_data_file")?),
        (None, None) => return None,
    };
    let text = match decoded(&text) {
        Some(decoded) => {
            fields.notice(name, "was base64 and is decoded; fournil encodes it itself");
            decoded
        }
        None => text,
    };
    // The limit holds for what is sent, which is base64.
    if text.len().div_ceil(3) * 4 > MAX_USER_DATA {
        fields.fail(
            name,
            format!("`{name}` is larger than the {MAX_USER_DATA} bytes that OUTSCALE takes, in base64"),
        );
        return None;
    }
    Some(text)
}

/// Packer sends user data as it is if it is base64 already. A plain text can be base64 by chance, so this looks at what
/// comes out too.
fn decoded(text: &str) -> Option<String> {
    let compact: String = text.split_whitespace().collect();
    let decoded = String::from_utf8(STANDARD.decode(compact).ok()?).ok()?;
    let begins = [
        "#!",
        "#cloud-",
        "#include",
        "## template",
        "<powershell",
        "<script",
        "-----OUTSCALE",
        "Content-Type:",
        "MIME-Version:",
    ];
    begins.iter().any(|begin| decoded.starts_with(begin)).then_some(decoded)
}
