//! What is mounted, as `/proc/PID/mountinfo` tells it (proc_pid_mountinfo(5)).

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its number, as `statx` tells it too.
    pub id: u64,
    /// `major:minor` of what is mounted.
    pub device: String,
    /// Where.
    pub target: PathBuf,
    /// The kind of file system.
    pub kind: String,
}

/// The mounts of a table, in their order. A line that is none is left out.
pub(super) fn parse(table: &str) -> Vec<Mount> {
    table
        .lines()
        .filter_map(|line| {
            let (fields, rest) = line.split_once(" - ")?;
            let mut fields = fields.split(' ');
            let id = fields.next()?.parse().ok()?;
            let device = fields.nth(1)?.to_owned();
            let target = unescape(fields.nth(1)?);
            Some(Mount { id, device, target, kind: rest.split(' ').next()?.to_owned() })
        })
        .collect()
}

/// Paths have octal escapes: `\040` is a space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| {
            std::str::from_utf8(digits).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok())
        });
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_unescaped() {
        assert_eq!(unescape(r"/a\040b\134c\011"), PathBuf::from("/a b\\c\t"));
        assert_eq!(unescape(r"/a\9"), PathBuf::from(r"/a\9"));
    }

    #[test]
    fn a_line_has_optional_fields() {
        let table = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:7 - ext3 /dev/root rw\nrubbish\n\
                     37 36 0:5 / /dev rw - devtmpfs udev rw\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2, "{mounts:?}");
        assert_eq!(
            mounts[0],
            Mount { id: 36, device: "98:0".into(), target: "/mnt 2".into(), kind: "ext3".into() }
        );
        assert_eq!((mounts[1].id, mounts[1].kind.as_str()), (37, "devtmpfs"));
    }
}
