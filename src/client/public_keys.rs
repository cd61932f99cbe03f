//! The public keys of whoever asks for a build whose VM may be held or kept after an error.

use std::{fs, path::PathBuf};

use super::ClientError;

/// Files that `ssh-keygen` writes by itself.
const USUAL: [&str; 3] = ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"];

/// The keys in these files; without files those in `~/.ssh`, if there is a use for them.
pub fn public_keys(files: &[PathBuf], on_error: Option<&str>) -> Result<Vec<String>, ClientError> {
    let mut keys = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(|error| {
            ClientError::Usage(format!("`--authorized-keys {}` cannot be read: {error}", file.display()))
        })?;
        keys.extend(lines(&text));
    }
    if files.is_empty() && on_error.is_some_and(|action| action != "cleanup") {
        let folder = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ssh"));
        let texts = USUAL.iter().filter_map(|name| fs::read_to_string(folder.as_ref()?.join(name)).ok());
        keys.extend(texts.flat_map(|text| lines(&text)));
    }
    Ok(keys)
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}
