//! Bounds on the work that a configuration can cause.

use std::{cell::Cell, io};

use crate::hcl::{Data, Deferred, Value, suggest::Hints};

/// Steps of evaluation.
const STEPS: u64 = 5_000_000;
/// Bytes of values made.
const BYTES: usize = 64 << 20;
/// Bytes of all expressions that wait for something, as they are stored.
const LATE_BYTES: usize = 1 << 20;
/// Brackets within each other in a stored expression. Whoever reads it again takes 128, and it may be part of something.
const LATE_DEPTH: usize = 100;
/// Bytes of a value that are walked through in one step.
const PART: usize = 16;
/// Expressions within each other.
const DEPTH: u32 = 200;

const TOO_MUCH_WORK: &str = "the configuration takes too much work to evaluate";

/// How much work is left.
#[derive(Debug)]
pub struct Budget {
    steps: Cell<u64>,
    bytes: Cell<usize>,
    late: Cell<usize>,
    depth: Cell<u32>,
    /// Suggestions in messages.
    pub hints: Hints,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: Cell::new(STEPS),
            bytes: Cell::new(BYTES),
            late: Cell::new(LATE_BYTES),
            depth: Cell::new(DEPTH),
            hints: Hints::default(),
        }
    }
}

/// One level of depth; given back when dropped.
pub(in crate::hcl) struct Deeper<'a>(&'a Budget);

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() + 1);
    }
}

impl Budget {
    /// Takes a step.
    pub(in crate::hcl) fn step(&self) -> Result<Deeper<'_>, String> {
        let steps = self.steps.get().checked_sub(1).ok_or(TOO_MUCH_WORK)?;
        let depth = self.depth.get().checked_sub(1).ok_or("the expression is nested too deeply")?;
        self.steps.set(steps);
        self.depth.set(depth);
        Ok(Deeper(self))
    }

    /// Takes so many steps at once.
    ///
    /// # Errors
    /// There are not so many left.
    pub(super) fn steps(&self, count: usize) -> Result<(), String> {
        let left = self.steps.get().saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        self.steps.set(left);
        if left == 0 { Err(TOO_MUCH_WORK.to_owned()) } else { Ok(()) }
    }

    /// Takes room for so many bytes.
    ///
    /// # Errors
    /// There is not so much left.
    pub fn room(&self, bytes: usize) -> Result<(), String> {
        let left = self.bytes.get().checked_sub(bytes).ok_or("the configuration makes too large values")?;
        self.bytes.set(left);
        Ok(())
    }

    /// Takes room for a value that was made of others. Its parts may be shared and cost nothing, but whoever walks through
    /// it meets each of them as often as it stands there.
    ///
    /// # Errors
    /// There is not so much left, or the value is nested too deeply.
    pub fn made(&self, value: &Value) -> Result<(), String> {
        let weight = value.measure(self.bytes.get()).ok_or("the value is nested too deeply")?;
        // Measuring stops where nothing is left.
        self.room(weight.max(1))?;
        if self.bytes.get() == 0 {
            Err("the configuration makes too large values".to_owned())
        } else {
            Ok(())
        }
    }

    /// Takes room for an expression that is to be stored and evaluated later, with the values that it needs.
    ///
    /// # Errors
    /// There is not so much left, or it is nested too deeply to be read again.
    pub fn late(&self, deferred: &Deferred) -> Result<(), String> {
        let mut stored = Stored { left: self.late.get(), depth: 0, is_in_text: false, is_escaped: false };
        serde_json::to_writer(&mut stored, deferred).map_err(|error| error.to_string())?;
        self.late.set(stored.left);
        Ok(())
    }

    /// Takes the steps that walking through a value takes.
    pub(super) fn walk(&self, value: &Value) -> Result<(), String> {
        if !matches!(value.data, Data::Sequence(..) | Data::Map(..)) {
            return Ok(());
        }
        let most = usize::try_from(self.steps.get()).unwrap_or(usize::MAX).saturating_mul(PART);
        let weight = value.measure(most).ok_or("the value is nested too deeply")?;
        self.steps(weight / PART)
    }

    /// Whether what went wrong is that there is nothing left, which `try` must not hide.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.steps.get() == 0 || self.bytes.get() < 1024
    }
}

/// Looks at the JSON that something is stored as, and keeps nothing of it.
struct Stored {
    left: usize,
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
}

impl io::Write for Stored {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let too_much = || io::Error::other("too much waits for something that is not there yet");
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(too_much)?;
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_text = !self.is_in_text,
                b'[' | b'{' if !self.is_in_text => self.depth += 1,
                b']' | b'}' if !self.is_in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > LATE_DEPTH {
                return Err(io::Error::other(
                    "what waits for something that is not there yet is nested too deeply",
                ));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
