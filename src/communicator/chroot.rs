//! Stub to be replaced.
use super::*;
use futures::future::BoxFuture;
use std::{path::Path, sync::Arc};
pub type Wrap = Box<dyn Fn(&str) -> Result<String, String> + Send + Sync>;
pub struct Chroot;
impl Chroot {
    pub fn new(_: Arc<crate::cell::Cell>, _: Option<Wrap>) -> Self {
        Self
    }
}
impl Communicator for Chroot {
    fn run<'a>(&'a self, _: &'a str, _: &'a dyn Output) -> BoxFuture<'a, Result<Exit, CommunicatorError>> {
        unreachable!()
    }
    fn upload<'a>(&'a self, _: Upload<'a>, _: &'a str) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        unreachable!()
    }
    fn upload_folder<'a>(&'a self, _: &'a Path, _: &'a str) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        unreachable!()
    }
    fn download<'a>(
        &'a self,
        _: &'a str,
        _: &'a Path,
        _: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        unreachable!()
    }
    fn download_folder<'a>(
        &'a self,
        _: &'a str,
        _: &'a Path,
        _: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        unreachable!()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        unreachable!()
    }
}
