//! How many streams are open, in all and of each principal.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{AccessError, Who};

/// The streams of this process.
#[derive(Debug)]
pub struct Streams {
    total: usize,
    each: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by: HashMap<Who, usize>,
}

/// The place of one stream; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    who: Who,
    open: Arc<Mutex<Open>>,
}

impl Streams {
    /// At most `total` streams, and `each` of one token or OpenID subject.
    pub fn new(total: usize, each: usize) -> Self {
        Self { total, each, open: Arc::default() }
    }

    /// A place for one more.
    pub fn take(&self, who: &Who) -> Result<Slot, AccessError> {
        let mut open = lock(&self.open);
        if open.total >= self.total {
            return Err(AccessError::TooManyStreams(self.total, false));
        }
        let own = open.by.get(who).copied().unwrap_or(0);
        // Without tokens everybody is the same principal.
        if *who != Who::Local && own >= self.each {
            return Err(AccessError::TooManyStreams(self.each, true));
        }
        open.total += 1;
        open.by.insert(who.clone(), own + 1);
        drop(open);
        Ok(Slot { who: who.clone(), open: Arc::clone(&self.open) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        if let Some(own) = open.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                open.by.remove(&self.who);
            }
        }
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let streams = Streams::new(3, 2);
        let who = |subject: &str| Who::Oidc { subject: subject.to_owned() };
        let first = streams.take(&who("a")).unwrap();
        let second = streams.take(&who("a")).unwrap();
        assert!(matches!(streams.take(&who("a")), Err(AccessError::TooManyStreams(2, true))));
        let third = streams.take(&who("b")).unwrap();
        assert!(matches!(streams.take(&who("c")), Err(AccessError::TooManyStreams(3, false))));
        drop(first);
        let again = streams.take(&who("a")).unwrap();
        drop((second, third, again));
        assert!(lock(&streams.open).by.is_empty());
        let local = [(); 3].map(|()| streams.take(&Who::Local).unwrap());
        assert!(streams.take(&Who::Local).is_err());
        drop(local);
    }
}
