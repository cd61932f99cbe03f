//! The volumes' and snapshots' raw files: made, copied without reading holes, grown and removed. Which id is a
//! volume and which a snapshot is the region's business.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};

use super::sys;

/// A folder of raw disks, each a file named after its id.
#[derive(Debug, Clone)]
pub struct DiskStore {
    dir: PathBuf,
}

impl DiskStore {
    /// Opens a store, making its folder if it is not there.
    pub fn open(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Where the disk of an id is, or would be.
    pub fn path(&self, id: &str) -> PathBuf {
        // Ids come from the region; a slash in one would still be a way out of the folder.
        self.dir.join(format!("{}.raw", id.replace(['/', '\0'], "_")))
    }

    /// Makes an empty disk of `bytes`, which takes no space until it is written.
    pub async fn create_blank(&self, volume_id: &str, bytes: u64) -> io::Result<PathBuf> {
        let path = self.path(volume_id);
        blocking(move || {
            OpenOptions::new().write(true).create_new(true).open(&path)?.set_len(bytes)?;
            Ok(path)
        })
        .await
    }

    /// Copies a disk: shares its blocks where the file system can, else copies what is not a hole. The copy is
    /// grown to `bytes` if that is more than `from` has; it appears only when it is complete.
    pub async fn copy(&self, from: &Path, to_id: &str, bytes: u64) -> io::Result<PathBuf> {
        let (from, to) = (from.to_owned(), self.path(to_id));
        blocking(move || {
            let unfinished = to.with_extension("part");
            let copied = copy_sparse(&from, &unfinished, bytes).and_then(|()| fs::rename(&unfinished, &to));
            if let Err(error) = copied {
                let _ = fs::remove_file(&unfinished);
                return Err(error);
            }
            Ok(to)
        })
        .await
    }

    /// Makes a disk larger; never smaller.
    pub async fn grow(&self, id: &str, bytes: u64) -> io::Result<()> {
        let path = self.path(id);
        blocking(move || {
            let file = OpenOptions::new().write(true).open(path)?;
            if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
        })
        .await
    }

    /// Removes a disk; one that is gone is removed.
    pub async fn delete(&self, id: &str) -> io::Result<()> {
        let path = self.path(id);
        blocking(move || match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn copy_sparse(from: &Path, to: &Path, bytes: u64) -> io::Result<()> {
    let source = File::open(from)?;
    let target = OpenOptions::new().write(true).create(true).truncate(true).open(to)?;
    let length = source.metadata()?.len();
    if sys::reflink(&source, &target).is_err() {
        copy_data(&source, &target, length)?;
    }
    target.set_len(length.max(bytes))
}

/// Copies the parts that are not holes, inside the kernel (which is how `io::copy` copies files).
fn copy_data(mut source: &File, mut target: &File, length: u64) -> io::Result<()> {
    let mut position = 0;
    while position < length {
        let start = match lseek(source, i64::try_from(position).map_err(io::Error::other)?, Whence::SeekData)
        {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = u64::try_from(lseek(source, start, Whence::SeekHole)?).map_err(io::Error::other)?;
        let start = source.seek(SeekFrom::Start(u64::try_from(start).map_err(io::Error::other)?))?;
        target.seek(SeekFrom::Start(start))?;
        if io::copy(&mut source.take(end - start), &mut target)? < end - start {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the disk shrank while it was copied"));
        }
        position = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[tokio::test]
    async fn a_copy_has_the_data_keeps_the_holes_and_is_grown() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = DiskStore::open(dir.path().join("disks")).expect("a store");
        let blank = store.create_blank("vol-1", 64 << 20).await.expect("a blank disk");
        let file = OpenOptions::new().write(true).open(&blank).expect("the disk");
        file.write_all_at(b"start", 0).expect("written");
        file.write_all_at(b"middle", 33 << 20).expect("written");

        let copy = store.copy(&blank, "snap-1", 128 << 20).await.expect("a copy");

        assert_eq!(copy, store.path("snap-1"));
        let file = File::open(&copy).expect("the copy");
        let (mut start, mut middle) = ([0; 5], [0; 6]);
        file.read_exact_at(&mut start, 0).expect("read");
        file.read_exact_at(&mut middle, 33 << 20).expect("read");
        assert_eq!((&start, &middle), (b"start", b"middle"));
        let metadata = file.metadata().expect("metadata");
        assert_eq!(metadata.len(), 128 << 20);
        assert!(metadata.blocks() * 512 < 1 << 20, "holes were filled: {} blocks", metadata.blocks());
    }

    #[tokio::test]
    async fn growing_never_shrinks_and_deleting_twice_is_fine() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = DiskStore::open(dir.path()).expect("a store");
        let path = store.create_blank("vol-1", 4096).await.expect("a blank disk");
        assert!(store.create_blank("vol-1", 1).await.is_err(), "an existing disk was replaced");
        store.grow("vol-1", 8192).await.expect("grown");
        store.grow("vol-1", 1024).await.expect("left alone");
        assert_eq!(fs::metadata(&path).expect("metadata").len(), 8192);
        store.delete("vol-1").await.expect("deleted");
        store.delete("vol-1").await.expect("deleted again");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_failed_copy_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = DiskStore::open(dir.path()).expect("a store");
        assert!(store.copy(&dir.path().join("missing"), "vol-1", 0).await.is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 0);
    }
}
