//! Machines that boot for real: what is done here by a client of the API is what a bake does and what its users do with
//! the image. Takes minutes, so `make test-boot` runs it, and `cargo test` only says that it did not.
#![expect(clippy::expect_used, clippy::panic, reason = "a test's helpers fail by panicking, as tests do")]

mod region;

use region::{Region, until};
use serde_json::json;

/// Logs in, writes a file, plugs a volume in and out, makes an image of it, boots that, and lets it switch itself off.
fn a_machine_is_baked_and_its_image_boots(region: &Region, init: &str, disks: [&str; 2]) {
    // Larger than the image, as nearly always.
    let root = json!({ "DeviceName": "/dev/sda1", "Bsu": { "VolumeSize": 3 } });
    let options = json!({ "BootMode": "legacy", "BlockDeviceMappings": [root] });
    let vm = region.create_vm(&region.official_image(), options);
    region.until_ssh(&vm);
    let size: u64 = region.run(&vm, "df -m / | awk 'END { print $2 }'").parse().expect("a number");
    assert!(size > 2500, "the root was not grown to its volume: {size} MiB");

    let host = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("this machine's kernel");
    assert_ne!(region.run(&vm, "uname -r"), host.trim(), "it runs on this machine's kernel");
    assert_eq!(region.run(&vm, "sudo -n id -u; cat /proc/1/comm"), format!("0\n{init}"));
    let console = region.console(&vm);
    assert!(console.contains("Linux version"), "{console}");

    a_volume_comes_and_goes(region, &vm, disks);

    region.run(&vm, "echo baked | sudo tee /etc/baked && sync");
    region.call("StopVms", json!({ "VmIds": [vm] }));
    region.until_vm(&vm, "stopped");
    let image = region.create_image(&vm, "baked");

    let second = region.create_vm(&image, json!({}));
    region.until_ssh(&second);
    assert_eq!(region.run(&second, "cat /etc/baked"), "baked");
    region.ssh(&second, "sudo poweroff");
    region.until_vm(&second, "stopped");

    region.call("StartVms", json!({ "VmIds": [second] }));
    region.until_vm(&second, "running");
    region.until_ssh(&second);
    region.call("DeleteVms", json!({ "VmIds": [vm, second] }));
    region.until_vm(&second, "terminated");
}

/// `disks` are the root's name and that of the first other disk inside.
fn a_volume_comes_and_goes(region: &Region, vm: &str, [root, first]: [&str; 2]) {
    assert_eq!(region.run(vm, &format!("test -b /dev/{root} && echo block")), "block");
    let volume = region.create_volume();
    let link = json!({ "VmId": vm, "VolumeId": volume, "DeviceName": "/dev/xvdf" });
    let is_named = || {
        let name = region.ssh(vm, "readlink -f /dev/xvdf");
        (String::from_utf8_lossy(&name.stdout).trim() == format!("/dev/{first}")).then_some(())
    };
    region.call("LinkVolume", link.clone());
    until("the volume is seen inside", is_named);
    region.run(
        vm,
        "sudo mkfs.ext4 -q /dev/xvdf && sudo mount /dev/xvdf /mnt && echo data | sudo tee /mnt/file",
    );
    region.run(vm, "sudo umount /mnt");

    region.call("UnlinkVolume", json!({ "VolumeId": volume }));
    region.until_volume(&volume, "available");
    until("the volume is gone inside", || {
        let tried = region.ssh(vm, &format!("test -e /dev/{first} || test -e /dev/xvdf || echo gone"));
        (tried.stdout == b"gone\n").then_some(())
    });

    region.call("LinkVolume", link);
    until("the volume is seen again", is_named);
    assert_eq!(region.run(vm, "sudo mount /dev/xvdf /mnt && cat /mnt/file && sudo umount /mnt"), "data");
    region.call("UnlinkVolume", json!({ "VolumeId": volume }));
    region.until_volume(&volume, "available");
}

#[test]
fn a_pc_boots_a_tiny_image_and_what_is_baked_of_it() {
    let Some(region) = Region::start("qemu", "tiny", &[]) else { return };
    a_machine_is_baked_and_its_image_boots(&region, "init.ns", ["vda", "sda"]);
    region.stop();
}

/// systemd takes what a bake needs: packages from a mirror, a restart, the power button.
#[test]
fn a_pc_boots_debian_with_systemd_and_installs_a_package() {
    let Some(region) = Region::start("qemu", "debian", &[]) else { return };
    let vm = region.create_vm(&region.official_image(), json!({ "BootMode": "legacy" }));
    region.until_ssh(&vm);
    until("systemd has started everything", || {
        let state = region.ssh(&vm, "systemctl is-system-running");
        (state.stdout == b"running\n").then_some(())
    });
    assert_eq!(region.run(&vm, "cat /proc/1/comm"), "systemd");
    let console = region.console(&vm);
    assert!(console.contains("Linux version"), "{console}");
    a_volume_comes_and_goes(&region, &vm, ["vda", "sda"]);
    region.run(&vm, "sudo apt-get update -q && sudo apt-get install -q -y --no-install-recommends hello");

    let boot = region.run(&vm, "cat /proc/sys/kernel/random/boot_id");
    region.ssh(&vm, "sudo reboot");
    until("it is back from its reboot", || {
        let now = region.ssh(&vm, "cat /proc/sys/kernel/random/boot_id");
        (now.status.success() && String::from_utf8_lossy(&now.stdout).trim() != boot).then_some(())
    });
    assert_eq!(region.vm(&vm)["State"], "running");
    region.call("StopVms", json!({ "VmIds": [vm] }));
    region.until_vm(&vm, "stopped");
    let image = region.create_image(&vm, "with-hello");

    let second = region.create_vm(&image, json!({}));
    region.until_ssh(&second);
    assert_eq!(region.run(&second, "hello"), "Hello, world!");
    region.stop();
}

#[test]
fn user_mode_linux_boots_a_tiny_image_and_what_is_baked_of_it() {
    let Some(region) = Region::start("uml", "tiny", &["--vm-memory", "256"]) else { return };
    a_machine_is_baked_and_its_image_boots(&region, "init.ns", ["ubda", "ubdf"]);
    region.stop();
}

#[test]
fn a_sandbox_that_is_killed_takes_its_machines_along() {
    let Some(region) = Region::start("qemu", "tiny", &[]) else { return };
    let vm = region.create_vm(&region.official_image(), json!({ "BootMode": "legacy" }));
    until("the machine says something", || (!region.console(&vm).is_empty()).then_some(()));
    region.kill();
}
