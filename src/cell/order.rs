//! What the worker and the programs inside a cell say to each other: one line of JSON each way over a socket, which is
//! the program's standard input. Nothing of it is in an argument or in the environment.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::CellError;

/// What is known of a living cell.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its name among the cells.
    pub id: String,
    /// The pid of its first process, as the host sees it.
    pub init: u32,
    /// The number of its pid namespace: tells whether `init` is still the same process.
    pub namespace: u64,
    /// The folder of the cells' records.
    pub cells: PathBuf,
    /// Its cgroup, if there may be one.
    pub cgroup: Option<PathBuf>,
}

impl Place {
    /// The folder that only exists, as an empty one, so that the cell can mount what it keeps there.
    pub fn anchor(&self) -> PathBuf {
        anchor(&self.cells, &self.id)
    }
}

pub(super) fn anchor(cells: &Path, id: &str) -> PathBuf {
    cells.join(format!("{id}.anchor"))
}

pub(super) fn record_file(cells: &Path, id: &str) -> PathBuf {
    cells.join(format!("{id}.json"))
}

pub(super) fn lock_file(cells: &Path, id: &str) -> PathBuf {
    cells.join(format!("{id}.lock"))
}

/// What a cell leaves on the host that does not end by itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    /// Empty folders made for the mount, the innermost first.
    pub folders: Vec<PathBuf>,
    /// The cgroup that was made.
    pub cgroup: Option<PathBuf>,
}

/// How to start a cell.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    pub cells: PathBuf,
    pub id: String,
}

/// What the keeper says once the cell is there.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub place: Place,
    pub notices: Vec<String>,
}

/// One thing to do in a cell.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub place: Place,
    pub task: Task,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// `sh -c` on the host's root.
    RunOnHost {
        command: String,
        /// What that command may have run in the image.
        inside: Option<Inside>,
    },
    /// `sh -c` on the image's root.
    RunInside {
        command: String,
    },
    MountRoot {
        device: PathBuf,
        path: PathBuf,
        options: Vec<String>,
    },
    MountInside {
        kind: String,
        source: String,
        target: String,
    },
    CopyIn {
        file: PathBuf,
    },
    /// The bytes follow the order.
    WriteFile {
        path: String,
        mode: Option<u32>,
        size: u64,
    },
    /// A tar archive follows the order.
    WriteFolder {
        path: String,
    },
    /// The bytes go to the standard output.
    ReadFile {
        path: String,
        limit: u64,
    },
    /// A tar archive goes to the standard output.
    ReadFolder {
        path: String,
        limit: u64,
    },
    Release,
}

/// A command for the image that comes by way of one of the host.
#[derive(Serialize, Deserialize)]
pub(super) struct Inside {
    /// By what the host's command calls it.
    pub ticket: String,
    pub command: String,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// How the command ended.
    #[serde(default)]
    pub status: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
    #[serde(default)]
    pub ended_processes: usize,
    #[serde(default)]
    pub notices: Vec<String>,
    /// Bytes moved.
    #[serde(default)]
    pub bytes: u64,
}

pub(super) type Answer = Result<Done, CellError>;
