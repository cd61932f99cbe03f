//! The raw files behind volumes, snapshots and images. Without machines (`none` backend) there are no files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::machine::DiskStore;

const GIB: u64 = 1 << 30;

/// A raw file that goes away with its last user, so that deleting a snapshot cannot take the file from under a
/// volume that is being made of it.
#[derive(Debug)]
pub struct DiskFile {
    path: PathBuf,
    is_ours: bool,
}

impl DiskFile {
    /// A file that stays where it is (a seed image in its cache).
    pub fn kept(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, is_ours: false })
    }

    fn owned(path: PathBuf) -> Arc<Self> {
        Arc::new(Self { path, is_ours: true })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DiskFile {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "could not remove a disk file");
        }
    }
}

/// Makes disk files, if the backend needs any.
pub struct Disks {
    store: Option<DiskStore>,
}

impl Disks {
    /// With files in a store, or without files.
    pub fn new(store: Option<DiskStore>) -> Self {
        Self { store }
    }

    /// An empty disk.
    pub async fn blank(&self, id: &str, gib: i64) -> io::Result<Option<Arc<DiskFile>>> {
        match &self.store {
            Some(store) => Ok(Some(DiskFile::owned(store.create_blank(id, bytes(gib)).await?))),
            None => Ok(None),
        }
    }

    /// A copy of a disk, grown if it has to be larger.
    pub async fn copy(
        &self,
        from: Option<&Arc<DiskFile>>,
        id: &str,
        gib: i64,
    ) -> io::Result<Option<Arc<DiskFile>>> {
        match (&self.store, from) {
            (Some(store), Some(from)) => {
                Ok(Some(DiskFile::owned(store.copy(from.path(), id, bytes(gib)).await?)))
            }
            (Some(_), None) => Err(io::Error::new(io::ErrorKind::NotFound, "the source has no disk file")),
            (None, _) => Ok(None),
        }
    }

    /// Makes a disk larger.
    pub async fn grow(&self, id: &str, gib: i64) -> io::Result<()> {
        match &self.store {
            Some(store) => store.grow(id, bytes(gib)).await,
            None => Ok(()),
        }
    }
}

fn bytes(gib: i64) -> u64 {
    u64::try_from(gib).unwrap_or_default() * GIB
}
