//! A small system on a block device of its own, mounted in a cell.

use std::{
    future::{Future, ready},
    path::{Path, PathBuf},
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex},
};

use fournil::{
    cell::Cell,
    communicator::{
        Communicator as _, Exit, Upload,
        chroot::{Chroot, Wrap},
    },
    domain::log::{Output, Stream},
};

/// Runs a program of the host, and answers what it wrote.
pub fn host(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A loop device with a file system, in which busybox is all there is.
pub struct Disk {
    pub device: PathBuf,
    _folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (tree, file) = (folder.path().join("tree"), folder.path().join("disk"));
        for name in ["bin", "etc", "root", "tmp", "proc", "dev", "lent"] {
            std::fs::create_dir_all(tree.join(name)).unwrap();
        }
        let busybox = host("sh", &["-c", "command -v busybox"]);
        std::fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        for name in host("busybox", &["--list"]).lines().filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        let (tree, file) = (tree.to_str().unwrap(), file.to_str().unwrap());
        host("truncate", &["--size", "24M", file]);
        host("mkfs.ext4", &["-q", "-d", tree, file]);
        let device = host("losetup", &["--find", "--show", file]).into();
        Self { device, _folder: folder }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).status();
    }
}

/// What a command wrote.
#[derive(Default)]
pub struct Written(Mutex<Vec<u8>>);

impl Written {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).trim().to_owned()
    }
}

impl Output for Written {
    fn chunk<'a>(&'a self, _: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Box::pin(ready(()))
    }

    fn say<'a>(&'a self, line: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.chunk(Stream::Stdout, line.as_bytes())
    }
}

/// A cell with a disk of its own.
pub struct Mounted {
    pub cell: Arc<Cell>,
    pub chroot: Chroot,
    pub id: String,
    /// Where the disk is mounted.
    pub path: PathBuf,
    // These end after the cell.
    _disk: Disk,
    _folder: Option<tempfile::TempDir>,
}

impl Mounted {
    /// A disk that is mounted in a folder of its own; `None` where that is not possible.
    pub async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Self::at(folder.path(), &folder.path().join("mnt/deep")).await?;
        Some(Self { _folder: Some(folder), ..mounted })
    }

    /// The same mounted at `path`; cells are noted in `folder`.
    pub async fn at(folder: &Path, path: &Path) -> Option<Self> {
        if host("id", &["-u"]) != "0" {
            println!("skipped: cells need root");
            return None;
        }
        let disk = Disk::new();
        let id = format!("test-{}", uuid::Uuid::new_v4().simple());
        let program = Path::new(env!("CARGO_BIN_EXE_fournil"));
        let cell = Arc::new(Cell::start_with(program, &folder.join("cells"), &id).await.unwrap());
        cell.mount_root(&disk.device, path, &[]).await.unwrap();
        let chroot = Chroot::new(Arc::clone(&cell), None);
        Some(Self { cell, chroot, id, path: path.to_owned(), _disk: disk, _folder: None })
    }

    /// Runs a command in the image, which must succeed, and answers what it wrote.
    pub async fn run(&self, command: &str) -> String {
        let written = Written::default();
        let exit = self.chroot.run(command, &written).await.unwrap();
        assert_eq!(exit, Exit::Status(0), "{command}: {}", written.text());
        written.text()
    }

    /// The same by way of a wrapper.
    pub fn wrapped(&self, wrapper: &'static str) -> Chroot {
        let wrap: Wrap = Box::new(move |command| Ok(wrapper.replace("{}", command)));
        Chroot::new(Arc::clone(&self.cell), Some(wrap))
    }

    /// What a command writes that runs in the image as it is, and one that comes by way of a wrapper. Both must succeed.
    pub async fn run_both_ways(&self, command: &str) -> [String; 2] {
        let written = Written::default();
        let exit = self.wrapped("{}").run(command, &written).await.unwrap();
        assert_eq!(exit, Exit::Status(0), "{command}: {}", written.text());
        [self.run(command).await, written.text()]
    }

    pub async fn upload(&self, path: &str) -> Result<(), String> {
        let upload = self.chroot.upload(Upload::bytes(b"from the build"), path).await;
        upload.map_err(|error| error.to_string())
    }
}
