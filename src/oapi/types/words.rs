//! Words that OAPI uses as values: states, volume types, boot modes.
//! A word that this version does not know is kept as `Other`, since the cloud adds words before its documentation does.

/// Makes an enum of words with `as_str`, `Display`, conversion from text, and serde in both directions.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$word_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$word_meta])* #[doc = concat!("`", $word, "`")] $variant,)+
            /// A word that this version does not know, or nothing if the answer lacked the field.
            Other(String),
        }

        impl $name {
            /// The word as OAPI spells it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.as_str() {
                    "" => f.write_str("unknown"),
                    word => f.write_str(word),
                }
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Ok(Self::from(word.as_str()))
            }
        }
    };
}

words! {
    /// State of a VM.
    VmState {
        Pending = "pending",
        Running = "running",
        Stopping = "stopping",
        Stopped = "stopped",
        ShuttingDown = "shutting-down",
        Terminated = "terminated",
        /// Put there by OUTSCALE; only deletion or support help.
        Quarantine = "quarantine",
    }
}

words! {
    /// State of a volume.
    VolumeState {
        Creating = "creating",
        Available = "available",
        InUse = "in-use",
        Updating = "updating",
        Deleting = "deleting",
        Error = "error",
    }
}

words! {
    /// State of a snapshot. Examples of the API also show words that its own list lacks; only `completed` is success.
    SnapshotState {
        InQueue = "in-queue",
        PendingQueued = "pending/queued",
        Pending = "pending",
        Importing = "importing",
        Completed = "completed",
        Error = "error",
        Deleting = "deleting",
    }
}

words! {
    /// State of an image (OMI).
    ImageState {
        Pending = "pending",
        Available = "available",
        Failed = "failed",
    }
}

words! {
    /// State of the link between a volume and a VM.
    LinkState {
        Attaching = "attaching",
        Attached = "attached",
        Detaching = "detaching",
        Detached = "detached",
    }
}

words! {
    /// Type of a volume.
    VolumeType {
        Standard = "standard",
        Gp2 = "gp2",
        Io1 = "io1",
    }
}

words! {
    /// Firmware that a VM boots with, or that an image may boot with.
    BootMode {
        Uefi = "uefi",
        Legacy = "legacy",
    }
}

words! {
    /// Performance of a VM; ignored by OAPI when the VM type ends in `p1`, `p2` or `p3`.
    Performance {
        Medium = "medium",
        High = "high",
        Highest = "highest",
    }
}

words! {
    /// What happens to the secure-boot keys when the VM next passes through stopped.
    SecureBootAction {
        Enable = "enable",
        Disable = "disable",
        SetupMode = "setup-mode",
        RestoreFactoryKeys = "restore-factory-keys",
        None = "none",
    }
}

words! {
    /// Direction of a security group rule. `Outbound` exists in Nets only.
    Flow {
        Inbound = "Inbound",
        Outbound = "Outbound",
    }
}
