//! Key pairs: imported public keys, and pairs that are made here and handed out once.

use std::{process::Stdio, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use md5::{Digest, Md5};
use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    Call, Meta, Region, Reply, State, members,
    view::{Compare::Exact, Compare::Wildcard, Filter, Page, TAG_FILTERS, View, read},
};
use crate::{
    error::ApiError,
    requests::keypairs::{CreateKeypairRequest, DeleteKeypairRequest, ReadKeypairsRequest},
};

/// A key pair; VMs refer to it by name.
#[derive(Debug, Clone)]
pub struct Keypair {
    pub meta: Meta,
    pub id: String,
    pub name: String,
    /// `ssh-ed25519`, `ssh-rsa`, ….
    pub kind: String,
    /// MD5 in colon form.
    pub fingerprint: String,
    /// One line as in `authorized_keys`.
    pub public_key: String,
}

const FILTERS: [Filter; 7] = [
    ("KeypairFingerprints", "KeypairFingerprint", Exact),
    ("KeypairIds", "KeypairId", Exact),
    ("KeypairNames", "KeypairName", Wildcard),
    ("KeypairTypes", "KeypairType", Exact),
    TAG_FILTERS[0],
    TAG_FILTERS[1],
    TAG_FILTERS[2],
];

impl Region {
    pub async fn create_keypair(self: &Arc<Self>, request: CreateKeypairRequest, call: &Call) -> Reply {
        let name = request.keypair_name;
        if name.is_empty() || name.len() > 255 || !name.bytes().all(|byte| (32..127).contains(&byte)) {
            return Err(ApiError::new(4035, "The KeypairName must be 1 to 255 printable ASCII characters."));
        }
        self.check_keypair_name(&self.state(), &name)?;
        let (public_key, private_key) = match &request.public_key {
            Some(encoded) => (import(encoded).await?, None),
            None => {
                let (public_key, private_key) = generate(&name).await?;
                (public_key, Some(private_key))
            }
        };
        let (kind, fingerprint) = describe(&public_key)?;

        let mut state = self.state();
        // Looked at again, because another call may have taken the name while the key was made.
        self.check_keypair_name(&state, &name)?;
        state.room("keypairs", 10005, 1)?;
        let keypair = Keypair {
            meta: self.meta(&mut state, call),
            id: format!("key-{:032x}", rand::random::<u128>()),
            name,
            kind,
            fingerprint,
            public_key,
        };
        let mut answer = view(&keypair).into_answer();
        if let Some(private_key) = private_key {
            answer["PrivateKey"] = json!(private_key);
        }
        state.keypairs.insert(keypair.id.clone(), keypair);
        Ok(json!({ "Keypair": answer }))
    }

    pub async fn read_keypairs(self: &Arc<Self>, request: ReadKeypairsRequest, _call: &Call) -> Reply {
        let views = self.state().keypairs.values().filter(|pair| pair.meta.is_visible()).map(view).collect();
        let page = Page { size: request.results_per_page, token: request.next_page_token.as_deref() };
        read("Keypairs", views, &FILTERS, request.filters.as_ref(), page)
    }

    pub async fn delete_keypair(self: &Arc<Self>, request: DeleteKeypairRequest, _call: &Call) -> Reply {
        if request.keypair_id.is_none() && request.keypair_name.is_none() {
            return Err(ApiError::new(7000, "Either KeypairId or KeypairName is required."));
        }
        let mut state = self.state();
        let found = state.keypairs.values().find(|pair| {
            pair.meta.is_visible()
                && request.keypair_id.as_ref().is_none_or(|id| *id == pair.id)
                && request.keypair_name.as_ref().is_none_or(|name| *name == pair.name)
        });
        let id = found.map(|pair| pair.id.clone()).ok_or_else(|| ApiError::new(5071, ""))?;
        state.keypairs.remove(&id);
        Ok(json!({}))
    }

    fn check_keypair_name(&self, state: &State, name: &str) -> Result<(), ApiError> {
        if state.keypairs.values().any(|pair| pair.name == name) {
            return Err(ApiError::new(
                self.quirks().duplicate_keypair_code,
                format!("The KeypairName '{name}' already exists."),
            ));
        }
        Ok(())
    }
}

impl State {
    /// The key pair of a name.
    pub fn keypair_named(&self, name: &str) -> Result<&Keypair, ApiError> {
        let found = self.keypairs.values().find(|pair| pair.name == name && pair.meta.is_visible());
        found.ok_or_else(|| ApiError::new(5071, ""))
    }
}

fn view(keypair: &Keypair) -> View {
    let mut object = members(json!({
        "KeypairFingerprint": keypair.fingerprint,
        "KeypairId": keypair.id,
        "KeypairName": keypair.name,
        "KeypairType": keypair.kind,
        "Tags": keypair.meta.tags_json(),
    }));
    keypair.meta.hidden(&mut object);
    View { sequence: keypair.meta.sequence, object }
}

/// Reads an imported key: base64 of OpenSSH's one line, or of a PEM, PKCS8 or RFC 4716 block.
async fn import(encoded: &str) -> Result<String, ApiError> {
    let bad = || ApiError::new(4032, "The PublicKey is not valid.");
    let bytes = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let text = text.trim();
    if describe(text).is_ok() {
        return Ok(text.to_owned());
    }
    for form in ["PKCS8", "PEM", "RFC4716"] {
        if let Ok(converted) = ssh_keygen_import(form, text).await {
            return Ok(converted);
        }
    }
    Err(bad())
}

/// Type and fingerprint of a key in OpenSSH's form.
fn describe(public_key: &str) -> Result<(String, String), ApiError> {
    const KINDS: [&str; 5] =
        ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];
    let bad = || ApiError::new(4032, "The PublicKey is not valid.");
    let mut words = public_key.split_whitespace();
    let (kind, blob) = (words.next().ok_or_else(bad)?, words.next().ok_or_else(bad)?);
    let blob = BASE64_STANDARD.decode(blob).map_err(|_| bad())?;
    // The blob repeats the type as its first string.
    let named = blob.get(4..4 + kind.len()).is_some_and(|name| name == kind.as_bytes());
    if !KINDS.contains(&kind) || !named {
        return Err(bad());
    }
    let digest: Vec<String> = Md5::digest(&blob).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((kind.to_owned(), digest.join(":")))
}

/// Makes a pair as the cloud does: RSA with 2048 bits, the private key in PKCS#1 PEM.
async fn generate(name: &str) -> Result<(String, String), ApiError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        ApiError::internal(format!(
            "The sandbox could not make a key pair ({what}: {error}); is ssh-keygen installed?"
        ))
    };
    let folder = tempfile::tempdir().map_err(|error| failed("folder", &error))?;
    let file = folder.path().join("key");
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", name, "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed("ssh-keygen", &error))?;
    if !output.status.success() {
        return Err(failed("ssh-keygen", &String::from_utf8_lossy(&output.stderr)));
    }
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(path).map_err(|error| failed("reading the key", &error))
    };
    let private_key = read(file.clone())?;
    let public_key = read(file.with_extension("pub"))?;
    Ok((public_key.trim().to_owned(), private_key))
}

async fn ssh_keygen_import(form: &str, text: &str) -> std::io::Result<String> {
    let mut child = Command::new("ssh-keygen")
        .args(["-i", "-m", form, "-f", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).await?;
        stdin.write_all(b"\n").await?;
    }
    let output = child.wait_with_output().await?;
    let converted = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && describe(&converted).is_ok() {
        Ok(converted)
    } else {
        Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "not a public key"))
    }
}

/// The filters of ReadKeypairs, for the test that holds them to the request.
#[cfg(test)]
pub fn filters() -> (&'static str, Vec<Filter>) {
    ("ReadKeypairs", FILTERS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7fZ0yXK4o4bqv7ZLpXW2lOKY1N8qf2b1yH0bQd3d5k somebody@example";

    #[test]
    fn an_openssh_key_has_a_type_and_a_colon_fingerprint() {
        let (kind, fingerprint) = describe(ED25519).unwrap();
        assert_eq!(kind, "ssh-ed25519");
        assert_eq!(fingerprint.split(':').count(), 16);
        assert_eq!(describe("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA").unwrap_err().code, 4032);
        assert_eq!(describe("nonsense").unwrap_err().code, 4032);
    }

    #[tokio::test]
    async fn an_import_takes_openssh_and_pem_keys() {
        assert_eq!(import(&BASE64_STANDARD.encode(ED25519)).await.unwrap(), ED25519);
        let Ok((public_key, _)) = generate("test").await else {
            println!("skipped: no ssh-keygen on this machine");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pub");
        std::fs::write(&file, &public_key).unwrap();
        for form in ["PKCS8", "PEM", "RFC4716"] {
            let output = std::process::Command::new("ssh-keygen")
                .args(["-e", "-m", form, "-f"])
                .arg(&file)
                .output()
                .unwrap();
            let imported = import(&BASE64_STANDARD.encode(output.stdout)).await.unwrap();
            assert_eq!(describe(&imported).unwrap(), describe(&public_key).unwrap(), "{form}");
        }
        assert_eq!(import("bm9uc2Vuc2U=").await.unwrap_err().code, 4032);
    }

    #[tokio::test]
    async fn a_pair_made_here_is_rsa_in_pkcs1() {
        let Ok((public_key, private_key)) = generate("test").await else {
            println!("skipped: no ssh-keygen on this machine");
            return;
        };
        assert!(private_key.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        assert_eq!(describe(&public_key).unwrap().0, "ssh-rsa");
    }
}
