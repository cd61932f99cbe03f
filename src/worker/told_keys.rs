//! Keys that change during a run, told to the run's redactor before anything is signed with them.

use std::sync::{Arc, Mutex, PoisonError};

use futures::{FutureExt, future::BoxFuture};

use crate::{
    logs::Redactor,
    oapi::{KeyPair, KeySource, NoKeys},
};

/// A source whose keys a redactor gets to know.
#[derive(Debug)]
pub(super) struct ToldKeys {
    source: Arc<dyn KeySource>,
    redactor: Redactor,
    /// The last ones that were told.
    told: Mutex<Option<Arc<KeyPair>>>,
}

impl ToldKeys {
    pub(super) fn new(source: Arc<dyn KeySource>, redactor: &Redactor) -> Self {
        Self { source, redactor: redactor.clone(), told: Mutex::default() }
    }

    fn tell(&self, keys: &Arc<KeyPair>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_some_and(|told| Arc::ptr_eq(told, keys)) {
            return;
        }
        self.redactor.add(std::slice::from_ref(&keys.secret_key));
        if let Some(token) = &keys.session_token {
            self.redactor.add(std::slice::from_ref(token));
        }
        *told = Some(Arc::clone(keys));
    }
}

impl KeySource for ToldKeys {
    fn name(&self) -> String {
        self.source.name()
    }

    fn current(&self) -> BoxFuture<'_, Result<Arc<KeyPair>, NoKeys>> {
        async {
            let keys = self.source.current().await?;
            self.tell(&keys);
            Ok(keys)
        }
        .boxed()
    }

    fn refused<'a>(&'a self, access_key: &'a str) -> BoxFuture<'a, bool> {
        self.source.refused(access_key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Other keys each time.
    #[derive(Debug, Default)]
    struct Changing(AtomicUsize);

    impl KeySource for Changing {
        fn name(&self) -> String {
            "changing".to_owned()
        }

        fn current(&self) -> BoxFuture<'_, Result<Arc<KeyPair>, NoKeys>> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            let keys = KeyPair {
                access_key: format!("ACCESS{number}"),
                secret_key: ["aaaa1111bbbb", "cccc2222dddd"][number].into(),
                session_token: (number > 0).then(|| "eeee3333ffff".into()),
            };
            async move { Ok(Arc::new(keys)) }.boxed()
        }

        fn refused<'a>(&'a self, _: &'a str) -> BoxFuture<'a, bool> {
            async { true }.boxed()
        }
    }

    #[tokio::test]
    async fn keys_are_redacted_from_when_they_are_first_used() {
        let redactor = Redactor::new(&[]);
        let keys = ToldKeys::new(Arc::new(Changing::default()), &redactor);
        let text = "aaaa1111bbbb cccc2222dddd eeee3333ffff Y2NjYzIyMjJkZGRk";
        assert_eq!(redactor.redact(text), text);
        keys.current().await.unwrap();
        assert_eq!(redactor.redact(text), "<sensitive> cccc2222dddd eeee3333ffff Y2NjYzIyMjJkZGRk");
        keys.current().await.unwrap();
        assert_eq!(redactor.redact(text), "<sensitive> <sensitive> <sensitive> <sensitive>");
        assert_eq!(keys.name(), "changing");
        assert!(keys.refused("ACCESS1").await);
    }
}
