//! For tests: real SSH servers of our own on the loopback address, ended when dropped, and an output that remembers.

use std::{
    future::Future,
    io::Write,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{Auth, SshCommunicator, SshTarget, connect};
use crate::{
    communicator::{
        CommunicatorError,
        keys::{TemporaryKey, parse_private_key},
    },
    domain::{
        log::{Output, Stream},
        plan::KeyType,
    },
    testing::Port,
};

pub(crate) use crate::testing::PATIENCE as SOON;

/// Root's password on Dropbear.
pub(crate) const PASSWORD: &str = "correct horse";

/// An SSH server that lets root in with one key.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) port: Port,
    pub(crate) key: TemporaryKey,
    child: Child,
}

/// What a server is made of, before it runs.
pub(crate) struct Recipe {
    folder: TempDir,
    pub(crate) port: Port,
    pub(crate) key: TemporaryKey,
    extra: String,
}

impl Recipe {
    /// OpenSSH with these lines of configuration before the usual ones.
    pub(crate) fn openssh(extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let key = TemporaryKey::generate(KeyType::Ed25519, "test").unwrap();
        let recipe = Self { folder, port: Port::take(), key, extra: extra.to_owned() };
        recipe.write("authorized_keys", &recipe.key.public_openssh);
        recipe.write("host", TemporaryKey::generate(KeyType::Ed25519, "").unwrap().private.expose_secret());
        recipe
    }

    /// The same with this line of configuration.
    pub(crate) fn with(self, line: &str) -> Self {
        Self { extra: format!("{}\n{line}", self.extra), ..self }
    }

    /// A file of the server's folder, for its owner only.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn target(&self) -> SshTarget {
        target(self.port.number(), &self.key)
    }

    /// Starts the server, without waiting for it.
    pub(crate) fn start(self) -> Server {
        let folder = self.folder.path();
        let shown = folder.display();
        let (port, extra) = (self.port.number(), &self.extra);
        // Since 9.8 refused logins are held against the whole address, on which all tests meet.
        let knows = Command::new("/usr/sbin/sshd")
            .args(["-T", "-f", "/dev/null", "-o", "PerSourcePenalties=no"])
            .output();
        let complaint = String::from_utf8_lossy(&knows.unwrap().stderr).into_owned();
        let penalties = if complaint.contains("PerSourcePenalties") { "" } else { "PerSourcePenalties no" };
        std::fs::create_dir_all("/run/sshd").unwrap();
        // What the host's root has in its shell's files is no part of a test.
        let home = if extra.contains("SetEnv") { String::new() } else { format!("SetEnv HOME={shown}") };
        // It may be named once only.
        let subsystem = if extra.contains("Subsystem") { "" } else { "Subsystem sftp internal-sftp" };
        self.write(
            "config",
            &format!(
                "{extra}\nListenAddress 127.0.0.1:{port}\nHostKey {shown}/host\nAuthorizedKeysFile {shown}/authorized_keys\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
                 {penalties}\nMaxStartups 100\nMaxSessions 100\n{subsystem}\n{home}"
            ),
        );
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Server { folder: self.folder, port: self.port, key: self.key, child }
    }
}

impl Server {
    /// OpenSSH, ready.
    pub(crate) fn openssh(extra: &str) -> Self {
        Recipe::openssh(extra).start().ready()
    }

    /// Dropbear, ready: the SSH server of small images.
    pub(crate) fn dropbear() -> Self {
        let recipe = Recipe::openssh("");
        let host_key = recipe.path().join("dropbear_host");
        let made =
            Command::new("dropbearkey").args(["-t", "ed25519", "-f"]).arg(&host_key).output().unwrap().status;
        assert!(made.success());
        // It looks for keys in root's home only: in its own mount namespace that is our folder.
        std::fs::create_dir(recipe.path().join(".ssh")).unwrap();
        recipe.write(".ssh/authorized_keys", &recipe.key.public_openssh);
        let home = format!("root:x:0:0:root:{}:/bin/sh\n", recipe.path().display());
        std::fs::write(recipe.path().join("passwd"), home).unwrap();
        let hash = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().unwrap().stdout;
        let hash = String::from_utf8(hash).unwrap();
        std::fs::write(recipe.path().join("shadow"), format!("root:{}:20000:0:99999:7:::\n", hash.trim()))
            .unwrap();
        let script = "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/shadow\" /etc/shadow && \
                      exec /usr/sbin/dropbear -F -E -P \"$0/pid-file\" -p \"127.0.0.1:$1\" -r \"$0/dropbear_host\"";
        let log = std::fs::File::create(recipe.path().join("log")).unwrap();
        let child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(recipe.path())
            .arg(recipe.port.number().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { port: recipe.port, key: recipe.key, folder: recipe.folder, child }.ready()
    }

    fn ready(self) -> Self {
        until("the server listens", || TcpStream::connect(self.port.address()).is_ok());
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn target(&self) -> SshTarget {
        target(self.port.number(), &self.key)
    }

    pub(crate) async fn connect(&self) -> SshCommunicator {
        enter(&self.target()).await.unwrap()
    }

    /// Ends the server with its sessions, and answers what is needed to start it again.
    pub(crate) fn stop(mut self) -> Recipe {
        self.kill();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        let port = std::mem::replace(&mut self.port, Port::take());
        Recipe { folder, port, key: self.key.clone(), extra: String::new() }
    }

    fn kill(&mut self) {
        kill_below(self.child.id());
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            std::io::stderr().write_all(log.as_bytes()).ok();
        }
    }
}

/// Kills everything below a process of ours.
fn kill_below(pid: u32) {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        kill_below(child.parse().unwrap());
        Command::new("kill").args(["-9", child]).stderr(Stdio::null()).status().ok();
    }
}

fn target(port: u16, key: &TemporaryKey) -> SshTarget {
    let key = parse_private_key(key.private.expose_secret()).unwrap();
    SshTarget { reconnect_within: SOON, ..SshTarget::new("127.0.0.1", port, "root", vec![Auth::Key(key)]) }
}

/// Connects, with a generous timeout.
pub(crate) async fn enter(target: &SshTarget) -> Result<SshCommunicator, CommunicatorError> {
    connect(target, SOON, 1, &CancellationToken::new(), &Recorder::default()).await
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "{what}: not so in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a condition without holding up other tasks.
pub(crate) async fn until_async(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < SOON, "{what}: not so in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Remembers what it was given.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) chunks: Mutex<Vec<(Stream, Vec<u8>)>>,
    pub(crate) said: Mutex<Vec<String>>,
}

impl Recorder {
    pub(crate) fn text(&self, wanted: Stream) -> String {
        let chunks = self.chunks.lock().unwrap();
        let bytes: Vec<u8> = chunks
            .iter()
            .filter(|(stream, _)| *stream == wanted)
            .flat_map(|(_, bytes)| bytes.clone())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        self.text(Stream::Stdout)
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.said.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

impl Output for Recorder {
    fn chunk<'a>(&'a self, stream: Stream, bytes: &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.chunks.lock().unwrap().push((stream, bytes.to_owned()));
        Box::pin(std::future::ready(()))
    }

    fn say<'a>(&'a self, line: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.said.lock().unwrap().push(line.to_owned());
        Box::pin(std::future::ready(()))
    }
}

/// A folder with everything that makes trouble: spaces, quotes, other scripts, empty files, deep folders, odd modes.
pub(crate) fn odd_folder(path: &Path) -> Vec<(PathBuf, Vec<u8>, u32)> {
    let big: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let files: Vec<(&str, Vec<u8>, u32)> = vec![
        ("plain.txt", b"hello\n".to_vec(), 0o644),
        ("with space.sh", b"#!/bin/sh\n".to_vec(), 0o755),
        ("it's $(id) \"quoted\" `x` \\ *?", b"odd".to_vec(), 0o600),
        ("blé 🥖 été", b"bread".to_vec(), 0o640),
        ("empty", Vec::new(), 0o644),
        ("-rf", b"option".to_vec(), 0o644),
        ("sub/deeper still/big.bin", big, 0o444),
        ("sub/.hidden", b"h".to_vec(), 0o644),
    ];
    let mut made = Vec::new();
    for (name, content, mode) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        made.push((PathBuf::from(name), content, mode));
    }
    std::fs::create_dir(path.join("empty folder")).unwrap();
    made
}

/// Checks that a folder holds what [`odd_folder`] made.
pub(crate) fn assert_same(path: &Path, files: &[(PathBuf, Vec<u8>, u32)], with_modes: bool) {
    for (name, content, mode) in files {
        let file = path.join(name);
        assert!(std::fs::read(&file).unwrap() == *content, "{} has other content", name.display());
        if with_modes {
            let found = std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, *mode, "mode of {}", name.display());
        }
    }
    assert!(path.join("empty folder").is_dir());
}
