//! Names and sizes, on a made-up `/dev` and `/sys/block`; that devices are block devices is for the stories with real ones.

use super::*;

struct Machine {
    _folder: tempfile::TempDir,
    devices: Devices,
}

/// A machine with these block devices, with their sizes in bytes.
fn machine(blocks: &[(&str, u64)]) -> Machine {
    let folder = tempfile::tempdir().unwrap();
    let devices = Devices { dev: folder.path().join("dev"), sys_block: folder.path().join("sys") };
    fs::create_dir_all(&devices.dev).unwrap();
    fs::create_dir_all(&devices.sys_block).unwrap();
    for (name, size) in blocks {
        fs::create_dir(devices.sys_block.join(name)).unwrap();
        fs::write(devices.sys_block.join(name).join("size"), format!("{}\n", size / SECTOR)).unwrap();
    }
    Machine { _folder: folder, devices }
}

fn taken(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_first_name_that_nobody_has_is_free() {
    let Machine { devices, _folder } = machine(&[]);
    assert_eq!(devices.free_name(&taken(&[])).as_deref(), Some("/dev/xvdf"));
    // The cloud knows the same device by several names.
    let linked = taken(&["/dev/sda1", "/dev/xvdf", "/dev/sdg", "/dev/vdh"]);
    assert_eq!(devices.free_name(&linked).as_deref(), Some("/dev/xvdi"));
    // What the kernel shows, also as a link that leads nowhere, is not free.
    fs::write(devices.dev.join("sdi"), "").unwrap();
    std::os::unix::fs::symlink("/nowhere", devices.dev.join("xvdj")).unwrap();
    fs::write(devices.dev.join("vdk1"), "").unwrap();
    assert_eq!(devices.free_name(&linked).as_deref(), Some("/dev/xvdl"));
    let all: Vec<String> = ('f'..='p').map(|letter| format!("/dev/sd{letter}")).collect();
    assert_eq!(devices.free_name(&all.into_iter().collect()), None);
    assert!(devices.is_free("/dev/xvdz", &linked) && !devices.is_free("/dev/xvdg", &linked));
    assert!(!devices.is_free("/dev/nvme0n1", &linked));
}

#[test]
fn names_of_partitions_belong_to_their_device() {
    assert_eq!(letters("/dev/sda1"), Some("a"));
    assert_eq!(letters("/dev/xvdf"), Some("f"));
    assert_eq!(letters("vdab"), Some("ab"));
    for other in ["/dev/nvme0n1", "/dev/loop0", "/dev/xvd", "/dev/sd1", "/dev/sdF", ""] {
        assert_eq!(letters(other), None, "{other}");
    }
}

#[test]
fn sizes_are_those_of_sysfs() {
    let Machine { devices, _folder } = machine(&[("sda", 10 << 30), ("loop0", 0)]);
    assert_eq!(devices.sizes(), BTreeMap::from([("loop0".to_owned(), 0), ("sda".to_owned(), 10 << 30)]));
}

#[test]
fn a_file_with_the_name_of_a_device_is_none() {
    let Machine { devices, _folder } = machine(&[("xvdf", 1 << 30)]);
    fs::write(devices.dev.join("xvdf"), "").unwrap();
    let before = Sizes::new();
    let wanted = Wanted {
        linked_as: "/dev/xvdf",
        shown_at: None,
        volume: "vol-12345678",
        size: 1 << 30,
        before: &before,
    };
    assert_eq!(devices.look(wanted), Look::Nothing);
}

#[test]
fn partitions_are_those_that_the_kernel_tells() {
    let Machine { devices, _folder } = machine(&[("sda", 1 << 30)]);
    let device = BlockDevice { path: devices.dev.join("xvdf"), kernel: "sda".to_owned() };
    assert!(devices.partitions(&device).is_empty() && devices.is_settled(&device));
    fs::create_dir(devices.sys_block.join("sda/sda2")).unwrap();
    fs::write(devices.sys_block.join("sda/sda2/partition"), "2\n").unwrap();
    assert_eq!(devices.partitions(&device), BTreeMap::from([(2, "sda2".to_owned())]));
    // The kernel knows it, but nobody can open it yet.
    assert_eq!((devices.partition(&device, 2), devices.partition(&device, 1)), (None, None));
    assert!(!devices.is_settled(&device));
    fs::write(devices.dev.join("sda2"), "").unwrap();
    assert_eq!(devices.partition(&device, 2), Some(devices.dev.join("sda2")));
    assert!(!devices.is_settled(&device), "udev has not named it yet");
    fs::write(devices.dev.join("xvdf2"), "").unwrap();
    assert!(devices.is_settled(&device));
}
