//! SSH against servers that are odd or hostile: made for the occasion, since none of the real ones behaves so.

use std::{borrow::Cow, net::Ipv4Addr, os::unix::fs::PermissionsExt, sync::Arc};

use russh::{
    MethodKind, MethodSet,
    keys::{Algorithm, PrivateKey, key::safe_rng},
    server,
};
use secrecy::SecretString;

use super::{
    Auth, SshTarget,
    testing::{Recipe, enter, until},
};
use crate::communicator::{Communicator, CommunicatorError, Upload};

/// A machine whose `scp` is this script.
async fn with_scp(script: &str) -> (super::testing::Server, super::SshCommunicator) {
    scp_and(script, "").await
}

async fn scp_and(script: &str, extra: &str) -> (super::testing::Server, super::SshCommunicator) {
    let recipe = Recipe::openssh(extra);
    let path = format!("SetEnv PATH={}:/usr/bin:/bin", recipe.path().display());
    let recipe = recipe.with(&path);
    let scp = recipe.path().join("scp");
    std::fs::write(&scp, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(scp, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = recipe.start();
    until("the server listens", || std::net::TcpStream::connect(server.port.address()).is_ok());
    let ssh = server.connect().await;
    (server, ssh)
}

#[tokio::test]
async fn a_machine_cannot_write_outside_of_the_download() {
    for name in ["../evil", "..", "/tmp/evil", "."] {
        let (_server, ssh) = with_scp(&format!("printf 'D0755 0 x\\nC0644 4 {name}\\nevil\\0'; cat")).await;
        let local = tempfile::tempdir().unwrap();
        let inner = local.path().join("inner");
        let error = ssh.download_folder("/x", &inner, 1000).await.unwrap_err();
        assert!(error.to_string().contains("forbidden name"), "{error}");
        assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 1, "only the folder itself");
        assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_machine_cannot_send_more_than_it_may() {
    let (_server, ssh) = with_scp("printf 'C0644 99999999999999999999 x\\n'; cat").await;
    let local = tempfile::tempdir().unwrap();
    let error = ssh.download("/x", &local.path().join("x"), 1000).await.unwrap_err();
    assert!(error.to_string().contains("cannot be read"), "{error}");
    let (_server, ssh) = with_scp(
        "printf 'D0755 0 x\\nC0644 600 a\\n'; head -c 600 /dev/zero; printf '\\0C0644 600 b\\n'; cat",
    )
    .await;
    let error = ssh.download_folder("/x", local.path(), 1000).await.unwrap_err();
    assert_eq!(error.code(), "download_too_large", "{error}");
}

#[tokio::test]
async fn a_talkative_or_dying_scp_is_told_as_that() {
    let greeting = "echo Welcome to this machine; cat";
    let (_server, ssh) = scp_and(greeting, "Subsystem sftp /does/not/exist").await;
    let error = ssh.upload(Upload::bytes(b"x"), "/tmp/x").await.unwrap_err();
    assert!(error.to_string().contains("Welcome to this machine"), "{error}");
    let (_server, ssh) = with_scp("printf '\\0'; echo out of disks >&2; exit 4").await;
    let error = ssh.upload(Upload::bytes(b"x"), "/tmp/x").await.unwrap_err();
    assert!(error.to_string().contains("out of disks"), "{error}");
    let (_server, ssh) = with_scp("kill -9 $$").await;
    let error = ssh.upload(Upload::bytes(b"x"), "/tmp/x").await.unwrap_err();
    assert!(error.to_string().contains("signal KILL"), "{error}");
}

#[tokio::test]
async fn a_login_for_sftp_only_is_served_by_sftp() {
    let server = super::testing::Server::openssh("ForceCommand internal-sftp");
    let ssh = server.connect().await;
    let path = server.path().join("there");
    for content in [b"one", b"two"] {
        ssh.upload(Upload::bytes(content), path.to_str().unwrap()).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

/// A server that asks two questions and knows the answers.
struct Asking {
    asked: bool,
}

impl server::Handler for Asking {
    type Error = russh::Error;

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<server::Response<'a>>,
    ) -> Result<server::Auth, Self::Error> {
        if !self.asked {
            self.asked = true;
            return Ok(server::Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Borrowed(&[
                    (Cow::Borrowed("Password: "), false),
                    (Cow::Borrowed("Again: "), false),
                ]),
            });
        }
        let answers: Vec<_> = response.into_iter().flatten().collect();
        Ok(if answers.len() == 2 && answers.iter().all(|answer| answer == "open sesame") {
            server::Auth::Accept
        } else {
            server::Auth::reject()
        })
    }
}

#[tokio::test]
async fn a_dialogue_is_answered_with_the_password() {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::KeyboardInteractive);
    let config = Arc::new(server::Config {
        keys: vec![PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()],
        methods,
        ..server::Config::default()
    });
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let running = server::run_stream(Arc::clone(&config), stream, Asking { asked: false }).await;
            tokio::spawn(async move { running.unwrap().await });
        }
    });
    let target = |password: &str| {
        SshTarget::new(
            "127.0.0.1",
            port,
            "root",
            vec![Auth::KeyboardInteractive(SecretString::from(password))],
        )
    };
    enter(&target("open sesame")).await.unwrap();
    let error = enter(&target("wrong")).await.err().unwrap();
    assert!(matches!(error, CommunicatorError::AuthenticationRefused { .. }), "{error}");
    serving.abort();
}
