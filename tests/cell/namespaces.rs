//! What commands of an image have of the host, and what the host sees of them.

use std::{os::fd::AsFd, time::Duration};

use fournil::communicator::{Communicator as _, Exit};

use crate::disk::{Mounted, Written, host};

#[tokio::test]
async fn the_hosts_name_and_message_queues_are_not_the_images() {
    let Some(mounted) = Mounted::new().await else { return };
    mounted.cell.mount_inside("proc", "proc", "/proc").await.unwrap();
    let before = host("uname", &["-n"]);
    let command = "hostname of-the-image; hostname; readlink /proc/self/ns/ipc; readlink /proc/self/ns/uts";
    for text in mounted.run_both_ways(command).await {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("of-the-image"), "{text}");
        for kind in ["ipc", "uts"] {
            let of_host = host("readlink", &[&format!("/proc/self/ns/{kind}")]);
            assert_ne!(lines.next(), Some(of_host.as_str()));
        }
    }
    assert_eq!(host("uname", &["-n"]), before);
    mounted.cell.release().await.unwrap();
}

#[tokio::test]
async fn what_would_change_the_host_is_not_allowed() {
    let Some(mounted) = Mounted::new().await else { return };
    mounted.cell.mount_inside("proc", "proc", "/proc").await.unwrap();
    for text in mounted.run_both_ways("grep CapEff /proc/self/status").await {
        let effective = u64::from_str_radix(text.split_whitespace().nth(1).unwrap(), 16).unwrap();
        let has = |number: u32| effective & (1 << number) != 0;
        // capability.h: NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_BOOT, SYS_TIME.
        for number in [12, 16, 17, 19, 22, 25] {
            assert!(!has(number), "{number}: {text}");
        }
        // CHOWN, SETUID: what an image is made with.
        assert!(has(0) && has(7), "{text}");
    }
    mounted.cell.release().await.unwrap();
}

#[tokio::test]
async fn what_the_starter_left_open_is_not_open_in_the_image() {
    let folder = tempfile::tempdir().unwrap();
    // As a program does that starts fournil and knows nothing of close-on-exec.
    let secret = folder.path().join("of-the-starter");
    let open = std::fs::File::create(&secret).unwrap();
    rustix::io::fcntl_setfd(open.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let Some(mounted) = Mounted::new().await else { return };
    mounted.cell.mount_inside("proc", "proc", "/proc").await.unwrap();
    for text in mounted.run_both_ways("ls -l /proc/self/fd /proc/1/fd").await {
        assert!(text.contains(" 0 -> "), "{text}");
        assert!(!text.contains("of-the-starter"), "{text}");
    }
    mounted.cell.release().await.unwrap();
}

/// The arguments of all processes of the host.
fn arguments() -> String {
    let mut all = String::new();
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        if let Ok(line) = std::fs::read(process.path().join("cmdline")) {
            all += &String::from_utf8_lossy(&line).replace('\0', " ");
            all.push('\n');
        }
    }
    all
}

#[tokio::test]
async fn the_text_of_a_command_is_not_an_argument_of_any_process() {
    let Some(mounted) = Mounted::new().await else { return };
    for chroot in [&mounted.chroot, &mounted.wrapped("env A=b {}")] {
        let written = Written::default();
        let command =
            "word=f00-secret; echo \"$word runs ${FOURNIL_COMMAND-unset}\"; while :; do sleep 1; done";
        let looking = async {
            while !written.text().contains("f00-secret runs unset") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            arguments()
        };
        let seen = tokio::select! {
            exit = chroot.run(command, &written) => panic!("{exit:?}: {}", written.text()),
            seen = looking => seen,
        };
        assert!(seen.contains("cell") && !seen.contains("f00-secret"), "{seen}");
    }
    // One word list is not one word: such a wrapper is wrong, and says so by its status.
    let wrong = mounted.wrapped("sh -c {} || exit 9");
    assert_ne!(wrong.run("true", &Written::default()).await.unwrap(), Exit::Status(0));
    mounted.cell.release().await.unwrap();
}
