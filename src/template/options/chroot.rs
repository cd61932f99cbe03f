//! `osc-chroot`: the options of the builder that launches no VM, but works on a volume of the VM that the worker runs on.

use super::{
    access::access,
    block_device::{MAX_SIZE, Role, VOLUME_TYPES, block_devices, device_name},
    fields::Fields,
    lookup::source_omi,
    omi::omi,
    table,
};
use crate::{
    domain::plan::{BlockDevice, ChrootMount, ChrootPlan, ChrootSource, CopiedFile, ScratchPlan},
    template::{envelope::shorten, render::Scope},
};

/// Where Packer mounts the volume.
const MOUNT_PATH: &str = "/mnt/packer-outscale-chroot-volumes/{{.Device}}";

/// What Packer mounts inside: the type, the source, the target.
const MOUNTS: [(&str, &str, &str); 5] = [
    ("proc", "proc", "/proc"),
    ("sysfs", "sysfs", "/sys"),
    ("bind", "/dev", "/dev"),
    ("devpts", "devpts", "/dev/pts"),
    ("binfmt_misc", "binfmt_misc", "/proc/sys/fs/binfmt_misc"),
];

/// The mount that many kernels cannot make, and that few images need.
const OPTIONAL_MOUNT: &str = "binfmt_misc";

/// What Packer copies into a system that was there before.
const COPIED: &str = "/etc/resolv.conf";

/// The largest number of a partition: GPT has room for so many.
const MAX_PARTITION: u32 = 128;

/// Reads all options of the builder.
pub fn chroot(fields: &Fields<'_>) -> ChrootPlan {
    let from_scratch = fields.is_on("from_scratch");
    let root_volume_size = fields.whole("root_volume_size", 0..=MAX_SIZE).filter(|size| *size > 0);
    let root_volume_type = fields.word("root_volume_type", &VOLUME_TYPES);
    if root_volume_type.as_deref() == Some("io1") && from_scratch {
        fields.fail(
            "root_volume_type",
            "`root_volume_type` cannot be `io1` with `from_scratch`: there is no option for its `iops`; use `gp2` or `standard`",
        );
    }
    let commands = |name, scope| fields.late_texts(name, scope).unwrap_or_default();
    let pre_mount_commands = commands("pre_mount_commands", Scope::Device);
    let source = if from_scratch {
        ChrootSource::Scratch(scratch(fields, root_volume_size, &pre_mount_commands))
    } else {
        for name in ["omi_block_device_mappings", "root_device_name"] {
            if fields.has(name) {
                fields.notice(
                    name,
                    "has no effect without `from_scratch`: the OMI has the volumes of the source OMI",
                );
            }
        }
        ChrootSource::Omi(source_omi(fields))
    };
    let plan = ChrootPlan {
        access: access(fields),
        omi: omi(fields),
        root_volume_size,
        root_volume_type,
        root_volume_tags: fields.late_map("root_volume_tags", Scope::Tags).unwrap_or_default(),
        device_path: device_path(fields),
        nvme_device_path: host_path(fields, "nvme_device_path", "/dev/"),
        mount_path: mount_path(fields),
        mount_partition: mount_partition(fields),
        mount_options: mount_options(fields),
        chroot_mounts: chroot_mounts(fields),
        copy_files: copy_files(fields, from_scratch),
        command_wrapper: command_wrapper(fields),
        pre_mount_commands,
        post_mount_commands: commands("post_mount_commands", Scope::Mounted),
        source,
    };
    // Read by whoever made the run of the builder.
    fields.has("name");
    fields.finish("`osc-chroot`", &table::chroot());
    plan
}

/// What a blank volume needs beside the commands that put a file system on it.
fn scratch(fields: &Fields<'_>, size: Option<i64>, pre_mount_commands: &[String]) -> ScratchPlan {
    for name in ["source_omi", "source_omi_filter"] {
        if fields.has(name) {
            fields.notice(name, "has no effect with `from_scratch`");
        }
    }
    if size.is_none() {
        fields.fail(
            "root_volume_size",
            "`from_scratch` needs `root_volume_size`: how large the volume is, in GiB",
        );
    }
    if pre_mount_commands.is_empty() {
        fields.fail(
            "pre_mount_commands",
            "`from_scratch` needs `pre_mount_commands`, which put a file system on the blank volume `{{.Device}}`",
        );
    }
    let root_device_name = match fields.filled("root_device_name") {
        Some(_) => device_name(fields, "root_device_name"),
        None => {
            fields.fail(
                "root_device_name",
                "`from_scratch` needs `root_device_name`: what the volume is called in a VM of the OMI, such as `/dev/sda1`",
            );
            String::new()
        }
    };
    let devices = block_devices(fields, "omi_block_device_mappings", Role::Omi);
    check_devices(fields, &root_device_name, &devices, size);
    ScratchPlan { root_device_name, devices }
}

fn check_devices(fields: &Fields<'_>, root: &str, devices: &[BlockDevice], size: Option<i64>) {
    if !root.is_empty() && !devices.iter().any(|device| device.device_name == root && !device.no_device) {
        fields.fail(
            "omi_block_device_mappings",
            format!("`from_scratch` needs an entry of `omi_block_device_mappings` for the root `{root}`"),
        );
    }
    let entries = fields.objects("omi_block_device_mappings").unwrap_or_default();
    for (device, entry) in devices.iter().zip(&entries) {
        let name = &device.device_name;
        if name == root {
            if device.snapshot_id.is_some() {
                entry.fail(
                    "snapshot_id",
                    format!("`{name}` is the root, which is made of the build's volume"),
                );
            }
            if let (Some(asked), Some(size)) = (device.volume_size, size)
                && asked < size
            {
                entry.fail(
                    "volume_size",
                    format!("`volume_size` of the root must be at least `root_volume_size`, {size} GiB"),
                );
            }
        } else if device.snapshot_id.is_none() && !device.no_device {
            entry.fail(
                "snapshot_id",
                format!("`{name}` needs `snapshot_id`: the volumes of an OMI beside its root are made of snapshots"),
            );
        }
    }
}

/// The name under which the volume is linked, as OUTSCALE takes it.
fn device_path(fields: &Fields<'_>) -> Option<String> {
    let path = fields.filled("device_path")?;
    // Packer says the same to the API.
    let path = path.strip_prefix("/dev/vd").map(|letter| format!("/dev/xvd{letter}")).unwrap_or(path);
    let letters = path.strip_prefix("/dev/xvd").or_else(|| path.strip_prefix("/dev/sd"));
    let is_name = letters.is_some_and(|letters| {
        matches!(letters.len(), 1 | 2) && letters.bytes().all(|letter| letter.is_ascii_lowercase())
    });
    if !is_name {
        fields.fail(
            "device_path",
            format!(
                "`device_path` must be a name under which OUTSCALE links volumes, such as `/dev/xvdf`, not `{}`; where the \
                 kernel shows the volume under another one, that goes into `nvme_device_path`",
                shorten(&path)
            ),
        );
    }
    Some(path)
}

/// A path of the host, absolute and without steps back.
fn host_path(fields: &Fields<'_>, name: &'static str, prefix: &str) -> Option<String> {
    let path = fields.filled(name)?;
    if !is_clean(&path) || !path.starts_with(prefix) {
        fields.fail(
            name,
            format!("`{name}` must be an absolute path below `{prefix}`, not `{}`", shorten(&path)),
        );
    }
    Some(path)
}

/// Absolute, without `..`, without control characters.
fn is_clean(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains(char::is_control)
}

fn mount_path(fields: &Fields<'_>) -> String {
    let path = fields.late_text("mount_path", Scope::Device).filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| MOUNT_PATH.to_owned());
    if !is_clean(&path) || path.trim_matches('/').is_empty() {
        fields.fail(
            "mount_path",
            format!("`mount_path` must be an absolute path of the worker's host, not `{}`", shorten(&path)),
        );
    }
    path
}

/// `1`, `p1`, or `0` for the whole volume.
fn mount_partition(fields: &Fields<'_>) -> Option<u32> {
    let Some(text) = fields.filled("mount_partition") else { return Some(1) };
    let digits = text.strip_prefix('p').unwrap_or(&text);
    match digits.parse::<u32>() {
        Ok(0) => None,
        Ok(number) if number <= MAX_PARTITION && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(number)
        }
        _ => {
            fields.fail(
                "mount_partition",
                format!(
                    "`mount_partition` must be the number of a partition, or `0` for the whole volume, not `{}`",
                    shorten(&text)
                ),
            );
            None
        }
    }
}

fn mount_options(fields: &Fields<'_>) -> Vec<String> {
    let options = fields.texts("mount_options").unwrap_or_default();
    // Each is a value of `-o`; anything that looks like another argument is none.
    if let Some(odd) = options.iter().find(|option| {
        option.is_empty()
            || option.starts_with('-')
            || option.contains(char::is_whitespace)
            || option.contains('\0')
    }) {
        fields.fail("mount_options", format!("`mount_options` cannot hold `{}`", shorten(odd)));
    }
    options
}

fn chroot_mounts(fields: &Fields<'_>) -> Vec<ChrootMount> {
    let rows = fields.lists("chroot_mounts").unwrap_or_default();
    // As in Packer an empty list means the usual ones.
    if rows.is_empty() {
        let usual = MOUNTS.iter().map(|(kind, source, target)| ChrootMount {
            kind: (*kind).to_owned(),
            source: (*source).to_owned(),
            target: (*target).to_owned(),
            is_optional: *kind == OPTIONAL_MOUNT,
        });
        return usual.collect();
    }
    let mut mounts = Vec::new();
    for row in rows {
        let [kind, source, target] = row.as_slice() else {
            fields.fail(
                "chroot_mounts",
                "each entry of `chroot_mounts` must be three texts: a type of file system or `bind`, the source, the target",
            );
            continue;
        };
        let is_kind = !kind.is_empty()
            && kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !is_kind {
            fields.fail(
                "chroot_mounts",
                format!(
                    "`{}` is no type of file system; to show a folder of the host write `bind`",
                    shorten(kind)
                ),
            );
        }
        if !is_clean(target) || target == "/" {
            fields.fail(
                "chroot_mounts",
                format!(
                    "the target `{}` must be an absolute path inside of the chroot, and not its root",
                    shorten(target)
                ),
            );
        }
        if kind == "bind" && !is_clean(source) {
            fields.fail(
                "chroot_mounts",
                format!("the source `{}` of a `bind` must be an absolute path of the host", shorten(source)),
            );
        }
        mounts.push(ChrootMount {
            kind: kind.clone(),
            source: source.clone(),
            target: target.clone(),
            is_optional: false,
        });
    }
    mounts
}

fn copy_files(fields: &Fields<'_>, from_scratch: bool) -> Vec<CopiedFile> {
    // An empty list switches it off; a blank system has no use for it.
    let Some(paths) = fields.texts("copy_files") else {
        let usual = CopiedFile { path: COPIED.to_owned(), is_optional: true };
        return if from_scratch { Vec::new() } else { vec![usual] };
    };
    if let Some(odd) = paths.iter().find(|path| !is_clean(path) || path.ends_with('/')) {
        fields.fail(
            "copy_files",
            format!(
                "`copy_files` holds absolute paths of files of the worker's host, not `{}`",
                shorten(odd)
            ),
        );
    }
    paths.into_iter().map(|path| CopiedFile { path, is_optional: false }).collect()
}

/// Absent when it says the same as nothing.
fn command_wrapper(fields: &Fields<'_>) -> Option<String> {
    let wrapper = fields.late_text("command_wrapper", Scope::Wrapper).filter(|text| !text.is_empty())?;
    if !wrapper.contains(".Command") {
        fields.fail(
            "command_wrapper",
            "`command_wrapper` must hold `{{.Command}}`, the command that it wraps, such as `sudo {{.Command}}`",
        );
    }
    let bare: String = wrapper.chars().filter(|c| !c.is_whitespace()).collect();
    (bare != "{{.Command}}").then_some(wrapper)
}
