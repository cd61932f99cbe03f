//! SSH against real servers.

use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::{
    Auth, Bastion, FileTransfer, SshCommunicator, SshTarget, connect,
    testing::{PASSWORD, Recipe, Recorder, SOON, Server, assert_same, enter, odd_folder, until, until_async},
};
use crate::{
    communicator::{
        Communicator, CommunicatorError, Exit, UnreachableReason, Upload,
        keys::{TemporaryKey, parse_certificate, parse_private_key},
    },
    domain::{
        log::Stream,
        plan::{BastionPlan, KeyType, SshInterface, SshPlan},
    },
    testing::Port,
};

async fn run(communicator: &SshCommunicator, command: &str) -> (Exit, Recorder) {
    let output = Recorder::default();
    let exit = communicator.run(command, &output).await.unwrap();
    (exit, output)
}

fn sftp(server: &Server) -> SshTarget {
    SshTarget { file_transfer: FileTransfer::Sftp, ..server.target() }
}

#[tokio::test]
async fn output_comes_by_stream_and_in_order() {
    let server = Server::openssh("");
    let ssh = server.connect().await;
    let (exit, output) =
        run(&ssh, "for i in 1 2 3; do echo out$i; sleep 0.05; echo err$i >&2; sleep 0.05; done").await;
    assert_eq!(exit, Exit::Status(0));
    assert_eq!(output.stdout(), "out1\nout2\nout3\n");
    assert_eq!(output.text(Stream::Stderr), "err1\nerr2\nerr3\n");
    let order: Vec<String> = output
        .chunks
        .lock()
        .unwrap()
        .iter()
        .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
        .collect();
    assert_eq!(order.concat(), "out1\nerr1\nout2\nerr2\nout3\nerr3\n");
}

#[tokio::test]
async fn commands_end_with_their_status_or_signal_and_read_an_empty_input() {
    let server = Server::openssh("");
    let ssh = server.connect().await;
    assert_eq!(run(&ssh, "exit 3").await.0, Exit::Status(3));
    assert_eq!(run(&ssh, "kill -KILL $$").await.0, Exit::Signal("KILL".to_owned()));
    let (exit, output) = run(&ssh, "cat; echo done").await;
    assert_eq!((exit, output.stdout().as_str()), (Exit::Status(0), "done\n"));
}

#[tokio::test]
async fn a_connection_lost_under_a_command_is_no_success_and_is_made_again() {
    let server = Server::openssh("");
    let ssh = server.connect().await;
    let flag = server.path().join("flag");
    let command = format!(
        "echo before; until [ -e {} ]; do sleep 0.01; done; kill -9 $PPID; sleep 100",
        flag.display()
    );
    let output = Recorder::default();
    let heard = async {
        until_async("the output came", || output.stdout() == "before\n").await;
        std::fs::write(&flag, "").unwrap();
    };
    let (exit, ()) = tokio::join!(ssh.run(&command, &output), heard);
    assert_eq!(exit.unwrap(), Exit::Disconnected);
    assert_eq!(run(&ssh, "echo again").await.1.stdout(), "again\n");
}

#[tokio::test]
async fn ten_megabytes_pass_a_slow_reader_complete() {
    struct Slow(Recorder);
    impl crate::domain::log::Output for Slow {
        fn chunk<'a>(
            &'a self,
            stream: Stream,
            bytes: &'a [u8],
        ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.0.chunk(stream, bytes).await;
            })
        }

        fn say<'a>(&'a self, _: &'a str) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(std::future::ready(()))
        }
    }
    let server = Server::openssh("");
    let ssh = server.connect().await;
    let output = Slow(Recorder::default());
    let command = "head -c 10000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2";
    let exit = ssh.run(command, &output).await.unwrap();
    assert_eq!(exit, Exit::Status(0));
    assert_eq!(output.0.stdout().len(), 10_000_000);
    assert_eq!(output.0.text(Stream::Stderr).len(), 1_000_000);
}

#[tokio::test]
async fn a_pty_is_one_if_asked_for() {
    let server = Server::openssh("");
    let with = enter(&SshTarget { pty: true, ..server.target() }).await.unwrap();
    let (exit, output) = run(&with, "test -t 1 && echo $TERM; stty size").await;
    assert_eq!((exit, output.stdout().as_str()), (Exit::Status(0), "xterm\r\n40 80\r\n"));
    let without = server.connect().await;
    assert_eq!(run(&without, "test -t 1").await.0, Exit::Status(1));
}

#[tokio::test]
async fn a_dropped_command_ends_in_the_machine() {
    for server in [Server::openssh(""), Server::dropbear()] {
        let ssh = server.connect().await;
        let pid_file = server.path().join("pid");
        let command = format!("echo $$ > {}; trap '' HUP; sleep 100; sleep 100", pid_file.display());
        let output = Recorder::default();
        let running = ssh.run(&command, &output);
        let mut pid = String::new();
        let started = until_async("the command runs", || {
            pid = std::fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
            !pid.is_empty()
        });
        tokio::select! {
            exit = running => panic!("it ended: {exit:?}"),
            () = started => {}
        }
        until_async("the command is gone", || !Path::new(&format!("/proc/{pid}")).exists()).await;
        assert_eq!(run(&ssh, "echo fine").await.1.stdout(), "fine\n");
    }
}

#[tokio::test]
async fn files_and_folders_arrive_as_they_were_by_every_method() {
    let dropbear = Server::dropbear();
    let openssh = Server::openssh("");
    for target in [openssh.target(), sftp(&openssh), dropbear.target()] {
        let ssh = enter(&target).await.unwrap();
        let local = tempfile::tempdir().unwrap();
        let remote = tempfile::tempdir().unwrap();
        let files = odd_folder(local.path());

        // Into a folder that does not exist yet, and has a name that hurts.
        let folder = remote.path().join("a 'b' $c/new folder");
        ssh.upload_folder(local.path(), folder.to_str().unwrap()).await.unwrap();
        assert_same(&folder, &files, true);

        let back = local.path().join("back/again");
        let bytes = ssh.download_folder(folder.to_str().unwrap(), &back, 10_000_000).await.unwrap();
        assert_same(&back, &files, false);
        assert_eq!(bytes, files.iter().map(|(_, content, _)| content.len() as u64).sum::<u64>());

        for (name, content, mode) in &files {
            let name = name.file_name().unwrap().to_str().unwrap();
            let path = remote.path().join(name);
            let path = path.to_str().unwrap();
            let source = local.path().join("source");
            std::fs::write(&source, content).unwrap();
            std::fs::set_permissions(&source, std::fs::Permissions::from_mode(*mode)).unwrap();
            ssh.upload(Upload::file(&source), path).await.unwrap();
            assert!(std::fs::read(path).unwrap() == *content);
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o7777, *mode);
            std::fs::remove_file(&source).unwrap();

            let back = local.path().join("one").join(name);
            assert_eq!(ssh.download(path, &back, 10_000_000).await.unwrap(), content.len() as u64);
            assert!(std::fs::read(&back).unwrap() == *content);
        }

        let secret = remote.path().join("secret");
        let secret = secret.to_str().unwrap();
        ssh.upload(Upload::bytes(b"long before").with_mode(0o600), secret).await.unwrap();
        ssh.upload(Upload::bytes(b"now"), secret).await.unwrap();
        assert_eq!(std::fs::read(secret).unwrap(), b"now");
        assert_eq!(std::fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600, "kept");
    }
}

#[tokio::test]
async fn a_transfer_that_cannot_be_says_why() {
    let server = Server::openssh("");
    for target in [server.target(), sftp(&server)] {
        let ssh = enter(&target).await.unwrap();
        let local = tempfile::tempdir().unwrap();
        let file = local.path().join("file");
        std::fs::write(&file, "12345").unwrap();
        let shown = local.path().to_str().unwrap();

        let error = ssh.upload(Upload::bytes(b"x"), "/does/not/exist").await.unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        assert_eq!(error.code(), "transfer_failed");
        let error = ssh.upload(Upload::bytes(b"x"), shown).await.unwrap_err();
        assert_eq!(error.code(), "transfer_failed", "a folder is in the way: {error}");
        let error = ssh.upload(Upload::file(&local.path().join("missing")), "/tmp/x").await.unwrap_err();
        assert_eq!(error.code(), "local_file");
        let error = ssh.download("/does/not/exist", &file, 100).await.unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        let error = ssh.download(shown, &local.path().join("x"), 100).await.unwrap_err();
        assert_eq!(error.code(), "transfer_failed", "{error}");
        let error = ssh.download(file.to_str().unwrap(), &local.path().join("x"), 4).await.unwrap_err();
        assert_eq!(error.code(), "download_too_large", "{error}");
        let other = tempfile::tempdir().unwrap();
        let error = ssh.download_folder(shown, other.path(), 4).await.unwrap_err();
        assert_eq!(error.code(), "download_too_large", "{error}");
        assert_eq!(run(&ssh, "echo fine").await.1.stdout(), "fine\n", "the connection is still good");
    }
}

#[tokio::test]
async fn a_machine_without_one_method_is_served_by_the_other() {
    let no_scp = Server::openssh("SetEnv PATH=/nowhere");
    let no_sftp = Server::openssh("Subsystem sftp /does/not/exist");
    for target in [no_scp.target(), sftp(&no_sftp)] {
        let ssh = enter(&target).await.unwrap();
        let local = tempfile::tempdir().unwrap();
        let path = local.path().join("there");
        for _ in 0..2 {
            ssh.upload(Upload::bytes(b"content"), path.to_str().unwrap()).await.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"content");
            std::fs::remove_file(&path).unwrap();
        }
    }
    let neither = Server::openssh("SetEnv PATH=/nowhere\nSubsystem sftp /does/not/exist");
    let ssh = neither.connect().await;
    let error = ssh.upload(Upload::bytes(b"content"), "/tmp/x").await.unwrap_err();
    assert!(matches!(error, CommunicatorError::NoTransferMethod { .. }), "{error}");
}

#[tokio::test]
async fn every_kind_of_key_and_a_certificate_let_us_in() {
    let recipe = Recipe::openssh("");
    let ca = recipe.path().join("ca");
    let login = recipe.path().join("login");
    for path in [&ca, &login] {
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", "ed25519", "-f"])
            .arg(path)
            .status();
        assert!(made.unwrap().success());
    }
    let signed = std::process::Command::new("ssh-keygen")
        .args(["-q", "-I", "test", "-n", "root", "-s"])
        .args([&ca, &login.with_extension("pub")])
        .status();
    assert!(signed.unwrap().success());
    let ca = std::fs::read_to_string(ca.with_extension("pub")).unwrap();
    let certificate = std::fs::read_to_string(recipe.path().join("login-cert.pub")).unwrap();
    let certified = Auth::Certificate(
        parse_private_key(&std::fs::read_to_string(&login).unwrap()).unwrap(),
        Box::new(parse_certificate(&certificate).unwrap()),
    );
    let mut authorized = format!("cert-authority {ca}\n");
    let mut logins = vec![certified];
    for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
        let key = TemporaryKey::generate(kind, "").unwrap();
        authorized.push_str(&key.public_openssh);
        authorized.push('\n');
        logins.push(Auth::Key(key.login_key().unwrap()));
    }
    recipe.write("authorized_keys", &authorized);
    let server = recipe.start();
    for auth in logins {
        let target = SshTarget { auth: vec![auth], ..server.target() };
        let ssh = enter(&target).await.unwrap();
        ssh.close().await;
    }
}

#[tokio::test]
async fn a_password_lets_us_in_where_the_key_does_not() {
    let server = Server::dropbear();
    let stranger = TemporaryKey::generate(KeyType::Ed25519, "").unwrap().login_key().unwrap();
    let auth = |password: &str| {
        let password = SecretString::from(password);
        vec![
            Auth::Key(stranger.clone()),
            Auth::Password(password.clone()),
            Auth::KeyboardInteractive(password),
        ]
    };
    let ssh = enter(&SshTarget { auth: auth(PASSWORD), ..server.target() }).await.unwrap();
    assert_eq!(run(&ssh, "echo in").await.1.stdout(), "in\n");
    let error = enter(&SshTarget { auth: auth("wrong"), ..server.target() }).await.err().unwrap();
    let CommunicatorError::AuthenticationRefused { tried, .. } = &error else { panic!("{error}") };
    assert_eq!(tried.last().unwrap(), "password");
    assert_eq!(tried.len(), 2, "a dialogue is not offered by this server");
}

fn plan() -> SshPlan {
    SshPlan {
        username: "outscale".to_owned(),
        port: 2222,
        password: None,
        keypair_name: None,
        private_key: None,
        certificate: None,
        temporary_key_pair_name: None,
        temporary_key_pair_type: KeyType::Ed25519,
        clear_authorized_keys: false,
        timeout: SOON,
        handshake_attempts: 0,
        interface: SshInterface::Automatic,
        pty: true,
        keep_alive_interval: Duration::ZERO,
        read_write_timeout: Duration::from_secs(7),
        file_transfer: FileTransfer::Sftp,
        bastion: None,
        ciphers: Vec::new(),
        key_exchange_algorithms: Vec::new(),
        pause_before_connecting: Duration::ZERO,
    }
}

#[test]
fn a_target_shows_what_the_plan_has_in_packer_s_order() {
    let own = TemporaryKey::generate(KeyType::Ed25519, "").unwrap();
    let temporary = TemporaryKey::generate(KeyType::Ecdsa, "").unwrap();
    let bastion = BastionPlan {
        host: "fd00::1".to_owned(),
        port: 22,
        username: "jump".to_owned(),
        password: None,
        private_key: None,
    };
    let full = SshPlan {
        private_key: Some(own.private.clone()),
        password: Some(SecretString::from("secret")),
        bastion: Some(bastion),
        ..plan()
    };
    let target = SshTarget::from_plan(&full, "10.0.0.1", Some(&temporary.private)).unwrap();
    let shown: Vec<String> = target.auth.iter().map(Auth::describe).collect();
    let key = |key: &TemporaryKey| format!("private key {}", key.login_key().unwrap().describe());
    assert_eq!(shown, [key(&own), key(&temporary), "password".to_owned(), "keyboard-interactive".to_owned()]);
    assert_eq!(target.address(), "10.0.0.1:2222");
    assert_eq!((target.keep_alive_interval, target.read_write_timeout), (None, Some(Duration::from_secs(7))));
    let bastion = target.bastion.unwrap();
    assert_eq!(bastion.address(), "[fd00::1]:22");
    assert_eq!(
        bastion.auth.iter().map(Auth::describe).collect::<Vec<_>>(),
        shown[..2],
        "the VM's keys, not its password"
    );
}

#[test]
fn a_plan_that_cannot_lead_in_is_refused_before_connecting() {
    let error = SshTarget::from_plan(&plan(), "h", None).unwrap_err();
    assert!(matches!(error, CommunicatorError::NoCredentials { .. }));
    let broken = SshPlan { private_key: Some(SecretString::from("nonsense")), ..plan() };
    let error = SshTarget::from_plan(&broken, "h", None).unwrap_err();
    assert!(error.to_string().starts_with("ssh_private_key_file is no usable key"), "{error}");
    assert!(!error.to_string().contains("nonsense"), "{error}");
}

#[tokio::test]
async fn a_wrong_key_is_told_as_that_after_the_wanted_tries() {
    let server = Server::openssh("");
    let stranger = TemporaryKey::generate(KeyType::Ed25519, "").unwrap().login_key().unwrap();
    let password = SecretString::from("not the password");
    let auth = vec![Auth::Key(stranger.clone()), Auth::Password(password)];
    let target = SshTarget { auth, ..server.target() };
    let output = Recorder::default();
    let error = connect(&target, SOON, 2, &CancellationToken::new(), &output).await.err().unwrap();
    let CommunicatorError::AuthenticationRefused { refusals, tried, accepted, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*refusals, 2);
    assert_eq!(accepted, &["publickey"]);
    assert_eq!(tried, &[format!("private key {}", stranger.describe())], "a password is not even asked for");
    assert_eq!(error.code(), "ssh_auth");
    assert!(error.hint().unwrap().contains("ssh_username"));
    assert!(output.has_said("refused to let user \"root\" in"));
    assert!(!format!("{target:?}").contains("not the password"));
}

#[tokio::test]
async fn a_key_refused_to_the_end_is_the_reason_of_the_timeout() {
    let server = Server::openssh("");
    let stranger = TemporaryKey::generate(KeyType::Ed25519, "").unwrap().login_key().unwrap();
    let target = SshTarget { auth: vec![Auth::Key(stranger)], ..server.target() };
    let error = failure(&target, |error| error.code() == "ssh_auth").await;
    assert!(matches!(error, CommunicatorError::TimedOut { .. }), "{error}");
}

/// How a connection fails, which must come to be as expected. Two seconds suffice for that, but not on a machine that is too
/// busy to meet the reason within them; it gets more.
async fn failure(target: &SshTarget, is_expected: impl Fn(&CommunicatorError) -> bool) -> CommunicatorError {
    let mut limit = Duration::from_secs(2);
    loop {
        let cancel = CancellationToken::new();
        let error = connect(target, limit, 0, &cancel, &Recorder::default()).await.err().unwrap();
        if is_expected(&error) {
            return error;
        }
        assert!(limit < SOON, "{error:?}");
        limit *= 4;
    }
}

/// A connection that is tried until the time is over must fail for this reason.
async fn fails_to_the_end(target: &SshTarget, wanted: UnreachableReason, code: &str) {
    let is_expected = |error: &CommunicatorError| match error {
        CommunicatorError::TimedOut { last: Some(last), .. } => {
            matches!(&**last, CommunicatorError::Unreachable { reason, .. } if *reason == wanted)
        }
        _ => false,
    };
    assert_eq!(failure(target, is_expected).await.code(), code);
}

#[tokio::test]
async fn what_is_met_instead_of_a_server_is_told() {
    let key = TemporaryKey::generate(KeyType::Ed25519, "").unwrap().login_key().unwrap();
    let target = |port| SshTarget::new("127.0.0.1", port, "root", vec![Auth::Key(key.clone())]);

    let nobody = Port::take();
    fails_to_the_end(&target(nobody.number()), UnreachableReason::Refused, "ssh_refused").await;

    // The kernel accepts, and nobody speaks.
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    fails_to_the_end(&target(port), UnreachableReason::NoBanner, "ssh_no_banner").await;

    let closing = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = closing.local_addr().unwrap().port();
    let task = tokio::spawn(async move { while closing.accept().await.is_ok() {} });
    fails_to_the_end(&target(port), UnreachableReason::HungUp, "ssh_no_banner").await;
    task.abort();

    // A full queue of connections that nobody accepts swallows further ones, as a firewall does.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    fails_to_the_end(&target(address.port()), UnreachableReason::TimedOut, "ssh_timeout").await;

    let unknown = SshTarget { host: "no-such-host.invalid".to_owned(), ..target(22) };
    failure(&unknown, |error| error.code() == "ssh_unknown_host").await;
    let nothing = SshTarget { auth: Vec::new(), ..target(22) };
    failure(&nothing, |error| matches!(error, CommunicatorError::NoCredentials { .. })).await;
    let odd = SshTarget { ciphers: vec!["rot13".to_owned()], ..target(22) };
    failure(&odd, |error| error.code() == "ssh_option").await;
}

#[tokio::test]
async fn a_server_that_starts_late_is_entered_at_once() {
    let recipe = Recipe::openssh("");
    let target = recipe.target();
    let output = Recorder::default();
    let cancel = CancellationToken::new();
    let connecting = connect(&target, SOON, 0, &cancel, &output);
    let start = async {
        until_async("it is refused", || output.has_said("refuses connections")).await;
        recipe.start()
    };
    let (ssh, server) = tokio::join!(connecting, start);
    assert_eq!(run(&ssh.unwrap(), "echo in").await.1.stdout(), "in\n");
    assert!(output.has_said("Connected to 127.0.0.1"));
    drop(server);
}

#[tokio::test]
async fn a_reboot_is_survived_and_another_machine_is_not_entered() {
    let server = Server::openssh("");
    let ssh = server.connect().await;
    let recipe = server.stop();
    let again = async { recipe.start() };
    let output = Recorder::default();
    let (exit, server) = tokio::join!(ssh.run("echo again", &output), again);
    assert_eq!((exit.unwrap(), output.stdout().as_str()), (Exit::Status(0), "again\n"));

    let recipe = server.stop();
    recipe.write("host", TemporaryKey::generate(KeyType::Ed25519, "").unwrap().private.expose_secret());
    let server = recipe.start();
    until("the server listens", || std::net::TcpStream::connect(server.port.address()).is_ok());
    let error = ssh.run("echo again", &output).await.unwrap_err();
    assert!(matches!(error, CommunicatorError::HostKeyChanged { .. }), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_machine_behind_a_bastion_is_reached_through_it() {
    let bastion = Server::openssh("");
    let inner = Server::openssh("");
    let over = |server: &Server| Bastion {
        host: "127.0.0.1".to_owned(),
        port: server.port.number(),
        user: "root".to_owned(),
        auth: server.target().auth,
    };
    // Without the bastion there is no way back in, which need not be tried for long.
    let reconnect_within = Duration::from_secs(1);
    let target = SshTarget { bastion: Some(over(&bastion)), reconnect_within, ..inner.target() };
    let ssh = enter(&target).await.unwrap();
    let local = tempfile::tempdir().unwrap();
    let big = vec![7; 3_000_000];
    let path = local.path().join("big");
    ssh.upload(Upload::bytes(&big), path.to_str().unwrap()).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == big);
    assert!(ssh.download(path.to_str().unwrap(), &local.path().join("back"), 3_000_000).await.is_ok());
    drop(bastion);
    assert!(ssh.run("true", &Recorder::default()).await.is_err(), "the bastion was the way");

    let strict = Server::openssh("AllowTcpForwarding no");
    let target = SshTarget { bastion: Some(over(&strict)), ..inner.target() };
    failure(&target, |error| error.code() == "ssh_bastion").await;
    let mut stranger = over(&strict);
    stranger.auth = inner.target().auth;
    let error = enter(&SshTarget { bastion: Some(stranger), ..inner.target() }).await.err().unwrap();
    // Not timed out: a bastion that refuses is not asked again.
    assert!(matches!(error, CommunicatorError::Bastion { .. }), "{error}");
}

#[tokio::test]
async fn connecting_stops_when_cancelled() {
    let cancel = CancellationToken::new();
    let recipe = Recipe::openssh("");
    let target = recipe.target();
    let output = Recorder::default();
    let connecting = connect(&target, Duration::ZERO, 0, &cancel, &output);
    let cancelling = async {
        until_async("it is refused", || output.has_said("refuses")).await;
        cancel.cancel();
    };
    // It would go on for ever.
    let (result, ()) = tokio::join!(connecting, cancelling);
    assert!(matches!(result.err().unwrap(), CommunicatorError::Cancelled));
}

#[tokio::test]
async fn the_plan_s_algorithms_are_used() {
    let server = Server::openssh(
        "Ciphers aes128-ctr,aes256-gcm@openssh.com\nKexAlgorithms curve25519-sha256,ecdh-sha2-nistp256",
    );
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let chosen = SshTarget {
        ciphers: names(&["arcfour", "aes128-ctr"]),
        key_exchange_algorithms: names(&["ecdh-sha2-nistp256"]),
        ..server.target()
    };
    assert_eq!(run(&enter(&chosen).await.unwrap(), "echo in").await.1.stdout(), "in\n");
    let other = SshTarget { ciphers: names(&["aes192-ctr"]), ..server.target() };
    let error = enter(&other).await.err().unwrap();
    assert!(matches!(error, CommunicatorError::NothingInCommon { .. }), "{error}");
}
