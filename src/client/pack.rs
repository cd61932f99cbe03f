//! Packs the folder of a template. The same files give the same bytes, whenever and by whomever they are packed, so that
//! the server can tell that it has them already.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::ClientError;

/// Never sent: history and downloads, which are large and of no use there.
const ALWAYS_IGNORED: &[&str] = &[".git", ".hg", ".svn", "packer_cache", IGNORE_FILE];

/// Lists what is not sent: a name, a path in the folder, or either with `*`, one a line.
pub const IGNORE_FILE: &str = ".fournilignore";

/// Beyond these, somebody has taken the wrong folder; the server's own bounds are usually tighter.
const MOST_BYTES: u64 = 256 * 1024 * 1024;
const MOST_FILES: usize = 20_000;

/// A packed folder.
#[derive(Debug)]
pub struct Package {
    /// tar.gz.
    pub archive: Vec<u8>,
    /// Where the template is in it; absent: the server looks for it.
    pub template: Option<String>,
}

/// Packs what `template` needs: its folder, or `context` if given.
///
/// # Errors
/// Something is missing, unreadable, too large, or a link that leads out of the folder.
pub fn pack(template: &Path, context: Option<&Path>) -> Result<Package, ClientError> {
    let is_folder =
        fs::metadata(template).map_err(|error| cannot("read the template", template, &error))?.is_dir();
    let own_folder = match template.parent() {
        _ if is_folder => template,
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let folder = context.unwrap_or(own_folder);
    let root = folder.canonicalize().map_err(|error| cannot("read the folder", folder, &error))?;
    let template = template.canonicalize().map_err(|error| cannot("read the template", template, &error))?;
    let inside = template.strip_prefix(&root).map_err(|_| {
        let (template, root) = (template.display(), root.display());
        ClientError::Usage(format!(
            "the template {template} is not in the folder to send, {root}; name another with --context"
        ))
    })?;
    let inside = if is_folder && inside == Path::new("") { None } else { Some(in_archive(inside)?) };

    let mut found = Found { root: &root, ignored: Ignored::read(&root)?, entries: Vec::new(), bytes: 0 };
    found.walk(&root)?;
    let mut entries = found.entries;
    entries.sort();
    Ok(Package { archive: write(&entries)?, template: inside })
}

/// Packs a template that came by itself.
///
/// # Errors
/// None that can happen in memory.
pub fn pack_text(text: &str) -> Result<Package, ClientError> {
    let is_json = text.trim_start().starts_with('{');
    let name = if is_json { "template.json" } else { "template.pkr.hcl" };
    let mut archive = archive();
    append(&mut archive, name, EntryType::Regular, 0o644, text.as_bytes())?;
    Ok(Package { archive: finish(archive)?, template: Some(name.to_owned()) })
}

/// A path in the archive, and the file it is filled from; a folder has none.
type Entry = (String, Option<PathBuf>);

struct Found<'a> {
    root: &'a Path,
    ignored: Ignored,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Found<'_> {
    fn walk(&mut self, folder: &Path) -> Result<(), ClientError> {
        for entry in fs::read_dir(folder).map_err(|error| cannot("read the folder", folder, &error))? {
            let path = entry.map_err(|error| cannot("read the folder", folder, &error))?.path();
            let name = in_archive(path.strip_prefix(self.root).unwrap_or(&path))?;
            if self.ignored.covers(&name) {
                continue;
            }
            let unreadable = |error: io::Error| cannot("read", &path, &error);
            let is_link = path.symlink_metadata().map_err(unreadable)?.is_symlink();
            let target = path.canonicalize().map_err(unreadable)?;
            let metadata = fs::metadata(&target).map_err(unreadable)?;
            // The server takes no links. One to a file of the folder is sent as that file; any other could lead to
            // something that was never meant to be sent, or in a circle.
            if is_link && !(metadata.is_file() && target.starts_with(self.root)) {
                return Err(ClientError::Usage(format!(
                    "{} is a link to {}, which cannot be sent; copy it into the folder, or list it in {IGNORE_FILE}",
                    path.display(),
                    target.display()
                )));
            }
            if metadata.is_dir() {
                self.entries.push((name, None));
                self.walk(&path)?;
            } else if metadata.is_file() {
                self.bytes += metadata.len();
                self.entries.push((name, Some(target)));
            }
            // Sockets, pipes and devices have no content to send.
            if self.bytes > MOST_BYTES || self.entries.len() > MOST_FILES {
                return Err(ClientError::Usage(format!(
                    "the folder {} is too large to send (more than {} MiB or {MOST_FILES} files, the last one {}); \
                     list what the template does not need in {IGNORE_FILE}, or name a smaller folder with --context",
                    self.root.display(),
                    MOST_BYTES >> 20,
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// What stays here.
struct Ignored(Vec<String>);

impl Ignored {
    fn read(root: &Path) -> Result<Self, ClientError> {
        let path = root.join(IGNORE_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(cannot("read", &path, &error)),
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let patterns = lines.map(|line| line.trim_end_matches('/').trim_start_matches("./").to_owned());
        Ok(Self(patterns.chain(ALWAYS_IGNORED.iter().map(|name| (*name).to_owned())).collect()))
    }

    /// A pattern with a slash means a path from the root, one without a name anywhere.
    fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.0.iter().any(|pattern| match pattern.strip_prefix('/') {
            Some(rooted) => is_like(rooted, path),
            None if pattern.contains('/') => is_like(pattern, path),
            None => is_like(pattern, name),
        })
    }
}

/// Whether a text fits a pattern in which `*` stands for anything but a slash.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let reach = rest.find('/').unwrap_or(rest.len());
    (0..=reach).filter(|end| rest.is_char_boundary(*end)).any(|end| is_like(after, &rest[end..]))
}

fn in_archive(path: &Path) -> Result<String, ClientError> {
    let parts: Option<Vec<_>> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| component.as_os_str().to_str())
        .collect();
    let not_text = || ClientError::Usage(format!("the name of {} is not UTF-8; rename it", path.display()));
    Ok(parts.ok_or_else(not_text)?.join("/"))
}

fn archive() -> Builder<GzEncoder<Vec<u8>>> {
    // Without name and time, which would differ from one packing to the next.
    Builder::new(GzBuilder::new().write(Vec::new(), Compression::default()))
}

fn write(entries: &[Entry]) -> Result<Vec<u8>, ClientError> {
    let mut archive = archive();
    for (name, source) in entries {
        match source {
            None => append(&mut archive, &format!("{name}/"), EntryType::Directory, 0o755, &[])?,
            Some(path) => {
                let unreadable = |error: io::Error| cannot("read", path, &error);
                let is_program = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o100 != 0;
                let content = fs::read(path).map_err(unreadable)?;
                append(
                    &mut archive,
                    name,
                    EntryType::Regular,
                    if is_program { 0o755 } else { 0o644 },
                    &content,
                )?;
            }
        }
    }
    finish(archive)
}

fn append<W: Write>(
    archive: &mut Builder<W>,
    name: &str,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<(), ClientError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    Ok(archive.append_data(&mut header, name, content)?)
}

fn finish(archive: Builder<GzEncoder<Vec<u8>>>) -> Result<Vec<u8>, ClientError> {
    Ok(archive.into_inner()?.finish()?)
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> ClientError {
    ClientError::Usage(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read, os::unix::fs::symlink};

    use flate2::read::GzDecoder;
    use tempfile::TempDir;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    fn unpacked(package: &Package) -> BTreeMap<String, (u32, String)> {
        let mut archive = tar::Archive::new(GzDecoder::new(package.archive.as_slice()));
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            (name, (entry.header().mode().unwrap(), content))
        });
        entries.collect()
    }

    fn names(package: &Package) -> Vec<String> {
        unpacked(package).into_keys().collect()
    }

    fn refusal(template: &Path, context: Option<&Path>) -> String {
        pack(template, context).unwrap_err().to_string()
    }

    #[test]
    fn a_template_brings_its_folder_without_history_and_what_is_ignored() {
        let folder = folder(&[
            ("web.json", "{}"),
            ("scripts/setup.sh", "echo"),
            (".git/config", "x"),
            ("scripts/.git/config", "x"),
            ("notes.log", "x"),
            ("scripts/deep/notes.log", "x"),
            ("secret/key", "x"),
            ("scripts/secret/kept", "x"),
            (".fournilignore", "# not these\n*.log\n/secret/\n\n"),
        ]);
        fs::set_permissions(folder.path().join("scripts/setup.sh"), fs::Permissions::from_mode(0o700))
            .unwrap();
        let package = pack(&folder.path().join("web.json"), None).unwrap();
        assert_eq!(package.template.as_deref(), Some("web.json"));
        assert_eq!(
            names(&package),
            [
                "scripts/",
                "scripts/deep/",
                "scripts/secret/",
                "scripts/secret/kept",
                "scripts/setup.sh",
                "web.json"
            ]
        );
        assert_eq!(unpacked(&package)["scripts/setup.sh"], (0o755, "echo".to_owned()));
        assert_eq!(unpacked(&package)["web.json"].0, 0o644);
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let files = [("b.json", "{}"), ("a/x", "1"), ("a/y", "2"), ("c", "3")];
        let first = folder(&files);
        let mut reversed = files;
        reversed.reverse();
        let second = folder(&reversed);
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::File::open(second.path().join("c")).unwrap().set_modified(old).unwrap();
        let pack = |folder: &TempDir| pack(&folder.path().join("b.json"), None).unwrap().archive;
        assert_eq!(pack(&first), pack(&second));
    }

    #[test]
    fn a_wider_folder_can_be_sent_and_must_hold_the_template() {
        let folder = folder(&[("packer/web.json", "{}"), ("scripts/setup.sh", "echo")]);
        let template = folder.path().join("packer/web.json");
        let package = pack(&template, Some(folder.path())).unwrap();
        assert_eq!(package.template.as_deref(), Some("packer/web.json"));
        assert!(names(&package).contains(&"scripts/setup.sh".to_owned()));
        assert!(refusal(&template, Some(&folder.path().join("scripts"))).contains("--context"));
    }

    #[test]
    fn of_a_folder_the_server_finds_the_template() {
        let folder = folder(&[("web.pkr.hcl", "")]);
        assert_eq!(pack(folder.path(), None).unwrap().template, None);
    }

    #[test]
    fn a_link_within_the_folder_is_sent_as_its_file_and_one_out_of_it_is_refused() {
        let folder = folder(&[("web.json", "{}"), ("real", "content")]);
        symlink("real", folder.path().join("link")).unwrap();
        let template = folder.path().join("web.json");
        assert_eq!(unpacked(&pack(&template, None).unwrap())["link"].1, "content");

        symlink("/etc/hostname", folder.path().join("out")).unwrap();
        let error = refusal(&template, None);
        assert!(error.contains("out is a link to") && error.contains(IGNORE_FILE), "{error}");
        fs::write(folder.path().join(IGNORE_FILE), "out").unwrap();
        pack(&template, None).unwrap();

        symlink(".", folder.path().join("circle")).unwrap();
        assert!(refusal(&template, None).contains("circle"));
    }

    #[test]
    fn what_is_missing_or_too_large_is_named() {
        let folder = folder(&[("web.json", "{}")]);
        assert!(refusal(&folder.path().join("none.json"), None).contains("none.json"));
        fs::File::create(folder.path().join("huge.img")).unwrap().set_len(MOST_BYTES + 1).unwrap();
        let error = refusal(&folder.path().join("web.json"), None);
        assert!(error.contains("huge.img") && error.contains(IGNORE_FILE), "{error}");
    }

    #[test]
    fn a_lone_text_becomes_a_folder_of_its_own() {
        let package = pack_text(" {}").unwrap();
        assert_eq!(
            (names(&package), package.template.as_deref()),
            (vec!["template.json".to_owned()], Some("template.json"))
        );
        assert_eq!(pack_text("source \"x\" \"y\" {}").unwrap().template.as_deref(), Some("template.pkr.hcl"));
    }

    #[test]
    fn a_star_stands_for_anything_within_one_name() {
        for (pattern, text, expected) in [
            ("*.log", "a.log", true),
            ("*.log", ".log", true),
            ("a*b*c", "axxbyyc", true),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("é*", "éa", true),
            ("*", "", true),
            ("a", "ab", false),
        ] {
            assert_eq!(is_like(pattern, text), expected, "{pattern} and {text}");
        }
    }
}
