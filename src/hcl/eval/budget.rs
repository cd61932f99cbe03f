//! Bounds on the work that a configuration can cause.

use std::cell::Cell;

use crate::hcl::{Data, Value};

/// Steps of evaluation.
const STEPS: u64 = 5_000_000;
/// Bytes of values made.
const BYTES: usize = 64 << 20;
/// Bytes of a value that are walked through in one step.
const PART: usize = 16;
/// Expressions within each other.
const DEPTH: u32 = 200;

/// How much work is left.
#[derive(Debug)]
pub struct Budget {
    steps: Cell<u64>,
    bytes: Cell<usize>,
    depth: Cell<u32>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: Cell::new(STEPS), bytes: Cell::new(BYTES), depth: Cell::new(DEPTH) }
    }
}

/// One level of depth; given back when dropped.
pub(super) struct Deeper<'a>(&'a Budget);

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.depth.set(self.0.depth.get() + 1);
    }
}

impl Budget {
    /// Takes a step.
    pub(super) fn step(&self) -> Result<Deeper<'_>, String> {
        let steps =
            self.steps.get().checked_sub(1).ok_or("the configuration takes too much work to evaluate")?;
        let depth = self.depth.get().checked_sub(1).ok_or("the expression is nested too deeply")?;
        self.steps.set(steps);
        self.depth.set(depth);
        Ok(Deeper(self))
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

    /// Takes the steps that walking through a value takes.
    pub(super) fn walk(&self, value: &Value) -> Result<(), String> {
        if !matches!(value.data, Data::Sequence(..) | Data::Map(..)) {
            return Ok(());
        }
        let most = usize::try_from(self.steps.get()).unwrap_or(usize::MAX).saturating_mul(PART);
        let weight = value.measure(most).ok_or("the value is nested too deeply")?;
        let steps = u64::try_from(weight / PART).unwrap_or(u64::MAX);
        let left = self.steps.get().saturating_sub(steps);
        self.steps.set(left);
        if left == 0 { Err("the configuration takes too much work to evaluate".to_owned()) } else { Ok(()) }
    }

    /// Whether what went wrong is that there is nothing left, which `try` must not hide.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.steps.get() == 0 || self.bytes.get() < 1024
    }
}
