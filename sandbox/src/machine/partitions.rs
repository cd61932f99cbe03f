//! What a disk's partition table says. Some kernels cannot read one, and whoever must know where the root is without
//! mounting has no kernel to ask.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

const SECTOR: u64 = 512;
const ENTRIES: usize = 446;
/// The type of the one entry in front of a GPT.
const PROTECTIVE: u8 = 0xEE;
/// The types of an entry that leads to logical partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];
/// The number of the first logical partition.
const FIRST_LOGICAL: u32 = 5;
/// More partitions than any disk has.
const MOST: u32 = 128;

/// How large an entry of a GPT may be, in bytes.
const GPT_ENTRY_SIZES: std::ops::RangeInclusive<u32> = 128..=4096;

/// A partition as the table has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// 1 for the first one.
    pub number: u32,
    /// Its first byte.
    pub start: u64,
    /// In bytes.
    pub length: u64,
}

/// The number of the partition with a root file system: the first with an ext4 or XFS, else the first of all; nothing
/// for a disk that is not partitioned.
pub fn root(disk: &Path) -> io::Result<Option<u32>> {
    let disk = File::open(disk)?;
    let partitions = read(&disk)?;
    let root = partitions.iter().find(|partition| has_root_file_system(&disk, partition.start));
    Ok(root.or(partitions.first()).map(|partition| partition.number))
}

/// By the magic numbers of ext4 and XFS, for a file system that starts at an offset.
pub fn has_root_file_system(disk: &File, start: u64) -> bool {
    let (mut ext4, mut xfs) = ([0; 2], [0; 4]);
    let is_ext4 = disk.read_exact_at(&mut ext4, start + 0x438).is_ok() && ext4 == [0x53, 0xEF];
    is_ext4 || (disk.read_exact_at(&mut xfs, start).is_ok() && xfs == *b"XFSB")
}

/// All partitions of an MBR or a GPT; none for a disk without either, such as one that is a file system as a whole.
pub fn read(disk: &File) -> io::Result<Vec<Extent>> {
    let Some(entries) = read_entries(disk, 0)? else { return Ok(Vec::new()) };
    if entries.iter().any(|entry| entry.kind == PROTECTIVE) {
        return read_gpt(disk);
    }
    let mut partitions = Vec::new();
    for entry in &entries {
        partitions.push(entry.extent(0, entry.number));
    }
    if let Some(extended) = entries.iter().find(|entry| EXTENDED.contains(&entry.kind)) {
        read_logical(disk, extended.start, &mut partitions)?;
    }
    Ok(partitions)
}

/// An entry of an MBR, or of the sector in front of a logical partition; start and length in sectors.
struct Entry {
    number: u32,
    kind: u8,
    start: u64,
    length: u64,
}

impl Entry {
    fn extent(&self, base: u64, number: u32) -> Extent {
        // Of one that only leads to others, Linux shows room for a boot loader, so that nobody writes over those.
        let length = if EXTENDED.contains(&self.kind) { self.length.min(2) } else { self.length };
        Extent { number, start: (base + self.start) * SECTOR, length: length * SECTOR }
    }
}

/// The used entries of the four in a sector; nothing if the sector has no table.
fn read_entries(disk: &File, sector: u64) -> io::Result<Option<Vec<Entry>>> {
    let mut bytes = [0; SECTOR as usize];
    match disk.read_exact_at(&mut bytes, sector.saturating_mul(SECTOR)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    if bytes[510..] != [0x55, 0xAA] {
        return Ok(None);
    }
    let entries = (1..=4u32).zip(bytes[ENTRIES..510].chunks_exact(16)).map(|(number, entry)| Entry {
        number,
        kind: entry[4],
        start: u64::from(u32_at(entry, 8)),
        length: u64::from(u32_at(entry, 12)),
    });
    Ok(Some(entries.filter(|entry| entry.kind != 0 && entry.length != 0).collect()))
}

/// Logical partitions are a list: the sector in front of each says where it is, and where the next such sector is.
fn read_logical(disk: &File, extended: u64, partitions: &mut Vec<Extent>) -> io::Result<()> {
    let mut sector = extended;
    for number in FIRST_LOGICAL..MOST {
        let Some(entries) = read_entries(disk, sector)? else { break };
        let Some(logical) = entries.iter().find(|entry| !EXTENDED.contains(&entry.kind)) else { break };
        partitions.push(logical.extent(sector, number));
        let Some(next) = entries.iter().find(|entry| EXTENDED.contains(&entry.kind)) else { break };
        sector = extended + next.start;
    }
    Ok(())
}

fn read_gpt(disk: &File) -> io::Result<Vec<Extent>> {
    let mut header = [0; 92];
    disk.read_exact_at(&mut header, SECTOR)?;
    if header[..8] != *b"EFI PART" {
        return Ok(Vec::new());
    }
    let (first, count, size) = (u64_at(&header, 72), u32_at(&header, 80).min(MOST), u32_at(&header, 84));
    if !GPT_ENTRY_SIZES.contains(&size) {
        return Ok(Vec::new());
    }
    let mut entries = vec![0; (count * size) as usize];
    disk.read_exact_at(&mut entries, first.saturating_mul(SECTOR))?;
    let entries = (1..=count).zip(entries.chunks_exact(size as usize));
    let used = entries.filter(|(_, entry)| entry[..16] != [0; 16]).map(|(number, entry)| {
        let (start, last) = (u64_at(entry, 32), u64_at(entry, 40));
        let length = last.saturating_add(1).saturating_sub(start).saturating_mul(SECTOR);
        Extent { number, start: start.saturating_mul(SECTOR), length }
    });
    Ok(used.collect())
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
        entry[40..48].copy_from_slice(&199u64.to_le_bytes());
        let writes = [
            (446, &protective[..]),
            (510, &[0x55, 0xAA]),
            (512, &header),
            (1024, &[0; 48]),
            (1024 + 14 * 128, &entry),
            (100 * 512, b"XFSB"),
        ];
        let disk = disk(&writes);
        assert_eq!(root(disk.path()).expect("read"), Some(15));
        let extent = Extent { number: 15, start: 100 * 512, length: 100 * 512 };
        assert_eq!(read(disk.as_file()).expect("read"), [extent]);
    }

    #[test]
    fn logical_partitions_are_found() {
        let entry =
            |kind: u8, start: u8, length: u8| [0, 0, 0, 0, kind, 0, 0, 0, start, 0, 0, 0, length, 0, 0, 0];
        let (primary, extended) = (entry(0x83, 8, 4), entry(0x05, 16, 100));
        let (first, link, second) = (entry(0x83, 2, 6), entry(0x05, 10, 20), entry(0x83, 3, 7));
        let signature = [0x55, 0xAA];
        let table = disk(&[
            (446, &primary[..]),
            (462, &extended[..]),
            (510, &signature[..]),
            (16 * 512 + 446, &first[..]),
            (16 * 512 + 462, &link[..]),
            (16 * 512 + 510, &signature[..]),
            (26 * 512 + 446, &second[..]),
            (26 * 512 + 510, &signature[..]),
        ]);
        let found = read(table.as_file()).expect("read").into_iter();
        let found: Vec<_> =
            found.map(|extent| (extent.number, extent.start / 512, extent.length / 512)).collect();
        assert_eq!(found, [(1, 8, 4), (2, 16, 2), (5, 18, 6), (6, 29, 7)]);
        // A list that leads back to itself ends too.
        let again = entry(0x05, 0, 20);
        table.as_file().write_all_at(&again, 16 * 512 + 462).expect("written");
        assert_eq!(read(table.as_file()).expect("read").len(), 2 + (MOST - FIRST_LOGICAL) as usize);
    }
}
