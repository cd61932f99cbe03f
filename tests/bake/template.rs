//! Templates of the stories.

use serde_json::{Value, json};

/// A builder that makes an OMI `name` of the tiny image, over SSH.
pub fn builder(name: &str) -> Value {
    json!({
        "type": "osc-bsu",
        "omi_name": name,
        "source_omi_filter": { "filters": { "image-name": "tiny-*" }, "owners": ["Outscale"], "most_recent": true },
        "vm_type": "tinav5.c1r1p2",
        "ssh_username": "outscale",
        "ssh_timeout": "3m",
    })
}

/// The same without going into the VM: for sandboxes without machines.
pub fn machineless(name: &str) -> Value {
    blind(builder(name))
}

/// A builder that makes an OMI `name` of the second volume of its VM.
pub fn surrogate(name: &str) -> Value {
    with(
        builder(name),
        json!({
            "type": "osc-bsusurrogate",
            "launch_block_device_mappings": [
                { "device_name": "/dev/xvdf", "volume_size": 1, "delete_on_vm_deletion": true },
            ],
            "omi_root_device": { "source_device_name": "/dev/xvdf", "device_name": "/dev/sda1" },
        }),
    )
}

/// A builder that makes volumes of these `bsu_volumes`.
pub fn volumes(volumes: Value) -> Value {
    let mut builder = with(builder("x"), json!({ "type": "osc-bsuvolume", "bsu_volumes": volumes }));
    builder.as_object_mut().unwrap().remove("omi_name");
    builder
}

/// The same builder without going into the VM: for sandboxes without machines.
pub fn blind(mut builder: Value) -> Value {
    builder["communicator"] = "none".into();
    for option in ["ssh_username", "ssh_timeout"] {
        builder.as_object_mut().unwrap().remove(option);
    }
    builder
}

/// Copies the running system to `/dev/xvdf`, without the keys that let fournil in.
pub fn copy_system() -> Value {
    shell(&[
        "set -e",
        "sudo mkfs.ext4 -q -F /dev/xvdf",
        "sudo mount /dev/xvdf /mnt",
        "for d in bin etc home lib lib64 root sbin usr var; do sudo cp -a /$d /mnt/; done",
        "sudo mkdir -p /mnt/dev /mnt/proc /mnt/sys /mnt/run /mnt/tmp /mnt/mnt /mnt/srv",
        "sudo chmod 1777 /mnt/tmp",
        "sudo rm -f /mnt/root/.ssh/authorized_keys /mnt/home/outscale/.ssh/authorized_keys",
        "echo made in a surrogate | sudo tee /mnt/etc/made",
        "sudo umount /mnt",
    ])
}

/// A builder with more options, or others.
pub fn with(mut builder: Value, options: Value) -> Value {
    for (name, value) in options.as_object().unwrap() {
        builder[name] = value.clone();
    }
    builder
}

/// A template of one builder and these provisioners.
pub fn template(builder: Value, provisioners: Value) -> Value {
    json!({ "builders": [builder], "provisioners": provisioners })
}

/// A `shell` provisioner.
pub fn shell(lines: &[&str]) -> Value {
    json!({ "type": "shell", "inline": lines })
}

/// An archive of these files.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(if data.starts_with("#!") { 0o755 } else { 0o644 });
        archive.append_data(&mut header, path, data.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The same, compressed.
pub fn tar_gz(files: &[(&str, &str)]) -> Vec<u8> {
    use std::io::Write;
    let mut compressor = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    compressor.write_all(&tar(files)).unwrap();
    compressor.finish().unwrap()
}

/// An osc-chroot builder of the official image with partitions.
pub fn chroot(name: &str) -> Value {
    json!({
        "type": "osc-chroot", "omi_name": name,
        "source_omi_filter": { "filters": { "image-name": "tiny-disk-*" }, "owners": ["Outscale"], "most_recent": true },
    })
}
