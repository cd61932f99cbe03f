//! User-mode Linux: a Linux kernel that is a process here, with the root volume as its first disk. It starts the
//! image's own init, but neither its boot loader nor its kernel.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Order, mconsole,
    process::{Process, Program},
};
use crate::{
    backend::{
        Disk, PowerEvent,
        names::letters,
        net::{Network, TAP},
    },
    machine::partitions,
};

/// The program of Debian's package `user-mode-linux`.
pub(super) const UML: &str = "linux.uml";
/// What it is executed as: when this is gone, the machine cannot start itself again, and a restart is an end.
const PROGRAM: &str = "linux";
/// The machine's name, and that of the folder with its socket.
const NAME: &str = "vm";
const SOCKET: &str = "vm/mconsole";
/// Disks are called `ubda` to `ubdp`; the first is the root's.
const ROOT: char = 'a';
const LETTERS: std::ops::RangeInclusive<char> = 'b'..='p';
/// How long a disk may be in use by programs that look at new disks, as udev does.
const BUSY_PATIENCE: Duration = Duration::from_secs(15);
/// How long the kernel may take to answer for the first time.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What of the processor keeps user-mode Linux from running, if anything.
pub(super) fn obstacle() -> Option<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // It keeps a program's vector registers in a buffer of fixed size, and Linux refuses to restore only a part of them.
    let has_amx = processor.split_whitespace().any(|flag| flag == "amx_tile");
    has_amx.then(|| {
        "user-mode Linux cannot keep the registers of a processor with AMX (\"ptrace set fp regs failed\"); \
         choose --backend qemu"
            .to_owned()
    })
}

/// A running machine.
pub(super) struct UmlMachine {
    pub process: Process,
    network: Arc<Network>,
    folder: PathBuf,
    /// Volume ids by the letters of their disks.
    disks: Mutex<BTreeMap<char, String>>,
}

impl UmlMachine {
    /// Switches a machine on.
    pub async fn boot(order: &Order<'_>, memory: u32) -> io::Result<Self> {
        let folder = order.folder;
        let _ = fs::remove_dir_all(folder.join(NAME));
        replace_link(&program_path()?, &folder.join(PROGRAM))?;
        let mut disks = BTreeMap::new();
        let mut command = command(order, memory)?;
        for disk in &order.spec.volumes {
            let letter = free_letter(&disks, &disk.device_name)?;
            replace_link(&disk.file, &folder.join(file_name(letter)))?;
            command.push(format!("ubd{letter}={}", file_name(letter)).into());
            disks.insert(letter, disk.volume_id.clone());
        }
        let console = order.console.writer()?;
        let program = Program {
            command,
            folder: Some(folder.to_owned()),
            input: Stdio::null(),
            output: console.try_clone()?.into(),
            errors: console.into(),
        };
        let process = Process::start(order.network, program).await?;
        let machine = Self {
            process,
            network: Arc::clone(order.network),
            folder: folder.to_owned(),
            disks: Mutex::new(disks),
        };
        machine.answers().await?;
        Ok(machine)
    }

    /// Waits until the kernel runs.
    async fn answers(&self) -> io::Result<()> {
        let start = Instant::now();
        while !self.folder.join(SOCKET).exists() {
            if self.process.ends_within(Duration::from_millis(20)).await {
                return Err(io::Error::other("the kernel ended at once; its console says why"));
            }
            if start.elapsed() > START_PATIENCE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not start"));
            }
        }
        Ok(())
    }

    /// Adds a disk, with the letter that it was linked as if there is one.
    pub async fn plug(&self, disk: &Disk) -> io::Result<()> {
        let letter = free_letter(&self.disks(), &disk.device_name)?;
        replace_link(&disk.file, &self.folder.join(file_name(letter)))?;
        self.ask(&format!("config ubd{letter}={}", file_name(letter))).await?;
        self.disks().insert(letter, disk.volume_id.clone());
        Ok(())
    }

    /// Removes a disk; one that the guest has mounted stays, and that is an error.
    pub async fn unplug(&self, volume_id: &str) -> io::Result<()> {
        let found = self.disks().iter().find(|(_, id)| *id == volume_id).map(|(letter, _)| *letter);
        let Some(letter) = found else { return Ok(()) };
        let start = Instant::now();
        loop {
            match self.ask(&format!("remove ubd{letter}")).await {
                Ok(_) => break,
                Err(error) if start.elapsed() > BUSY_PATIENCE => return Err(error),
                Err(_busy) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        self.disks().remove(&letter);
        fs::remove_file(self.folder.join(file_name(letter)))
    }

    /// Lets what is on its way to the disks arrive there.
    pub async fn drain(&self) -> io::Result<()> {
        self.ask("stop").await?;
        self.ask("go").await.map(drop)
    }

    /// There is no power button; what there is, is Ctrl-Alt-Del, and a machine that cannot start again.
    pub async fn press_power_button(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.join(PROGRAM)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.ask("cad").await.map(drop)
    }

    /// Asked after its process has ended: what that meant.
    pub fn how_it_ended(&self) -> PowerEvent {
        if *self.process.ended().borrow() == Some(true) { PowerEvent::PoweredOff } else { PowerEvent::Died }
    }

    async fn ask(&self, command: &str) -> io::Result<String> {
        mconsole::ask(&self.network, &self.folder, SOCKET, command).await
    }

    fn disks(&self) -> std::sync::MutexGuard<'_, BTreeMap<char, String>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything is named as seen from the machine's own folder: short, and without the characters that its options use.
fn command(order: &Order<'_>, memory: u32) -> io::Result<Vec<OsString>> {
    let root = &order.spec.root;
    replace_link(&root.file, &order.folder.join(file_name(ROOT)))?;
    let partition = partitions::root(&root.file)?.map_or_else(String::new, |number| number.to_string());
    let mac = order.spec.metadata.get("meta-data/mac").and_then(|mac| String::from_utf8(mac).ok());
    let mac = mac.map_or_else(String::new, |mac| format!(",mac={mac}"));
    // Killing the first process of a pid namespace kills those too that the kernel traces.
    let mut command: Vec<OsString> =
        ["unshare", "--pid", "--fork", "--kill-child", "--"].map(OsString::from).into();
    command.push(format!("./{PROGRAM}").into());
    command.extend(
        [
            format!("umid={NAME}"),
            "uml_dir=./".to_owned(),
            format!("mem={memory}M"),
            format!("ubd{ROOT}={}", file_name(ROOT)),
            format!("root=/dev/ubd{ROOT}{partition}"),
            "ro".to_owned(),
            "con=null".to_owned(),
            "con0=null,fd:1".to_owned(),
            "panic=1".to_owned(),
            format!("vec0:transport=tap,ifname={TAP},depth=64{mac}"),
        ]
        .map(OsString::from),
    );
    Ok(command)
}

fn file_name(letter: char) -> String {
    format!("disk-{letter}")
}

/// The letter of a disk's name, or another one that is free.
fn free_letter(disks: &BTreeMap<char, String>, device_name: &str) -> io::Result<char> {
    let mut asked = letters(device_name).unwrap_or_default().chars();
    let asked = asked.next().filter(|_| asked.next().is_none());
    let is_free = |letter: &char| LETTERS.contains(letter) && !disks.contains_key(letter);
    asked
        .filter(is_free)
        .or_else(|| LETTERS.rev().find(is_free))
        .ok_or_else(|| io::Error::other("user-mode Linux has no room for more disks"))
}

fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(target, link),
    }
}

fn program_path() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join(UML));
    found
        .find(|path| path.exists())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "linux.uml is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_gets_its_own_letter_if_it_is_free() {
        let mut disks = BTreeMap::new();
        assert_eq!(free_letter(&disks, "/dev/xvdf").ok(), Some('f'));
        disks.insert('f', "vol-1".to_owned());
        assert_eq!(free_letter(&disks, "/dev/sdf").ok(), Some('p'));
        assert_eq!(free_letter(&disks, "/dev/xvdba").ok(), Some('p'));
        disks.extend(LETTERS.map(|letter| (letter, "vol-2".to_owned())));
        assert!(free_letter(&disks, "/dev/xvdb").is_err());
    }
}
