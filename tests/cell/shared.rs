//! Several cells on one machine, and what they leave.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::disk::{Mounted, host};

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

#[tokio::test]
async fn two_cells_may_mount_at_the_same_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mnt/same");
    let Some(first) = Mounted::at(folder.path(), &path).await else { return };
    let Some(second) = Mounted::at(folder.path(), &path).await else { return };
    first.run("echo one > /etc/which").await;
    second.run("echo two > /etc/which").await;
    assert_eq!(first.run("cat /etc/which").await, "one");
    first.cell.release().await.unwrap();
    assert!(path.exists(), "it is still used");
    assert_eq!(second.run("cat /etc/which").await, "two");
    second.upload("/etc/given").await.unwrap();
    second.cell.release().await.unwrap();
    assert!(!folder.path().join("mnt").exists(), "the folders stayed");
}

/// The cgroup of a cell, if there is one.
fn cgroup(id: &str) -> Option<PathBuf> {
    let found = host("find", &["/sys/fs/cgroup", "-maxdepth", "8", "-name", &format!("fournil-cell-{id}")]);
    found.lines().next().map(PathBuf::from)
}

#[tokio::test]
async fn the_cgroup_goes_although_the_records_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::at(folder.path(), &folder.path().join("mnt/deep")).await else { return };
    let Some(cgroup) = cgroup(&mounted.id) else {
        println!("skipped: no cgroup can be made here");
        return;
    };
    std::fs::remove_file(folder.path().join("cells").join(format!("{}.json", mounted.id))).unwrap();
    mounted.cell.release().await.unwrap();
    assert!(!cgroup.exists());
}

#[tokio::test]
async fn a_dropped_cell_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::at(folder.path(), &folder.path().join("mnt/deep")).await else { return };
    // What a shell gives to commands in the background is /dev/null.
    mounted.cell.mount_inside("bind", "/dev", "/dev").await.unwrap();
    let mark = format!("7{}", std::process::id());
    mounted.run(&format!("(setsid sleep {mark} >/dev/null 2>&1 &)")).await;
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(mounted.path.to_str().unwrap()), "a mount of the cell is seen outside");
    while !runs(&mark) {
        tokio::time::sleep(STEP).await;
    }
    let cells = folder.path().join("cells");
    drop(mounted);
    while runs(&mark) || has_records(&cells) {
        tokio::time::sleep(STEP).await;
    }
    assert!(!folder.path().join("mnt").exists());
}

fn runs(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == mark.as_bytes())
    })
}

fn has_records(cells: &Path) -> bool {
    std::fs::read_dir(cells).unwrap().next().is_some()
}
