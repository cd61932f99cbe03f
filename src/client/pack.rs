//! Packs the folder of a template. The same files give the same bytes, whenever and by whomever they are packed, so that
//! the server can tell that it has them already.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use tar::{Builder, EntryType, Header};

use super::{ClientError, sources::Sources};
use crate::template::{is_hcl2, is_hcl2_path};

/// Never sent: history and downloads, which are large and of no use there.
const ALWAYS_IGNORED: &[&str] = &[".git", ".hg", ".svn", "packer_cache", IGNORE_FILE, OWN_FOLDER];

/// Where in the archive files are put that lie elsewhere.
const OWN_FOLDER: &str = ".fournil";

/// The largest file of variables, or template on standard input.
pub const LARGEST_TEXT: u64 = 4 * 1024 * 1024;

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
    /// Where the files of variables are in it, in order.
    pub variable_files: Vec<String>,
    /// The files that are or may be the template, and the files of variables: paths and texts.
    pub texts: Vec<(String, String)>,
    /// Where on this machine it all came from.
    pub sources: Sources,
}

/// Packs what `template` needs: its folder, or `context` if given, and the files of variables, wherever they are.
///
/// # Errors
/// Something is missing, unreadable, too large, or a link that leads out of the folder.
pub fn pack(
    template: &Path,
    context: Option<&Path>,
    variable_files: &[PathBuf],
) -> Result<Package, ClientError> {
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
    let inside = in_archive(inside)?;

    let mut found = Found { root: &root, ignored: Ignored::read(&root)?, entries: Vec::new(), bytes: 0 };
    found.walk(&root)?;
    let mut entries = found.entries;
    let beside = |name: &str| name.rsplit_once('/').map_or("", |(parent, _)| parent) == inside;
    let is_template = |name: &str| match is_folder {
        true => beside(name) && (is_hcl2_path(name) || name.ends_with(".json")),
        false => name == inside,
    };
    let templates = entries.iter().filter(|(name, _)| is_template(name));
    let mut texts = templates.filter_map(text_of).collect::<Vec<_>>();
    // A folder that holds HCL2 is named, so that it is taken for that whatever else is in it, as Packer does.
    let is_named = !is_folder || !inside.is_empty() || texts.iter().any(|(name, _)| is_hcl2_path(name));
    let name = if inside.is_empty() { ".".to_owned() } else { inside };
    let mut others = Others::default();
    let variable_files = others.variable_files(variable_files, &entries, &mut texts)?;
    entries.extend(others.entries);
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    Ok(Package {
        archive: write(&entries)?,
        template: is_named.then_some(name),
        variable_files,
        texts,
        sources: Sources { root: folder.to_owned(), others: others.shown },
    })
}

fn text_of((name, content): &Entry) -> Option<(String, String)> {
    match content {
        Content::File(path) => {
            let is_small = fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LARGEST_TEXT);
            let data = is_small.then(|| fs::read(path).ok())??;
            Some((name.clone(), String::from_utf8_lossy(&data).into_owned()))
        }
        Content::Folder | Content::Text(_) => None,
    }
}

/// Files from outside the folder.
#[derive(Default)]
struct Others {
    entries: Vec<Entry>,
    shown: Vec<(String, String, String)>,
}

impl Others {
    /// Where the files of variables are in the archive; those that the folder has not are added to it.
    fn variable_files(
        &mut self,
        files: &[PathBuf],
        sent: &[Entry],
        texts: &mut Vec<(String, String)>,
    ) -> Result<Vec<String>, ClientError> {
        let mut names = Vec::new();
        for (index, path) in files.iter().enumerate() {
            let is_it = |content: &Content| match content {
                Content::File(source) => path.canonicalize().is_ok_and(|path| path == *source),
                Content::Folder | Content::Text(_) => false,
            };
            if let Some(entry) = sent.iter().find(|(_, content)| is_it(content)) {
                texts.extend(text_of(entry));
                names.push(entry.0.clone());
                continue;
            }
            let data = read_small(path)?;
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("variables");
            let name = format!("{OWN_FOLDER}/var-files/{}-{name}", index + 1);
            let text = String::from_utf8_lossy(&data).into_owned();
            texts.push((name.clone(), text.clone()));
            self.shown.push((name.clone(), path.display().to_string(), text));
            self.entries.push((name.clone(), Content::Text(data)));
            names.push(name);
        }
        Ok(names)
    }
}

/// Reads a file that may be a pipe, as of `-var-file <(…)`.
fn read_small(path: &Path) -> Result<Vec<u8>, ClientError> {
    let unreadable = |error: io::Error| cannot("read the variable file", path, &error);
    let mut data = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(LARGEST_TEXT + 1).read_to_end(&mut data))
        .map_err(unreadable)?;
    if data.len() as u64 > LARGEST_TEXT {
        let most = LARGEST_TEXT >> 20;
        return Err(ClientError::Usage(format!(
            "the variable file {} is larger than {most} MiB",
            path.display()
        )));
    }
    Ok(data)
}

/// Packs a template that came by itself, and the files of variables.
///
/// # Errors
/// A file of variables cannot be read.
pub fn pack_text(text: &str, variable_files: &[PathBuf]) -> Result<Package, ClientError> {
    let name = if is_hcl2(None, text) { "template.pkr.hcl" } else { "template.json" };
    let mut texts = vec![(name.to_owned(), text.to_owned())];
    let mut others = Others::default();
    let variable_files = others.variable_files(variable_files, &[], &mut texts)?;
    others.entries.push((name.to_owned(), Content::Text(text.as_bytes().to_vec())));
    others.shown.push((name.to_owned(), "<standard input>".to_owned(), text.to_owned()));
    Ok(Package {
        archive: write(&others.entries)?,
        template: Some(name.to_owned()),
        variable_files,
        texts,
        sources: Sources { root: PathBuf::new(), others: others.shown },
    })
}

/// A path in the archive, and what is there.
type Entry = (String, Content);

enum Content {
    Folder,
    File(PathBuf),
    Text(Vec<u8>),
}

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
                self.entries.push((name, Content::Folder));
                self.walk(&path)?;
            } else if metadata.is_file() {
                self.bytes += metadata.len();
                self.entries.push((name, Content::File(target)));
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
            Content::Folder => append(&mut archive, &format!("{name}/"), EntryType::Directory, 0o755, &[])?,
            Content::Text(data) => append(&mut archive, name, EntryType::Regular, 0o644, data)?,
            Content::File(path) => {
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
        pack(template, context, &[]).unwrap_err().to_string()
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
        let package = pack(&folder.path().join("web.json"), None, &[]).unwrap();
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
        let pack = |folder: &TempDir| pack(&folder.path().join("b.json"), None, &[]).unwrap().archive;
        assert_eq!(pack(&first), pack(&second));
    }

    #[test]
    fn a_wider_folder_can_be_sent_and_must_hold_the_template() {
        let folder = folder(&[("packer/web.json", "{}"), ("scripts/setup.sh", "echo")]);
        let template = folder.path().join("packer/web.json");
        let package = pack(&template, Some(folder.path()), &[]).unwrap();
        assert_eq!(package.template.as_deref(), Some("packer/web.json"));
        assert!(names(&package).contains(&"scripts/setup.sh".to_owned()));
        assert!(refusal(&template, Some(&folder.path().join("scripts"))).contains("--context"));
    }

    #[test]
    fn a_folder_of_hcl2_is_the_template_and_in_another_the_server_finds_it() {
        let folder = folder(&[
            ("hcl/a.pkr.hcl", "env(\"A\")"),
            ("hcl/b.pkr.json", "{}"),
            ("hcl/c.json", "x"),
            ("hcl/sub/d.pkr.hcl", ""),
            ("json/web.json", "{}"),
        ]);
        let pack =
            |path: &str, context: Option<&Path>| pack(&folder.path().join(path), context, &[]).unwrap();
        let package = pack("hcl", None);
        assert_eq!(package.template.as_deref(), Some("."));
        let names: Vec<_> = package.texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.pkr.hcl", "b.pkr.json", "c.json"]);
        assert_eq!(pack("hcl", Some(folder.path())).template.as_deref(), Some("hcl"));
        assert_eq!(pack("json", None).template, None);
        assert_eq!(pack("hcl/a.pkr.hcl", None).texts, [("a.pkr.hcl".to_owned(), "env(\"A\")".to_owned())]);
    }

    #[test]
    fn variable_files_are_named_in_the_folder_or_brought_into_it() {
        let folder = folder(&[
            ("images/web.json", "{}"),
            ("images/vars/a.json", "{\"a\": 1}"),
            ("images/hidden.json", "{}"),
            ("images/.fournilignore", "hidden.json"),
            ("b.pkrvars.hcl", "b = 1"),
        ]);
        let at = |path: &str| folder.path().join(path);
        let files = [at("b.pkrvars.hcl"), at("images/../images/vars/a.json"), at("images/hidden.json")];
        let package = pack(&at("images/web.json"), None, &files).unwrap();
        let expected =
            [".fournil/var-files/1-b.pkrvars.hcl", "vars/a.json", ".fournil/var-files/3-hidden.json"];
        assert_eq!(package.variable_files, expected);
        assert_eq!(unpacked(&package)[expected[0]].1, "b = 1");
        assert!(package.texts.contains(&("vars/a.json".to_owned(), "{\"a\": 1}".to_owned())));
        let package = pack_text("{}", &files[..1]).unwrap();
        assert_eq!(names(&package), [expected[0], "template.json"]);
        assert!(pack_text("{}", &[at("none.json")]).unwrap_err().to_string().contains("none.json"));
    }

    #[test]
    fn a_link_within_the_folder_is_sent_as_its_file_and_one_out_of_it_is_refused() {
        let folder = folder(&[("web.json", "{}"), ("real", "content")]);
        symlink("real", folder.path().join("link")).unwrap();
        let template = folder.path().join("web.json");
        assert_eq!(unpacked(&pack(&template, None, &[]).unwrap())["link"].1, "content");

        symlink("/etc/hostname", folder.path().join("out")).unwrap();
        let error = refusal(&template, None);
        assert!(error.contains("out is a link to") && error.contains(IGNORE_FILE), "{error}");
        fs::write(folder.path().join(IGNORE_FILE), "out").unwrap();
        pack(&template, None, &[]).unwrap();

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
        let package = pack_text(" {}", &[]).unwrap();
        assert_eq!(
            (names(&package), package.template.as_deref()),
            (vec!["template.json".to_owned()], Some("template.json"))
        );
        assert_eq!(
            pack_text("source \"x\" \"y\" {}", &[]).unwrap().template.as_deref(),
            Some("template.pkr.hcl")
        );
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
