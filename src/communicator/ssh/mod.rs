//! SSH: where to go and how to prove who we are, and the communicator that comes of it. The parts are in the files
//! below: getting in (`connect`, `session`), running (`run`), moving files (`scp`, `sftp`).

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, FutureExt};
use russh::{Channel, client::Msg, keys::Certificate};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::domain::{
    log::Output,
    plan::{BastionPlan, FileTransfer, SshPlan},
};

use super::{
    Communicator, CommunicatorError, Exit, Upload,
    keys::{LoginKey, parse_certificate, parse_private_key},
};

mod algorithms;
mod connect;
#[cfg(test)]
mod odd_server_tests;
mod pipe;
mod run;
mod scp;
mod session;
mod sftp;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use connect::connect;
use session::{Session, Way};

/// How long a lost connection is sought again before an operation fails; a VM that reboots needs a minute or two.
const RECONNECT_WITHIN: Duration = Duration::from_secs(120);

/// Where to go by SSH, and how.
#[derive(Debug, Clone)]
pub struct SshTarget {
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The login.
    pub user: String,
    /// What proves who we are, in the order in which it is shown.
    pub auth: Vec<Auth>,
    /// A host to go over.
    pub bastion: Option<Bastion>,
    /// `ssh_ciphers`; empty: ours.
    pub ciphers: Vec<String>,
    /// `ssh_key_exchange_algorithms`; empty: ours.
    pub key_exchange_algorithms: Vec<String>,
    /// How often to ask a silent server whether it is still there.
    pub keep_alive_interval: Option<Duration>,
    /// How long a server may be silent before the connection counts as lost; for users who ask for it only.
    pub read_write_timeout: Option<Duration>,
    /// Run commands on a pseudo-terminal. Their standard error then comes with their standard output.
    pub pty: bool,
    /// Which way of moving files is tried first.
    pub file_transfer: FileTransfer,
    /// How long a lost connection is sought again.
    pub reconnect_within: Duration,
}

/// A way to prove who we are.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A private key.
    Key(LoginKey),
    /// A private key with a certificate for it.
    Certificate(LoginKey, Box<Certificate>),
    /// A password.
    Password(SecretString),
    /// A dialogue in which every question is answered with the password.
    KeyboardInteractive(SecretString),
}

impl Auth {
    /// The name of the method in the protocol.
    const fn method(&self) -> &'static str {
        match self {
            Self::Key(_) | Self::Certificate(..) => "publickey",
            Self::Password(_) => "password",
            Self::KeyboardInteractive(_) => "keyboard-interactive",
        }
    }

    /// What it is, without what must stay secret.
    fn describe(&self) -> String {
        match self {
            Self::Key(key) => format!("private key {}", key.describe()),
            Self::Certificate(key, _) => format!("certificate of private key {}", key.describe()),
            Self::Password(_) => "password".to_owned(),
            Self::KeyboardInteractive(_) => "keyboard-interactive".to_owned(),
        }
    }
}

/// A host to go over, with its own login.
#[derive(Debug, Clone)]
pub struct Bastion {
    /// An address or a name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The login.
    pub user: String,
    /// What proves who we are, in order.
    pub auth: Vec<Auth>,
}

impl SshTarget {
    /// A target with everything but the address and the login left at Packer's defaults.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>, auth: Vec<Auth>) -> Self {
        Self {
            host: host.into(),
            port,
            user: user.into(),
            auth,
            bastion: None,
            ciphers: Vec::new(),
            key_exchange_algorithms: Vec::new(),
            keep_alive_interval: Some(Duration::from_secs(5)),
            read_write_timeout: None,
            pty: false,
            file_transfer: FileTransfer::Scp,
            reconnect_within: RECONNECT_WITHIN,
        }
    }

    /// The target of a plan. `temporary_key` is the private half of the key pair that the run made, if it made one.
    ///
    /// # Errors
    /// A key or certificate of the plan that is none, an algorithm that is unknown, or nothing to log in with.
    pub fn from_plan(
        plan: &SshPlan,
        host: &str,
        temporary_key: Option<&SecretString>,
    ) -> Result<Self, CommunicatorError> {
        let invalid = |option: &'static str| move |source| CommunicatorError::InvalidKey { option, source };
        let read = |option: &'static str, text: &SecretString| {
            parse_private_key(text.expose_secret()).map_err(invalid(option))
        };
        let mut keys = Vec::new();
        if let Some(text) = &plan.private_key {
            let key = read("ssh_private_key_file", text)?;
            if let Some(certificate) = &plan.certificate {
                let certificate = parse_certificate(certificate).map_err(invalid("ssh_certificate_file"))?;
                keys.push(Auth::Certificate(key.clone(), Box::new(certificate)));
            }
            keys.push(Auth::Key(key));
        }
        if let Some(text) = temporary_key {
            keys.push(Auth::Key(read("the temporary key", text)?));
        }
        let bastion = match &plan.bastion {
            None => None,
            Some(bastion) => Some(Bastion::from_plan(bastion, &keys)?),
        };
        let mut auth = keys;
        if let Some(password) = &plan.password {
            auth.push(Auth::Password(password.clone()));
            auth.push(Auth::KeyboardInteractive(password.clone()));
        }
        let some = |duration: Duration| (!duration.is_zero()).then_some(duration);
        let target = Self {
            bastion,
            ciphers: plan.ciphers.clone(),
            key_exchange_algorithms: plan.key_exchange_algorithms.clone(),
            keep_alive_interval: some(plan.keep_alive_interval),
            read_write_timeout: some(plan.read_write_timeout),
            pty: plan.pty,
            file_transfer: plan.file_transfer,
            ..Self::new(host, plan.port, &plan.username, auth)
        };
        algorithms::preferred(&target)?;
        if target.auth.is_empty() {
            return Err(CommunicatorError::NoCredentials { address: target.address() });
        }
        Ok(target)
    }

    /// Host and port as they are written in messages.
    #[must_use]
    pub fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

impl Bastion {
    fn from_plan(plan: &BastionPlan, keys: &[Auth]) -> Result<Self, CommunicatorError> {
        let mut auth = match &plan.private_key {
            Some(text) => vec![Auth::Key(parse_private_key(text.expose_secret()).map_err(|source| {
                CommunicatorError::InvalidKey { option: "ssh_bastion_private_key_file", source }
            })?)],
            None => keys.to_vec(),
        };
        if let Some(password) = &plan.password {
            auth.push(Auth::Password(password.clone()));
            auth.push(Auth::KeyboardInteractive(password.clone()));
        }
        Ok(Self { host: plan.host.clone(), port: plan.port, user: plan.username.clone(), auth })
    }

    fn address(&self) -> String {
        address(&self.host, self.port)
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An open way into a machine by SSH. It survives a reboot of the machine: the next operation connects anew, to the
/// same host key.
pub struct SshCommunicator {
    way: Way,
    session: Mutex<Arc<Session>>,
    /// Set once it is known that the machine lacks the preferred way of moving files.
    other_transfer: AtomicBool,
    cancel: CancellationToken,
    closed: AtomicBool,
}

impl SshCommunicator {
    pub(in crate::communicator::ssh) fn new(way: Way, session: Session, cancel: &CancellationToken) -> Self {
        Self {
            way,
            session: Mutex::new(Arc::new(session)),
            other_transfer: AtomicBool::new(false),
            // Its own, so that closing ends a search for a lost machine.
            cancel: cancel.child_token(),
            closed: AtomicBool::new(false),
        }
    }

    /// Opens a channel, over a new connection if the old one is lost.
    async fn channel(&self) -> Result<(Arc<Session>, Channel<Msg>), CommunicatorError> {
        let mut current = self.session.lock().await;
        let lost = match current.channel().await {
            Ok(channel) => return Ok((Arc::clone(&current), channel)),
            Err(error) => error,
        };
        if self.closed.load(Ordering::Acquire) {
            return Err(lost);
        }
        info!(ssh.address = %self.way.target.address(), "Connecting again: {lost}");
        let deadline = Some(Instant::now() + self.way.target.reconnect_within);
        let (session, _) =
            connect::until_in(&self.way, deadline, self.way.target.reconnect_within, 0, &self.cancel, None)
                .await?;
        *current = Arc::new(session);
        let channel = current.channel().await?;
        Ok((Arc::clone(&current), channel))
    }

    /// Whether the connection is gone at this moment.
    async fn is_lost(&self) -> bool {
        self.session.lock().await.is_lost()
    }

    /// The error of an operation that found the connection gone.
    async fn lost(&self) -> CommunicatorError {
        self.session.lock().await.lost()
    }

    /// Moves files the preferred way, and the other way if the machine has not got that one.
    async fn transfer<'a, T, Scp, Sftp>(&'a self, scp: Scp, sftp: Sftp) -> Result<T, CommunicatorError>
    where
        Scp: FnOnce(&'a Self) -> BoxFuture<'a, Result<T, Transfer>>,
        Sftp: FnOnce(&'a Self) -> BoxFuture<'a, Result<T, Transfer>>,
    {
        let scp_first = (self.way.target.file_transfer == FileTransfer::Scp)
            != self.other_transfer.load(Ordering::Acquire);
        let (first, second) =
            if scp_first { (scp(self), Either::Sftp(sftp)) } else { (sftp(self), Either::Scp(scp)) };
        let instead = match first.await {
            Ok(done) => return Ok(done),
            Err(Transfer::Failed(error)) => return Err(error),
            Err(Transfer::Missing(instead)) => instead,
        };
        debug!(ssh.address = %self.way.target.address(), "Moving files the other way");
        let second = match second {
            Either::Scp(scp) => scp(self),
            Either::Sftp(sftp) => sftp(self),
        };
        match second.await {
            Ok(done) => {
                self.other_transfer.fetch_xor(true, Ordering::AcqRel);
                Ok(done)
            }
            Err(Transfer::Failed(error)) => Err(error),
            Err(Transfer::Missing(also)) => Err(instead.or(also).unwrap_or_else(|| {
                CommunicatorError::NoTransferMethod { address: self.way.target.address() }
            })),
        }
    }
}

enum Either<Scp, Sftp> {
    Scp(Scp),
    Sftp(Sftp),
}

/// Why a transfer did not happen.
enum Transfer {
    /// The machine has not got this way of moving files. What it has instead may be worth telling.
    Missing(Option<CommunicatorError>),
    /// It failed.
    Failed(CommunicatorError),
}

impl From<CommunicatorError> for Transfer {
    fn from(error: CommunicatorError) -> Self {
        Self::Failed(error)
    }
}

impl Communicator for SshCommunicator {
    fn run<'a>(
        &'a self,
        command: &'a str,
        output: &'a dyn Output,
    ) -> BoxFuture<'a, Result<Exit, CommunicatorError>> {
        async move {
            let (session, channel) = self.channel().await?;
            run::run(&session, channel, command, self.way.target.pty, output).await
        }
        .boxed()
    }

    fn upload<'a>(
        &'a self,
        upload: Upload<'a>,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        self.transfer(
            move |own| scp::upload(own, upload, remote).boxed(),
            move |own| sftp::upload(own, upload, remote).boxed(),
        )
        .boxed()
    }

    fn upload_folder<'a>(
        &'a self,
        local: &'a Path,
        remote: &'a str,
    ) -> BoxFuture<'a, Result<(), CommunicatorError>> {
        self.transfer(
            move |own| scp::upload_folder(own, local, remote).boxed(),
            move |own| sftp::upload_folder(own, local, remote).boxed(),
        )
        .boxed()
    }

    fn download<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        self.transfer(
            move |own| scp::download(own, remote, local, limit).boxed(),
            move |own| sftp::download(own, remote, local, limit).boxed(),
        )
        .boxed()
    }

    fn download_folder<'a>(
        &'a self,
        remote: &'a str,
        local: &'a Path,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, CommunicatorError>> {
        self.transfer(
            move |own| scp::download_folder(own, remote, local, limit).boxed(),
            move |own| sftp::download_folder(own, remote, local, limit).boxed(),
        )
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.closed.store(true, Ordering::Release);
            self.cancel.cancel();
            self.session.lock().await.close().await;
            self.way.close().await;
        }
        .boxed()
    }
}
