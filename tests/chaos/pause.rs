//! A place in a script at which it waits until the test lets it go. VMs of the `ns` backend are processes of this machine,
//! so the test finds the script's `sleep` among them and ends it.

use std::fs;

use tokio::process::Command;

use crate::until;

/// A `sleep` of a length that nobody else sleeps.
pub struct Pause {
    seconds: String,
}

impl Pause {
    /// One of its own for each test.
    pub fn new() -> Self {
        Self { seconds: (1_000_000_000 + uuid::Uuid::new_v4().as_u128() % 1_000_000_000).to_string() }
    }

    /// The line of the script.
    pub fn line(&self) -> String {
        format!("sleep {} || true", self.seconds)
    }

    /// Waits until a script is there.
    pub async fn reached(&self) {
        until("the script pauses", async || (!self.sleeping().is_empty()).then_some(())).await;
    }

    /// Lets the script go that is there or comes there next.
    pub async fn end(&self) {
        self.reached().await;
        let ended = Command::new("kill").arg("-KILL").args(self.sleeping()).status().await;
        assert!(ended.expect("kill can be run").success(), "the script cannot be let go");
    }

    /// The ids of the processes.
    fn sleeping(&self) -> Vec<String> {
        let wanted = format!("sleep\0{}\0", self.seconds);
        let processes = fs::read_dir("/proc").expect("/proc can be read").flatten();
        processes
            .filter(|process| {
                fs::read_to_string(process.path().join("cmdline")).is_ok_and(|line| line == wanted)
            })
            .map(|process| process.file_name().to_string_lossy().into_owned())
            .collect()
    }
}
