//! What an archive may hold, and what it may not.

use std::{os::unix::fs::PermissionsExt, panic::catch_unwind};

use proptest::prelude::*;

use super::*;

/// An entry as an attacker writes it: the name goes into the header as it is.
fn raw_entry(name: &[u8], kind: EntryType, data: &[u8], mode: u32, link: &str) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    if !link.is_empty() {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    raw_entry(name.as_bytes(), EntryType::Regular, data, 0o644, "")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<ContextFolder, Problem> {
    ContextFolder::from_archive(bytes, &ContextLimits::default())
}

#[test]
fn tar_and_tar_gz_are_both_read() {
    let bytes = tar_of(&[
        raw_entry(b"./", EntryType::Directory, b"", 0o755, ""),
        raw_entry(b"./scripts/", EntryType::Directory, b"", 0o755, ""),
        raw_entry(b"./scripts/setup.sh", EntryType::Regular, b"echo hi\n", 0o755, ""),
        file("web.json", b"{}"),
    ]);
    for bytes in [gzip(&bytes), bytes] {
        let folder = read(&bytes).unwrap();
        assert_eq!(folder.files().collect::<Vec<_>>(), ["scripts/setup.sh", "web.json"]);
        assert_eq!(folder.get("./scripts/../scripts/setup.sh"), Some(&b"echo hi\n"[..]));
        assert!(folder.is_dir("scripts/") && folder.exists("scripts") && folder.is_dir("."));
        assert!(!folder.exists("/web.json") && !folder.exists("../web.json") && !folder.exists("nothing"));
        assert_eq!(folder.get("scripts"), None);
    }
}

#[test]
fn entries_that_could_do_harm_are_refused() {
    let regular = EntryType::Regular;
    for (entries, expected) in [
        (vec![file("../evil", b"x")], "leaves the folder"),
        (vec![file("a/../../evil", b"x")], "leaves the folder"),
        (vec![file("a/../b", b"x")], "leaves the folder"),
        (vec![file("/etc/passwd", b"x")], "absolute path"),
        (vec![raw_entry(b"link", EntryType::Symlink, b"", 0o777, "/etc/passwd")], "symbolic link"),
        (vec![raw_entry(b"link", EntryType::Link, b"", 0o777, "web.json")], "hard link"),
        (vec![raw_entry(b"null", EntryType::Char, b"", 0o666, "")], "a device"),
        (vec![raw_entry(b"disk", EntryType::Block, b"", 0o666, "")], "a device"),
        (vec![raw_entry(b"pipe", EntryType::Fifo, b"", 0o666, "")], "a pipe"),
        (vec![raw_entry(b"bad\xff", regular, b"", 0o644, "")], "not UTF-8"),
        (vec![raw_entry(b"a\nb", regular, b"", 0o644, "")], "control character"),
        (vec![raw_entry(b"a\\b", regular, b"", 0o644, "")], "backslash"),
        (vec![file("a", b"1"), file("a", b"2")], "twice"),
        (vec![file("a", b"1"), file("./a", b"2")], "twice"),
        (vec![file("a", b"1"), raw_entry(b"a/", EntryType::Directory, b"", 0o755, "")], "twice"),
        (vec![file("a", b"1"), file("a/b", b"2")], "a file and a folder"),
        (vec![file("a/b", b"1"), file("a", b"2")], "twice"),
        (vec![file(".", b"1")], "empty name"),
        (vec![], "no files"),
    ] {
        let problem = read(&tar_of(&entries)).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (422, "invalid_archive"));
        assert!(problem.detail.contains(expected), "{expected}: {}", problem.detail);
    }
}

#[test]
fn long_names_of_gnu_and_pax_archives_are_bounded_and_checked() {
    for (name, is_right) in
        [("d/".repeat(20) + "f", true), ("x/".repeat(40) + "f", false), ("n".repeat(300), false)]
    {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, &name, &b"x"[..]).unwrap();
        assert_eq!(read(&builder.into_inner().unwrap()).is_ok(), is_right, "{name}");
    }
    // A long name that leaves the folder, in the extra header where a check of the plain one would miss it.
    let escaping = format!("{}../../../etc/passwd\0", "a/".repeat(2));
    let bytes = tar_of(&[
        raw_entry(b"././@LongLink", EntryType::GNULongName, escaping.as_bytes(), 0o644, ""),
        file("innocent", b"x"),
    ]);
    assert!(read(&bytes).unwrap_err().detail.contains("leaves the folder"));
}

/// A pax header with one record, for the entry behind it.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..).find(|length| *length == rest.len() + length.to_string().len()).unwrap();
    raw_entry(b"pax", EntryType::XHeader, format!("{length}{rest}").as_bytes(), 0o644, "")
}

#[test]
fn what_extra_headers_say_is_checked_too() {
    for (extra, expected) in [
        (pax("path", "../../etc/passwd"), "leaves the folder"),
        (pax("path", "/etc/passwd"), "absolute path"),
        (raw_entry(b"@LongLink", EntryType::GNULongName, b"a\nb\0", 0o644, ""), "control character"),
        (pax("path", &"d/".repeat(40)), "deeper than"),
        (pax("path", &"x".repeat(600)), "longer than 512"),
        (raw_entry(b"@LongLink", EntryType::GNULongName, b"/etc/passwd\0", 0o644, ""), "absolute path"),
        (raw_entry(b"sparse", EntryType::GNUSparse, b"", 0o644, ""), "cannot be read"),
        (raw_entry(b"odd", EntryType::new(b'Z'), b"", 0o644, ""), "not allowed"),
        (raw_entry(b"link", EntryType::Symlink, b"data", 0o777, "."), "symbolic link"),
    ] {
        let problem = read(&tar_of(&[extra, file("innocent", b"x")])).unwrap_err();
        assert!(problem.detail.contains(expected), "{expected}: {}", problem.detail);
    }
    // A link whose target only the extra header names.
    let entries = [
        pax("linkpath", "/etc/passwd"),
        raw_entry(b"a", EntryType::Symlink, b"", 0o777, "b"),
        file("a", b"x"),
    ];
    assert!(read(&tar_of(&entries)).unwrap_err().detail.contains("symbolic link"));
}

#[test]
fn sizes_that_lie_are_refused() {
    let with_size = |size: [u8; 12]| {
        let mut header = Header::new_gnu();
        header.set_path("a").unwrap();
        header.as_mut_bytes()[124..136].copy_from_slice(&size);
        header.set_cksum();
        tar_of(&[header.as_bytes().to_vec(), vec![0; 512]])
    };
    for size in [
        *b"77777777777\0",
        *b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff",
        *b"-1\0\0\0\0\0\0\0\0\0\0",
        [0xff; 12],
    ] {
        for bytes in [with_size(size), gzip(&with_size(size))] {
            let problem = read(&bytes).unwrap_err();
            assert!(matches!(problem.code.as_str(), "invalid_archive" | "archive_too_large"), "{problem:?}");
        }
    }
    assert!(read(&tar_of(&[pax("size", "99999999999"), file("a", b"x")])).is_err());
}

#[test]
fn gzip_in_several_members_is_one_archive_and_is_checked_to_its_end() {
    let bytes = tar_of(&[file("a", &[7; 3000]), file("b", b"2")]);
    let members = [gzip(&bytes[..700]), gzip(&bytes[700..])].concat();
    assert_eq!(read(&members).unwrap().files().collect::<Vec<_>>(), ["a", "b"]);
    let escaping = tar_of(&[file("a", b"1"), file("../b", b"2")]);
    let members = [gzip(&escaping[..1024]), gzip(&escaping[1024..])].concat();
    assert!(read(&members).unwrap_err().detail.contains("leaves the folder"));
    // The sum at the end is of all data, also of what comes behind the archive's last entry.
    let packed = gzip(&bytes);
    for end in 0..packed.len() {
        assert_eq!(read(&packed[..end]).unwrap_err().code, "invalid_archive", "{end}");
    }
    let mut damaged = packed.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    assert_eq!(read(&damaged).unwrap_err().code, "invalid_archive");
    // What hides behind the end costs no more than what stands before it.
    let limits = ContextLimits { max_bytes: 1000, max_files: 3, ..ContextLimits::default() };
    let hidden = gzip(&[bytes, vec![0; 1 << 20]].concat());
    assert_eq!(ContextFolder::from_archive(&hidden, &limits).unwrap_err().code, "archive_too_large");
    assert_eq!(read(&gzip(&packed)).unwrap_err().code, "invalid_archive", "packed twice");
}

#[test]
fn too_much_is_refused_before_it_costs_memory() {
    let limits = ContextLimits { max_bytes: 1000, max_files: 3, ..ContextLimits::default() };
    let code = |bytes: &[u8]| ContextFolder::from_archive(bytes, &limits).unwrap_err().code;
    assert_eq!(code(&tar_of(&[file("a", &[0; 600]), file("b", &[0; 600])])), "archive_too_large");
    assert_eq!(code(&tar_of(&["a", "b", "c", "d"].map(|name| file(name, b"")))), "archive_too_large");
    // A bomb: a gigabyte of zeros is a megabyte when packed.
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    let mut header = Header::new_gnu();
    header.set_path("zeros").unwrap();
    header.set_size(1 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    bomb.write_all(header.as_bytes()).unwrap();
    for _ in 0..256 {
        bomb.write_all(&[0; 64 * 1024]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert_eq!(code(&bomb), "archive_too_large");
    // One that hides in what is skipped, not in a file.
    let mut padding = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    padding.write_all(&raw_entry(b"g", EntryType::XGlobalHeader, b"", 0o644, "")).unwrap();
    let mut long = Header::new_gnu();
    long.set_entry_type(EntryType::GNULongName);
    long.set_size(1 << 30);
    long.set_cksum();
    padding.write_all(long.as_bytes()).unwrap();
    for _ in 0..64 {
        padding.write_all(&[b'a'; 64 * 1024]).unwrap();
    }
    assert_eq!(code(&padding.finish().unwrap()), "archive_too_large");
    assert!(ContextFolder::from_archive(&tar_of(&[file("a", &[0; 1000])]), &limits).is_ok());
}

#[test]
fn a_cut_or_broken_archive_is_refused() {
    let bytes = tar_of(&[file("a", &[7; 5000])]);
    assert_eq!(read(&bytes[..2000]).unwrap_err().code, "invalid_archive");
    let packed = gzip(&bytes);
    assert_eq!(read(&packed[..packed.len() / 2]).unwrap_err().code, "invalid_archive");
    assert_eq!(
        read(b"this is no archive at all, but it is long enough").unwrap_err().code,
        "invalid_archive"
    );
    assert_eq!(read(b"").unwrap_err().code, "invalid_archive");
}

#[test]
fn the_same_content_gives_the_same_archive() {
    let one = tar_of(&[
        file("b", b"2"),
        raw_entry(b"a.sh", EntryType::Regular, b"1", 0o777, ""),
        file("c/d", b"3"),
    ]);
    let other = tar_of(&[
        raw_entry(b"c/", EntryType::Directory, b"", 0o700, ""),
        file("c/d", b"3"),
        raw_entry(b"./a.sh", EntryType::Regular, b"1", 0o755, ""),
        file("b", b"2"),
    ]);
    let (one, other) = (read(&one).unwrap(), read(&gzip(&other)).unwrap());
    assert_eq!(one.to_archive(), other.to_archive());
    assert_eq!(read(&one.to_archive()).unwrap(), one);
}

#[test]
fn whatever_was_read_can_be_read_again_from_storage() {
    let limits = ContextLimits { max_files: 4, max_bytes: 1000, ..ContextLimits::default() };
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(250));
    for (names, fits) in [
        (vec!["a/b", "c/d"], true),
        (vec!["a/b", "c/d", "e"], false),
        (vec!["a/b/c/d"], true),
        (vec!["a/b/c/d/e"], false),
        (vec![long.as_str(), "x", "y"], true),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        for name in &names {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(333);
            builder.append_data(&mut header, name, &[b'x'; 333][..]).unwrap();
        }
        let folder = ContextFolder::from_archive(&builder.into_inner().unwrap(), &limits);
        assert_eq!(folder.is_ok(), fits, "{names:?}");
        if let Ok(folder) = folder {
            assert_eq!(
                ContextFolder::from_archive(&folder.to_archive(), &limits).unwrap(),
                folder,
                "{names:?}"
            );
        }
    }
}

#[test]
fn unpacking_gives_the_usual_modes_and_keeps_the_executable_bit() {
    let folder = ContextFolder::from_files([("run.sh", &b"#!"[..], true), ("sub/data", &b"x"[..], false)]);
    let dir = tempfile::tempdir().unwrap();
    folder.unpack_into(dir.path()).unwrap();
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run.sh"), mode("sub"), mode("sub/data")), (0o755, 0o755, 0o644));
    assert_eq!(fs::read(dir.path().join("sub/data")).unwrap(), b"x");
    assert!(folder.unpack_into(dir.path()).is_err(), "nothing that is there is overwritten");
}

#[test]
fn the_template_is_found_or_asked_for() {
    let template = &br#"{"builders": []}"#[..];
    let folder = ContextFolder::from_files([
        ("web.json", template, false),
        ("package.json", &b"{}"[..], false),
        ("sub/other.json", template, false),
    ]);
    let path = |folder: &ContextFolder, asked| folder.find_template(asked).unwrap().1.unwrap();
    assert_eq!(path(&folder, None), "web.json");
    assert_eq!(path(&folder, Some("./sub/other.json")), "sub/other.json");
    assert_eq!(path(&folder, Some("sub")), "sub/other.json");
    assert_eq!(path(&folder, Some(".")), "web.json");
    assert_eq!(folder.find_template(Some("nothing.json")).unwrap_err().code, "template_not_found");
    assert_eq!(folder.find_template(Some("../web.json")).unwrap_err().code, "template_not_found");
    let code = |files: Vec<(&str, &[u8], bool)>| {
        ContextFolder::from_files(files).find_template(None).unwrap_err().code
    };
    assert_eq!(code(vec![("a.json", template, false), ("b.json", template, false)]), "template_ambiguous");
    assert_eq!(code(vec![("a.txt", template, false)]), "template_not_found");
    assert_eq!(code(vec![("sub/web.pkr.hcl", b"", false)]), "template_not_found");
    assert_eq!(code(vec![("a.json", template, false), ("a.pkr.hcl", b"", false)]), "template_ambiguous");
    // A broken template is found, so that its error can be shown.
    let broken = ContextFolder::from_files([("a.json", &br#"{"builders": [}"#[..], false)]);
    assert_eq!(path(&broken, None), "a.json");
}

#[test]
fn hcl2_is_a_file_or_a_whole_folder() {
    let folder = ContextFolder::from_files([
        ("a.pkr.hcl", &b"# a"[..], false),
        ("b.pkr.json", b"{}", false),
        ("package.json", b"{}", false),
        ("legacy/web.json", br#"{"builders": []}"#, false),
        ("legacy/b.pkr.hcl", b"# b", false),
        ("bad.hcl", b"\xff", false),
    ]);
    let whole = |folder: &str| TemplateSource::Folder(FolderSource { hcl2_folder: folder.to_owned() });
    for (asked, expected) in [
        (None, (whole(""), None)),
        (Some("."), (whole(""), None)),
        (Some("./legacy/"), (whole("legacy"), None)),
        (
            Some("legacy/b.pkr.hcl"),
            (TemplateSource::Text("# b".to_owned()), Some("legacy/b.pkr.hcl".to_owned())),
        ),
        (Some("b.pkr.json"), (TemplateSource::Text("{}".to_owned()), Some("b.pkr.json".to_owned()))),
    ] {
        assert_eq!(folder.find_template(asked).unwrap(), expected, "{asked:?}");
    }
    assert_eq!(folder.find_template(Some("bad.hcl")).unwrap_err().code, "invalid_json");
    assert_eq!(folder.find_template(Some("c.pkr.hcl")).unwrap_err().code, "template_not_found");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_archive_makes_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        flips in prop::collection::vec((0_usize..4096, any::<u8>()), 0..8),
    ) {
        let _ = read(&bytes);
        let _ = read(&gzip(&bytes));
        let mut archive = tar_of(&[file("a/b", b"hello"), file("c", &[1; 700])]);
        for (at, byte) in flips {
            if let Some(place) = archive.get_mut(at) {
                *place = byte;
            }
        }
        if let Ok(folder) = read(&archive) {
            for path in folder.files() {
                prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".." || part.is_empty()));
            }
            let archived = catch_unwind(|| folder.to_archive());
            prop_assert!(archived.is_ok());
            prop_assert_eq!(read(&archived.unwrap()).unwrap(), folder);
        }
    }

    #[test]
    fn a_normalised_path_never_leaves(path in "[a./~]{0,20}") {
        if let Some(path) = normalise(&path) {
            prop_assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == "."));
        }
    }
}
