//! Whether the processor can execute machines itself. That `/dev/kvm` opens proves nothing: some hypervisors offer one
//! on which an ordinary kernel hangs. So a kernel must have said its first line under it, in time.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use super::qemu::{Accelerator, QEMU};

/// What a kernel says first. The firmware's own lines prove nothing.
const FIRST_LINE: &str = "Linux version";
/// With a processor that can, it takes a second.
const TRIAL: Duration = Duration::from_secs(15);

/// Chooses the fastest accelerator that works with this kernel, and says why. Blocks.
pub fn choose(kernel: Option<&Path>) -> (Accelerator, String) {
    match (why_not(), kernel) {
        (Some(reason), _) => (Accelerator::Tcg, reason),
        (None, None) => (Accelerator::Tcg, "there is no kernel to try KVM with".to_owned()),
        (None, Some(kernel)) if boots(kernel) => {
            (Accelerator::Kvm, "a kernel booted under KVM in time".to_owned())
        }
        (None, Some(_)) => (Accelerator::Tcg, "a kernel did not boot under KVM in time".to_owned()),
    }
}

/// What makes a trial pointless.
fn why_not() -> Option<String> {
    let opened = std::fs::File::options().read(true).write(true).open("/dev/kvm");
    if let Err(error) = opened {
        return Some(format!("/dev/kvm: {error}"));
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let can = processor.split_whitespace().any(|flag| flag == "svm" || flag == "vmx");
    (!can).then(|| "the processor has neither svm nor vmx, whatever /dev/kvm is here".to_owned())
}

fn boots(kernel: &Path) -> bool {
    let machine = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", QEMU])
        .args(Accelerator::Kvm.arguments())
        .args([
            "-machine",
            "pc",
            "-m",
            "256",
            "-nodefaults",
            "-display",
            "none",
            "-vga",
            "none",
            "-no-reboot",
        ])
        .args(["-serial", "stdio", "-append", "console=ttyS0 panic=-1", "-kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut machine) = machine else { return false };
    let said = said_in_time(&mut machine);
    let _ = machine.kill();
    let _ = machine.wait();
    said
}

fn said_in_time(machine: &mut Child) -> bool {
    let Some(output) = machine.stdout.take() else { return false };
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
        let _ = say.send(lines.any(|line| String::from_utf8_lossy(&line).contains(FIRST_LINE)));
    });
    said.recv_timeout(TRIAL).unwrap_or(false)
}
