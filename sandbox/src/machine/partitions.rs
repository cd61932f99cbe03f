//! What a disk's partition table says, read from its file; for whoever must know where the root is without mounting.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

const SECTOR: u64 = 512;
const ENTRIES: usize = 446;
/// The type of the one entry in front of a GPT.
const PROTECTIVE: u8 = 0xEE;
/// More partitions than any disk has.
const MOST: u32 = 128;

/// The number of the partition with a root file system: the first with an ext4 or XFS, else the first of all; nothing
/// for a disk that is not partitioned.
pub fn root(disk: &Path) -> io::Result<Option<u32>> {
    let disk = File::open(disk)?;
    let partitions = read(&disk)?;
    let root =
        partitions.iter().find(|(_, start)| has_root_file_system(&disk, *start)).or(partitions.first());
    Ok(root.map(|(number, _)| *number))
}

/// By the magic numbers of ext4 and XFS, for a file system that starts at an offset.
pub fn has_root_file_system(disk: &File, start: u64) -> bool {
    let (mut ext4, mut xfs) = ([0; 2], [0; 4]);
    let is_ext4 = disk.read_exact_at(&mut ext4, start + 0x438).is_ok() && ext4 == [0x53, 0xEF];
    is_ext4 || (disk.read_exact_at(&mut xfs, start).is_ok() && xfs == *b"XFSB")
}

/// Numbers and first bytes.
fn read(disk: &File) -> io::Result<Vec<(u32, u64)>> {
    let mut sector = [0; SECTOR as usize];
    match disk.read_exact_at(&mut sector, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        read => read?,
    }
    if sector[510..] != [0x55, 0xAA] {
        return Ok(Vec::new());
    }
    let entries = (1..=4u32).zip(sector[ENTRIES..510].chunks_exact(16));
    let entries: Vec<_> = entries.filter(|(_, entry)| entry[4] != 0 && entry[12..16] != [0; 4]).collect();
    if entries.iter().any(|(_, entry)| entry[4] == PROTECTIVE) {
        return read_gpt(disk);
    }
    Ok(entries.into_iter().map(|(number, entry)| (number, SECTOR * u64::from(u32_at(entry, 8)))).collect())
}

fn read_gpt(disk: &File) -> io::Result<Vec<(u32, u64)>> {
    let mut header = [0; 92];
    disk.read_exact_at(&mut header, SECTOR)?;
    if header[..8] != *b"EFI PART" {
        return Ok(Vec::new());
    }
    let (first, count, size) = (u64_at(&header, 72), u32_at(&header, 80).min(MOST), u32_at(&header, 84));
    let mut partitions = Vec::new();
    for index in 0..count {
        let mut entry = [0; 48];
        disk.read_exact_at(&mut entry, first.saturating_mul(SECTOR) + u64::from(index) * u64::from(size))?;
        if entry[..16] != [0; 16] {
            partitions.push((index + 1, u64_at(&entry, 32).saturating_mul(SECTOR)));
        }
    }
    Ok(partitions)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at + 4)) << 32 | u64::from(u32_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(writes: &[(u64, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(16 << 20).expect("room");
        for (at, bytes) in writes {
            file.as_file().write_all_at(bytes, *at).expect("written");
        }
        file
    }

    #[test]
    fn the_partition_with_a_file_system_is_the_root() {
        let entry = |kind: u8, start: u8| [0, 0, 0, 0, kind, 0, 0, 0, start, 0, 0, 0, 9, 0, 0, 0];
        let (first, second) = (entry(0x83, 16), entry(0x83, 64));
        let table = [(446, &first[..]), (462, &second[..]), (510, &[0x55, 0xAA][..])];
        let with_ext4 = [&table[..], &[(64 * 512 + 0x438, &[0x53, 0xEF][..])]].concat();
        assert_eq!(root(disk(&with_ext4).path()).expect("read"), Some(2));
        assert_eq!(root(disk(&table).path()).expect("read"), Some(1));
        assert_eq!(root(disk(&[(0x438, &[0x53, 0xEF])]).path()).expect("read"), None);
    }

    #[test]
    fn a_gpt_is_read() {
        let protective = [0, 0, 0, 0, 0xEE, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0];
        let mut header = [0; 92];
        header[..8].copy_from_slice(b"EFI PART");
        (header[72], header[80], header[84]) = (2, 16, 128);
        let mut entry = [1; 48];
        entry[32..40].copy_from_slice(&100u64.to_le_bytes());
        let writes = [
            (446, &protective[..]),
            (510, &[0x55, 0xAA]),
            (512, &header),
            (1024, &[0; 48]),
            (1024 + 14 * 128, &entry),
            (100 * 512, b"XFSB"),
        ];
        assert_eq!(root(disk(&writes).path()).expect("read"), Some(15));
    }
}
