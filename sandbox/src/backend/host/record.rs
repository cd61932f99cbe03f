//! What a sandbox has made in `/dev`, in a file that outlives it; and how the next one clears up by it.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{claims::Claims, linked::Names};
use crate::machine::loop_device::{file_of, partitions_of};

/// A volume's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub volume_id: String,
    /// Of `/dev/xvdf`: `f`.
    pub letters: String,
    /// 3 of `/dev/loop3`.
    pub loop_number: u32,
    /// The volume's file.
    pub file: PathBuf,
}

/// The record.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    devices: Vec<Recorded>,
}

impl Record {
    /// An empty one, to be kept in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, devices: Vec::new() }
    }

    /// Adds a device, before its links are made.
    pub fn add(&mut self, device: Recorded) -> io::Result<()> {
        self.devices.push(device);
        self.write()
    }

    /// Removes a volume's device, after its links.
    pub fn remove(&mut self, volume_id: &str) -> io::Result<()> {
        self.devices.retain(|device| device.volume_id != volume_id);
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        if self.devices.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let unfinished = self.path.with_extension("part");
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&self.devices)?)?;
        fs::rename(&unfinished, &self.path)
    }
}

/// Removes from `/dev` what a killed sandbox has written into this record, and the record. What another sandbox has
/// taken over meanwhile stays.
pub fn remove_leftovers(record: &Path) -> io::Result<()> {
    let dev = Path::new("/dev");
    let text = match fs::read(record) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let devices: Vec<Recorded> = serde_json::from_slice(&text)?;
    let claims = Claims::new(dev)?;
    for device in devices {
        let number = device.loop_number;
        if claims.lock(&device.letters)?.is_some() {
            Names::all(&device.letters).remove(dev, number)?;
        }
        if file_of(number).as_ref() == Some(&device.file) {
            tracing::warn!(
                volume.id = device.volume_id,
                "/dev/loop{number}, which a killed sandbox left, is still mounted; it goes when it is unmounted"
            );
        } else {
            remove_dead_nodes(dev, number)?;
        }
        tracing::info!(
            volume.id = device.volume_id,
            "removed the links to {}, which a killed sandbox left",
            device.volume_id
        );
    }
    fs::remove_file(record)
}

/// Removes nodes of partitions that the kernel does not know any more. Where the kernel makes nodes there are none.
pub(super) fn remove_dead_nodes(dev: &Path, number: u32) -> io::Result<()> {
    let living = partitions_of(number);
    for entry in fs::read_dir(dev)? {
        let entry = entry?;
        let name = entry.file_name();
        let partition =
            name.to_str().and_then(|name| name.strip_prefix(&format!("loop{number}p"))?.parse().ok());
        let is_dead = |partition: u32| living.iter().all(|living| living.number != partition);
        if partition.is_some_and(is_dead) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_there_as_long_as_there_are_devices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host-devices.json");
        let mut record = Record::new(path.clone());
        let device = |id: &str| Recorded {
            volume_id: id.to_owned(),
            letters: "f".to_owned(),
            loop_number: 3,
            file: PathBuf::from("/x"),
        };
        record.add(device("vol-1")).unwrap();
        record.add(device("vol-2")).unwrap();
        record.remove("vol-1").unwrap();
        let read: Vec<Recorded> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(read, [device("vol-2")]);
        record.remove("vol-2").unwrap();
        assert!(!path.exists());
        remove_leftovers(&path).unwrap();
    }
}
