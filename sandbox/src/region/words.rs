//! The words of OAPI for the states of things, as types.

/// An enum whose variants are words of the API.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),* }

        impl $name {
            /// The word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The variant of a word.
            #[allow(dead_code, reason = "the words of links only go out")]
            pub fn of_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// pending → running → stopping → stopped → pending …; any → shutting-down → terminated.
    VmState {
        Pending = "pending",
        Running = "running",
        Stopping = "stopping",
        Stopped = "stopped",
        ShuttingDown = "shutting-down",
        Terminated = "terminated",
        Quarantine = "quarantine",
    }
}

words! {
    /// creating → available ⇄ in-use; available → deleting → gone; creating → error.
    VolumeState {
        Creating = "creating",
        Available = "available",
        InUse = "in-use",
        Deleting = "deleting",
        Error = "error",
    }
}

words! {
    /// attaching → attached → detaching → gone.
    LinkState {
        Attaching = "attaching",
        Attached = "attached",
        Detaching = "detaching",
    }
}

words! {
    /// in-queue → pending → completed; any → error.
    SnapshotState {
        InQueue = "in-queue",
        Pending = "pending",
        Completed = "completed",
        Error = "error",
    }
}

words! {
    /// pending → available, or failed.
    ImageState {
        Pending = "pending",
        Available = "available",
        Failed = "failed",
    }
}

impl VmState {
    /// The number that `VmStateCodes` filters on.
    pub fn code(self) -> i64 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
            Self::Quarantine => -1,
        }
    }

    /// Whether the VM is on its way out or gone.
    pub fn is_over(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}
