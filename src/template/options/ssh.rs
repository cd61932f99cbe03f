//! How to get into the VM.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::SecretString;

use super::{fields::Fields, files};
use crate::{
    domain::plan::{BastionPlan, Communicator, FileTransfer, KeyType, SshInterface, SshPlan},
    template::{envelope::shorten, suggest::or_did_you_mean},
};

/// How long to try to get in; the OUTSCALE plugin's own, twice that of Packer.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Packer's.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Reads the options of the communicator. All are read whatever the kind, so that mistakes in them are found.
pub fn communicator(fields: &Fields<'_>) -> Communicator {
    let kind = fields.filled("communicator").unwrap_or_else(|| "ssh".to_owned());
    let ssh = ssh(fields, kind == "ssh");
    match kind.as_str() {
        "ssh" => Communicator::Ssh(Box::new(ssh)),
        "none" => Communicator::None,
        "winrm" => {
            fields.fail_not_yet(
                "communicator",
                "the communicator `winrm` is not supported yet; `ssh` and `none` are",
            );
            Communicator::None
        }
        other => {
            let hint = or_did_you_mean(other, ["ssh", "none", "winrm"], "use `ssh` or `none`");
            fields.fail(
                "communicator",
                format!("there is no communicator `{}` for this builder; {hint}", shorten(other)),
            );
            Communicator::None
        }
    }
}

fn ssh(fields: &Fields<'_>, is_used: bool) -> SshPlan {
    let username = fields.text("ssh_username").unwrap_or_default();
    if username.is_empty() && is_used {
        fields.fail("ssh_username", "`ssh_username` is missing, such as `outscale`");
    }
    let password = fields.secret("ssh_password");
    let private_key = private_key(fields, "ssh_private_key_file");
    let keypair_name = fields.filled("ssh_keypair_name");
    if keypair_name.is_some() && !fields.has("ssh_private_key_file") && is_used {
        fields.fail(
            "ssh_keypair_name",
            "`ssh_keypair_name` needs `ssh_private_key_file`: the private key of that key pair, in the template's folder",
        );
    }
    let certificate = files::text(fields, "ssh_certificate_file");
    if certificate.is_some() && !fields.has("ssh_private_key_file") {
        fields.fail("ssh_certificate_file", "`ssh_certificate_file` needs `ssh_private_key_file`");
    }
    let interface = match fields
        .word("ssh_interface", &["public_ip", "private_ip", "public_dns", "private_dns"])
        .as_deref()
    {
        Some("public_ip") => SshInterface::PublicIp,
        Some("private_ip") => SshInterface::PrivateIp,
        Some("public_dns") => SshInterface::PublicDns,
        Some("private_dns") => SshInterface::PrivateDns,
        _ => SshInterface::Automatic,
    };
    let file_transfer = match fields.word("ssh_file_transfer_method", &["scp", "sftp"]).as_deref() {
        Some("sftp") => FileTransfer::Sftp,
        _ => FileTransfer::Scp,
    };
    let temporary_key_pair_type =
        match fields.word("temporary_key_pair_type", &["ed25519", "ecdsa", "rsa"]).as_deref() {
            Some("rsa") => KeyType::Rsa,
            Some("ecdsa") => KeyType::Ecdsa,
            _ => KeyType::Ed25519,
        };
    SshPlan {
        username,
        port: port(fields, "ssh_port"),
        bastion: bastion(fields, private_key.is_some()),
        password: password.map(SecretString::from),
        keypair_name,
        private_key: private_key.map(SecretString::from),
        certificate,
        temporary_key_pair_name: fields.filled("temporary_key_pair_name"),
        temporary_key_pair_type,
        clear_authorized_keys: fields.is_on("ssh_clear_authorized_keys"),
        timeout: timeout(fields),
        handshake_attempts: fields
            .whole("ssh_handshake_attempts", 0..=i64::from(u32::MAX))
            .and_then(|attempts| u32::try_from(attempts).ok())
            .unwrap_or_default(),
        interface,
        pty: fields.is_on("ssh_pty"),
        keep_alive_interval: fields.duration_or_off("ssh_keep_alive_interval").unwrap_or(KEEP_ALIVE),
        read_write_timeout: fields.duration_or_off("ssh_read_write_timeout").unwrap_or_default(),
        file_transfer,
        ciphers: fields.texts("ssh_ciphers").unwrap_or_default(),
        key_exchange_algorithms: fields.texts("ssh_key_exchange_algorithms").unwrap_or_default(),
        pause_before_connecting: fields.duration("pause_before_connecting").unwrap_or_default(),
    }
}

fn timeout(fields: &Fields<'_>) -> Duration {
    let new = fields.duration("ssh_timeout");
    let old = fields.duration("ssh_wait_timeout");
    if old.is_some() {
        let text = if new.is_some() {
            "is the old name of `ssh_timeout` and wins over it"
        } else {
            "is the old name of `ssh_timeout`; both work"
        };
        fields.notice("ssh_wait_timeout", text);
    }
    // Packer takes zero as absent.
    old.or(new).filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT)
}

fn port(fields: &Fields<'_>, name: &'static str) -> u16 {
    let port = fields.whole(name, 0..=65_535).filter(|port| *port != 0);
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(22)
}

fn bastion(fields: &Fields<'_>, has_own_key: bool) -> Option<BastionPlan> {
    let host = fields.filled("ssh_bastion_host");
    let port = port(fields, "ssh_bastion_port");
    let username = fields.filled("ssh_bastion_username");
    let password = fields.secret("ssh_bastion_password");
    let private_key = private_key(fields, "ssh_bastion_private_key_file");
    let Some(host) = host else {
        for name in ["ssh_bastion_username", "ssh_bastion_password", "ssh_bastion_private_key_file"] {
            if fields.has(name) {
                fields.notice(name, "has no effect without `ssh_bastion_host`");
            }
        }
        return None;
    };
    let Some(username) = username else {
        fields.fail("ssh_bastion_host", "`ssh_bastion_host` needs `ssh_bastion_username`");
        return None;
    };
    if password.is_none() && !fields.has("ssh_bastion_private_key_file") && !has_own_key {
        fields.fail(
            "ssh_bastion_host",
            "`ssh_bastion_host` needs `ssh_bastion_password`, `ssh_bastion_private_key_file` or `ssh_private_key_file`: the bastion does not know a temporary key",
        );
    }
    Some(BastionPlan {
        host,
        port,
        username,
        password: password.map(SecretString::from),
        private_key: private_key.map(SecretString::from),
    })
}

/// The text of a key file.
pub(super) fn private_key(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    let text = files::text(fields, name)?;
    fields.reading.keep_secret(&text);
    let begin = text
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("-----BEGIN ") && line.ends_with("PRIVATE KEY-----"));
    if begin.is_none() {
        fields.fail(
            name,
            format!(
                "`{name}`: the file holds no private key (it has no line `-----BEGIN … PRIVATE KEY-----`)"
            ),
        );
        return None;
    }
    if is_encrypted(&text) {
        fields.fail(
            name,
            format!("`{name}`: the key has a passphrase, which nobody could type; send a key without one"),
        );
        return None;
    }
    Some(text)
}

/// Whether the key has a passphrase. The three forms of key files say it in three ways.
fn is_encrypted(text: &str) -> bool {
    if text.contains("ENCRYPTED") {
        return true;
    }
    if !text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return false;
    }
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let Ok(key) = STANDARD.decode(body) else { return false };
    // "openssh-key-v1\0", then the name of the cipher with its length before it.
    key.get(15..19).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes).is_some_and(|length| {
        let end = 19_usize.saturating_add(length as usize);
        key.starts_with(b"openssh-key-v1\0") && key.get(19..end).is_some_and(|cipher| cipher != b"none")
    })
}
