//! What this machine was told about the network that it is in, for images whose VMs are in the same one: certificates of
//! a company's own authority, proxies, package mirrors of pip.

use std::{fmt::Write as _, fs, io, path::Path};

const AUTHORITIES: &str = "/usr/local/share/ca-certificates";
const APT: &str = "/etc/apt/apt.conf.d";
const PIP: &str = "/etc/pip.conf";
/// In both spellings; programs differ in which they read.
const PROXIES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
];

/// Files, by path in the image, and whether there is a certificate among them.
pub(super) struct HostSettings {
    pub files: Vec<(String, String)>,
    pub has_authorities: bool,
}

/// Reads them.
pub(super) fn settings() -> io::Result<HostSettings> {
    let authorities = texts_in(AUTHORITIES, |name, _text| name.ends_with(".crt"))?;
    let has_authorities = !authorities.is_empty();
    let mut files = authorities;
    files.extend(texts_in(APT, |_name, text| text.to_ascii_lowercase().contains("proxy"))?);
    if let Ok(text) = fs::read_to_string(PIP) {
        files.push((inside(PIP), text));
    }
    if let Some(environment) = environment(|name| std::env::var(name).ok()) {
        files.push(("etc/environment".to_owned(), environment));
    }
    files.sort();
    Ok(HostSettings { files, has_authorities })
}

fn texts_in(folder: &str, is_wanted: impl Fn(&str, &str) -> bool) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    if !Path::new(folder).is_dir() {
        return Ok(files);
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Folders, and what is no text, are nobody's settings.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if is_wanted(&name, &text) {
            files.push((inside(&path.to_string_lossy()), text));
        }
    }
    Ok(files)
}

fn inside(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// The proxies as `/etc/environment` has them.
fn environment(value_of: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut text = String::new();
    for name in PROXIES {
        if let Some(value) = value_of(name).filter(|value| !value.is_empty() && !value.contains(['"', '\n']))
        {
            let _ = writeln!(text, "{name}=\"{value}\"");
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_written_down() {
        let value_of = |name: &str| (name == "http_proxy").then(|| "http://proxy:3128".to_owned());
        assert_eq!(environment(value_of).as_deref(), Some("http_proxy=\"http://proxy:3128\"\n"));
        assert_eq!(environment(|_| Some("a\"\nb".to_owned())), None);
    }

    #[test]
    fn only_what_is_asked_for_is_taken_from_a_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("a.crt"), "A").expect("written");
        fs::write(folder.path().join("b.pem"), "B").expect("written");
        let found =
            texts_in(&folder.path().to_string_lossy(), |name, _| name.ends_with(".crt")).expect("read");
        assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["A"]);
        assert!(found[0].0.ends_with("/a.crt") && !found[0].0.starts_with('/'));
        assert!(texts_in("/nonexistent", |_, _| true).expect("nothing").is_empty());
    }
}
