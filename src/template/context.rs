//! The folder that came with a template: scripts, files, keys. It is taken from a tar archive that nobody trusts, is
//! kept as a map in memory, and is written out again as a normalised archive or into a worker's private folder.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use flate2::{Compression, GzBuilder, read::MultiGzDecoder};
use tar::{Archive, EntryType, Header};

use super::{
    envelope::shorten,
    json::{looks_like_template, mentions_builders},
    request::{FolderSource, TemplateSource, is_hcl2_path},
};
use crate::domain::Problem;

/// How much an archive may hold.
#[derive(Debug, Clone)]
pub struct ContextLimits {
    /// Bytes of all files together, and of the unpacked archive with its headers.
    pub max_bytes: u64,
    /// Files and folders.
    pub max_files: usize,
    /// Bytes of a path.
    pub max_path: usize,
    /// Folders in a path.
    pub max_depth: usize,
}

impl Default for ContextLimits {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, max_files: 2000, max_path: 512, max_depth: 32 }
    }
}

/// An uploaded folder. Paths are relative, normalised (`scripts/setup.sh`), and never leave it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ContextFolder {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, PartialEq, Eq)]
enum Entry {
    Folder,
    File { data: Vec<u8>, executable: bool },
}

impl ContextFolder {
    /// Reads a tar or tar.gz archive; which of the two is seen from its first bytes.
    ///
    /// # Errors
    /// 422 `invalid_archive`: a path that leaves the folder, a link, a device, a file given twice, a name that is no
    /// UTF-8, damage. 413 `archive_too_large`: more bytes, files or longer paths than allowed.
    pub fn from_archive(bytes: &[u8], limits: &ContextLimits) -> Result<Self, Problem> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            Self::from_tar(MultiGzDecoder::new(bytes), limits)
        } else {
            Self::from_tar(bytes, limits)
        }
    }

    fn from_tar(reader: impl Read, limits: &ContextLimits) -> Result<Self, Problem> {
        // Headers count too: an archive of a million empty entries is small when packed.
        let budget =
            limits.max_bytes.saturating_add(limits.max_files as u64 * 4096).saturating_add(64 * 1024);
        let mut archive = Archive::new(Bounded { inner: reader, left: budget });
        let mut folder = Self::default();
        let mut total = 0_u64;
        let mut count = 0_usize;
        for entry in archive.entries().map_err(|error| unreadable(&error))? {
            let mut entry = entry.map_err(|error| unreadable(&error))?;
            count += 1;
            if count > limits.max_files {
                return Err(too_large(format!(
                    "The archive holds more than {} files and folders.",
                    limits.max_files
                )));
            }
            if entry.header().entry_type() == EntryType::XGlobalHeader {
                continue; // `git archive` writes one, with the commit's id.
            }
            let raw = entry.path_bytes().into_owned();
            let path = entry_path(&raw, limits)?;
            let kind = entry.header().entry_type();
            match kind {
                EntryType::Directory => {
                    if path.is_empty() {
                        continue;
                    }
                    if matches!(folder.entries.get(&path), Some(Entry::File { .. })) {
                        return Err(twice(&path));
                    }
                    folder.insert(path, Entry::Folder, limits)?;
                }
                EntryType::Regular | EntryType::Continuous => {
                    if path.is_empty() {
                        return Err(refused("an entry has an empty name"));
                    }
                    if folder.entries.contains_key(&path) {
                        return Err(twice(&path));
                    }
                    let executable = entry.header().mode().unwrap_or(0o644) & 0o111 != 0;
                    // The size that the header announces is not believed: memory grows with what is really read.
                    let mut data = Vec::new();
                    let allowed = limits.max_bytes - total;
                    (&mut entry)
                        .take(allowed + 1)
                        .read_to_end(&mut data)
                        .map_err(|error| unreadable(&error))?;
                    if data.len() as u64 > allowed {
                        return Err(too_large(format!(
                            "The files in the archive are larger than {} bytes together.",
                            limits.max_bytes
                        )));
                    }
                    total += data.len() as u64;
                    folder.insert(path, Entry::File { data, executable }, limits)?;
                }
                other => {
                    return Err(refused(&format!(
                        "`{path}` is {}; {}",
                        kind_name(other),
                        kind_advice(other)
                    )));
                }
            }
        }
        // The archive's own end comes before that of the packing, which is where gzip tells whether anything was damaged.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink()).map_err(|error| unreadable(&error))?;
        if count == 0 {
            return Err(refused("it holds no files; send a tar or tar.gz of the template's folder"));
        }
        Ok(folder)
    }

    /// Adds an entry and the folders above it.
    fn insert(&mut self, path: String, entry: Entry, limits: &ContextLimits) -> Result<(), Problem> {
        for (index, _) in path.match_indices('/') {
            match self.entries.get(&path[..index]) {
                Some(Entry::Folder) => {}
                Some(Entry::File { .. }) => {
                    return Err(refused(&format!("`{}` is a file and a folder at once", &path[..index])));
                }
                None => {
                    self.entries.insert(path[..index].to_owned(), Entry::Folder);
                }
            }
        }
        self.entries.insert(path, entry);
        // Folders that are only implied count as well: the normalised archive holds them, and must be readable again.
        if self.entries.len() > limits.max_files {
            return Err(too_large(format!(
                "The archive holds more than {} files and folders.",
                limits.max_files
            )));
        }
        Ok(())
    }

    /// A folder of these files, for requests that are made by a program.
    #[must_use]
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8], bool)>) -> Self {
        let mut folder = Self::default();
        for (path, data, executable) in files {
            let path = normalise(path).unwrap_or_default();
            for (index, _) in path.match_indices('/') {
                folder.entries.entry(path[..index].to_owned()).or_insert(Entry::Folder);
            }
            if !path.is_empty() {
                folder.entries.insert(path, Entry::File { data: data.to_vec(), executable });
            }
        }
        folder
    }

    /// The content of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        match self.entries.get(&normalise(path)?)? {
            Entry::File { data, .. } => Some(data),
            Entry::Folder => None,
        }
    }

    /// Whether there is a file or folder of this path.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        normalise(path).is_some_and(|path| path.is_empty() || self.entries.contains_key(&path))
    }

    /// Whether there is a folder of this path.
    #[must_use]
    pub fn is_dir(&self, path: &str) -> bool {
        normalise(path).is_some_and(|path| path.is_empty() || self.entries.get(&path) == Some(&Entry::Folder))
    }

    /// The paths of all files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::File { .. }))
            .map(|(path, _)| path.as_str())
    }

    /// The template of the folder, and the path of its file: the file or the HCL2 folder asked for, else what is at the
    /// top, which is the only `*.json` that has `builders`, or all HCL2 files together.
    ///
    /// # Errors
    /// 422 `template_not_found` or `template_ambiguous`, naming what was found.
    pub fn find_template(&self, asked: Option<&str>) -> Result<(TemplateSource, Option<String>), Problem> {
        let path = normalise(asked.unwrap_or_default());
        let Some(path) = path.filter(|path| self.exists(path)) else {
            let asked = asked.unwrap_or_default();
            return Err(not_found(format!("The folder has no file `{}`.", shorten(asked))));
        };
        if !self.is_dir(&path) {
            return self.template_file(&path);
        }
        let here: Vec<&str> = self.files_in(&path).collect();
        let hcl2: Vec<&str> = here.iter().copied().filter(|path| is_hcl2_path(path)).collect();
        // As in Packer, a folder that is named is an HCL2 template, whatever else is in it.
        if asked.is_some() && !hcl2.is_empty() {
            return Ok((TemplateSource::Folder(FolderSource { hcl2_folder: path }), None));
        }
        let legacy = |is_one: fn(&[u8]) -> bool| {
            let is_json = |path: &&&str| path.ends_with(".json") && !is_hcl2_path(path);
            let files = here.iter().filter(is_json).filter(|path| self.get(path).is_some_and(is_one));
            files.copied().collect::<Vec<_>>()
        };
        let whole = legacy(looks_like_template);
        // A template with a syntax error must lead to that error, not to "no template".
        let found = if whole.is_empty() && hcl2.is_empty() { legacy(mentions_builders) } else { whole };
        let place = if path.is_empty() { "The top of the folder".to_owned() } else { format!("`{path}`") };
        match (found.as_slice(), hcl2.is_empty()) {
            ([file], true) => self.template_file(file),
            ([], false) => Ok((TemplateSource::Folder(FolderSource { hcl2_folder: path }), None)),
            ([], true) => Err(not_found(format!(
                "{place} has neither a JSON file with `builders` nor a file `*.pkr.hcl` or `*.pkr.json`. Name the \
                 template with `template_path`, or `?template=PATH`."
            ))),
            (several, _) => {
                let names: Vec<&str> = several.iter().chain(&hcl2).copied().collect();
                let of_two_kinds =
                    if hcl2.is_empty() { "" } else { " The HCL2 files are one template, whose path is `.`." };
                Err(Problem::new(
                    422,
                    "template_ambiguous",
                    "The folder has several templates",
                    format!(
                        "{place} has several templates ({}). Choose one with `template_path`, or \
                         `?template=PATH`.{of_two_kinds}",
                        names.join(", ")
                    ),
                ))
            }
        }
    }

    /// The paths of the files of a folder, without those of folders in it, in order.
    pub fn files_in<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        self.files().filter(move |path| path.rsplit_once('/').map_or("", |(parent, _)| parent) == folder)
    }

    fn template_file(&self, path: &str) -> Result<(TemplateSource, Option<String>), Problem> {
        let data = self.get(path).unwrap_or_default();
        let text = String::from_utf8(data.to_vec()).map_err(|_| {
            let detail = format!("The template `{path}` is not UTF-8.");
            if is_hcl2_path(path) {
                Problem::new(422, "invalid_template", "The template is not valid", detail)
            } else {
                Problem::new(422, "invalid_json", "Not valid JSON", detail)
            }
        })?;
        Ok((TemplateSource::Text(text), Some(path.to_owned())))
    }

    /// The folder as tar.gz. The same content always gives the same bytes, whatever order, owners and times the
    /// uploaded archive had, so that its digest is one of the content.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "writing to memory does not fail, and paths were bounded when they were read"
    )]
    pub fn to_archive(&self) -> Vec<u8> {
        let packer =
            GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::default());
        let mut builder = tar::Builder::new(packer);
        for (path, entry) in &self.entries {
            let mut header = Header::new_gnu();
            header.set_mtime(0);
            match entry {
                Entry::Folder => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    builder.append_data(&mut header, format!("{path}/"), io::empty()).expect("memory");
                }
                Entry::File { data, executable } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(if *executable { 0o755 } else { 0o644 });
                    header.set_size(data.len() as u64);
                    builder.append_data(&mut header, path, data.as_slice()).expect("memory");
                }
            }
        }
        builder.into_inner().and_then(flate2::write::GzEncoder::finish).expect("memory")
    }

    /// Writes the folder into `dir`, which must exist and be private to the worker: nobody else gets into it. The modes
    /// inside are the usual ones, with or without the executable bit, since they go with the files into the VM. An
    /// existing file is never overwritten or followed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn unpack_into(&self, dir: &Path) -> io::Result<()> {
        for (path, entry) in &self.entries {
            let target = dir.join(path);
            match entry {
                Entry::Folder => {
                    fs::DirBuilder::new().mode(0o700).create(&target)?;
                    fs::set_permissions(&target, fs::Permissions::from_mode(0o755))?;
                }
                Entry::File { data, executable } => {
                    let mut file =
                        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
                    file.write_all(data)?;
                    // Not left to the process's umask.
                    file.set_permissions(fs::Permissions::from_mode(if *executable {
                        0o755
                    } else {
                        0o644
                    }))?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ContextFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.entries.keys()).finish()
    }
}

/// A relative path without `.`, `..` and double slashes; `None` if it is absolute or leaves the folder. The folder
/// itself is the empty path.
#[must_use]
pub fn normalise(path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path of an archive's entry. Unlike a path in a template it may not hold `..` at all.
fn entry_path(raw: &[u8], limits: &ContextLimits) -> Result<String, Problem> {
    let shown = String::from_utf8_lossy(raw);
    if raw.len() > limits.max_path {
        return Err(too_large(format!("A path in the archive is longer than {} bytes.", limits.max_path)));
    }
    let path = std::str::from_utf8(raw).map_err(|_| refused(&format!("the name `{shown}` is not UTF-8")))?;
    if path.starts_with('/') {
        return Err(refused(&format!("`{path}` is an absolute path")));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(refused(&format!("`{path}` leaves the folder")));
    }
    if path.chars().any(char::is_control) || path.contains('\\') {
        return Err(refused(&format!(
            "`{}` has a control character or a backslash in its name",
            path.escape_debug()
        )));
    }
    let path = normalise(path).ok_or_else(|| refused(&format!("`{path}` leaves the folder")))?;
    if path.matches('/').count() >= limits.max_depth {
        return Err(too_large(format!("A path in the archive is deeper than {} folders.", limits.max_depth)));
    }
    if path.split('/').any(|part| part.len() > 255) {
        return Err(too_large("A name in the archive is longer than 255 bytes.".to_owned()));
    }
    Ok(path)
}

/// Stops reading at a number of bytes, so that a bomb costs no more than what is allowed.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(TooLarge));
        }
        let allowed = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..allowed])?;
        self.left -= read as u64;
        Ok(read)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the unpacked archive is too large")]
struct TooLarge;

fn unreadable(error: &io::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let is_bound = error.is::<TooLarge>()
            || error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .is_some_and(<dyn std::error::Error + Send + Sync>::is::<TooLarge>);
        if is_bound {
            return too_large("The unpacked archive is larger than allowed.".to_owned());
        }
        cause = error.source();
    }
    refused(&format!("it cannot be read ({error}); send a tar or tar.gz"))
}

fn refused(why: &str) -> Problem {
    Problem::new(
        422,
        "invalid_archive",
        "The archive is not usable",
        format!("The archive is refused: {why}."),
    )
}

fn twice(path: &str) -> Problem {
    refused(&format!("`{path}` is in it twice"))
}

fn too_large(detail: String) -> Problem {
    Problem::new(413, "archive_too_large", "The archive is too large", detail)
}

fn not_found(detail: String) -> Problem {
    Problem::new(422, "template_not_found", "No template in the folder", detail)
}

const fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "a symbolic link",
        EntryType::Link => "a hard link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        _ => "an entry of a kind that is not allowed",
    }
}

const fn kind_advice(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink | EntryType::Link => {
            "pack the file itself (`tar --dereference --hard-dereference`)"
        }
        _ => "only files and folders can be sent",
    }
}

#[cfg(test)]
#[path = "context_tests.rs"]
mod tests;
