//! One SSH connection, from the first packet to the login: dialling (over the bastion), the handshake, the host key,
//! and the ways to prove who we are. Trying again is `connect`'s matter.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use russh::{
    Channel, ChannelOpenFailure, Disconnect, MethodSet,
    client::{self, AuthResult, DisconnectReason, Handle, KeyboardInteractiveAuthResponse, Msg},
    keys::{HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate},
};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex as AsyncMutex,
    time::{Instant, timeout_at},
};

use super::{Auth, CommunicatorError, SshTarget, algorithms};
use crate::communicator::UnreachableReason;

/// How long one TCP connection may take. Short, because a VM that boots drops the first packets, and a fresh
/// connection is answered sooner than the system's own growing repetitions; longer than any real round trip.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a bastion may take to connect to the machine.
const BASTION_DIAL_TIMEOUT: Duration = Duration::from_secs(15);
/// How long key exchange and login may take once the server speaks; slow machines compute for seconds.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to open a channel.
const CHANNEL_TIMEOUT: Duration = Duration::from_secs(30);
/// Unanswered keepalives before the connection counts as lost: a minute at the usual interval. A busy VM may be silent
/// for a while, and one that has rebooted answers the next packet with a reset anyway.
const KEEPALIVE_MAX: usize = 12;
/// Questions that a server may ask in a dialogue, so that it ends.
const MAX_QUESTIONS: usize = 16;

/// All that is needed to connect, and what was learnt by connecting: the host keys, and the session with the bastion.
pub(super) struct Way {
    pub(super) target: SshTarget,
    config: Arc<client::Config>,
    pin: Pin,
    bastion_pin: Pin,
    bastion: AsyncMutex<Option<Arc<Handle<Client>>>>,
}

/// A host key, known after the first login.
type Pin = Arc<Mutex<Option<PublicKey>>>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    pub(super) fn new(target: SshTarget) -> Result<Self, CommunicatorError> {
        let config = client::Config {
            preferred: algorithms::preferred(&target)?,
            nodelay: true,
            keepalive_interval: target.keep_alive_interval,
            keepalive_max: KEEPALIVE_MAX,
            inactivity_timeout: target.read_write_timeout,
            ..client::Config::default()
        };
        Ok(Self {
            target,
            config: Arc::new(config),
            pin: Pin::default(),
            bastion_pin: Pin::default(),
            bastion: AsyncMutex::new(None),
        })
    }

    /// Connects and logs in, once. `patience` is how long a server that accepted the connection may be silent.
    pub(super) async fn open(
        &self,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Result<Session, CommunicatorError> {
        let target = &self.target;
        let address = target.address();
        let login = Login {
            address: &address,
            user: &target.user,
            auth: &target.auth,
            pin: &self.pin,
            config: &self.config,
        };
        let (handle, lost) = match &target.bastion {
            None => {
                let stream = dial(&target.host, target.port, &address, patience, deadline).await?;
                login.over(stream, deadline).await?
            }
            Some(_) => {
                let stream = self.through_bastion(&address, patience, deadline).await?;
                login.over(stream, deadline).await?
            }
        };
        Ok(Session { handle, address, lost, running: AtomicUsize::new(0) })
    }

    async fn through_bastion(
        &self,
        address: &str,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static, CommunicatorError> {
        let handle = self.bastion(patience, deadline).await?;
        let bastion = self.target.bastion.as_ref().map(super::Bastion::address).unwrap_or_default();
        let blocked = |reason: String| CommunicatorError::NoWayThrough {
            bastion: bastion.clone(),
            address: address.to_owned(),
            reason,
        };
        let opening =
            handle.channel_open_direct_tcpip(&self.target.host, u32::from(self.target.port), "127.0.0.1", 0);
        match timeout_at(sooner(BASTION_DIAL_TIMEOUT, deadline), opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Err(blocked(open_failure(&failure))),
            Ok(Err(error)) => Err(blocked(error.to_string())),
            Err(_) => Err(blocked("it got no answer".to_owned())),
        }
    }

    /// The session with the bastion, which is kept while tries to reach the machine behind it fail.
    async fn bastion(
        &self,
        patience: Duration,
        deadline: Option<Instant>,
    ) -> Result<Arc<Handle<Client>>, CommunicatorError> {
        let mut kept = self.bastion.lock().await;
        if let Some(handle) = kept.as_ref().filter(|handle| !handle.is_closed()) {
            return Ok(Arc::clone(handle));
        }
        let Some(bastion) = &self.target.bastion else {
            return Err(CommunicatorError::NoCredentials { address: self.target.address() });
        };
        let address = bastion.address();
        let login = Login {
            address: &address,
            user: &bastion.user,
            auth: &bastion.auth,
            pin: &self.bastion_pin,
            config: &self.config,
        };
        let opened = async {
            let stream = dial(&bastion.host, bastion.port, &address, patience, deadline).await?;
            login.over(stream, deadline).await
        };
        let (handle, _) = opened.await.map_err(|source| CommunicatorError::Bastion {
            bastion: address.clone(),
            source: Box::new(source),
        })?;
        let handle = Arc::new(handle);
        *kept = Some(Arc::clone(&handle));
        Ok(handle)
    }

    pub(super) async fn close(&self) {
        if let Some(bastion) = self.bastion.lock().await.take() {
            goodbye(&bastion).await;
        }
    }
}

/// One connection, logged in.
pub(super) struct Session {
    handle: Handle<Client>,
    pub(super) address: String,
    lost: Arc<Mutex<String>>,
    /// How many commands run on it.
    pub(super) running: AtomicUsize,
}

impl Session {
    pub(super) async fn channel(&self) -> Result<Channel<Msg>, CommunicatorError> {
        match tokio::time::timeout(CHANNEL_TIMEOUT, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Err(CommunicatorError::CommandRefused {
                address: self.address.clone(),
                reason: open_failure(&failure),
            }),
            Ok(Err(_)) => Err(self.lost()),
            Err(_) => Err(CommunicatorError::ConnectionLost {
                address: self.address.clone(),
                reason: "it does not answer any more".to_owned(),
            }),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.handle.is_closed()
    }

    /// The error of an operation that found the connection gone.
    pub(super) fn lost(&self) -> CommunicatorError {
        CommunicatorError::ConnectionLost {
            address: self.address.clone(),
            reason: locked(&self.lost).clone(),
        }
    }

    pub(super) async fn close(&self) {
        goodbye(&self.handle).await;
    }
}

async fn goodbye(handle: &Handle<Client>) {
    // A connection that is lost already has nobody to say goodbye to.
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
}

/// What happens on a connection without being asked for: the host key, and the end.
pub(super) struct Client {
    pin: Pin,
    seen: Pin,
    lost: Arc<Mutex<String>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let key = key.public_key();
        let accepted = locked(&self.pin).as_ref().is_none_or(|pinned| pinned.key_data() == key.key_data());
        *locked(&self.seen) = Some(key);
        Ok(accepted)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Self::Error>) -> Result<(), Self::Error> {
        *locked(&self.lost) = match &reason {
            DisconnectReason::ReceivedDisconnect(info) => info.message.clone(),
            DisconnectReason::Error(russh::Error::KeepaliveTimeout) => {
                "it does not answer any more".to_owned()
            }
            DisconnectReason::Error(russh::Error::InactivityTimeout) => {
                "it was silent for longer than ssh_read_write_timeout".to_owned()
            }
            // `Disconnect` and `HUP` only repeat that the connection is gone.
            DisconnectReason::Error(russh::Error::IO(error)) => error.to_string(),
            DisconnectReason::Error(_) => String::new(),
        };
        match reason {
            DisconnectReason::ReceivedDisconnect(_) => Ok(()),
            DisconnectReason::Error(error) => Err(error),
        }
    }
}

/// Opens a TCP connection and waits for the server's first byte, so that a server that says nothing is told apart.
async fn dial(
    host: &str,
    port: u16,
    address: &str,
    patience: Duration,
    deadline: Option<Instant>,
) -> Result<TcpStream, CommunicatorError> {
    let unreachable = |reason| CommunicatorError::Unreachable { address: address.to_owned(), reason };
    let addresses =
        match timeout_at(sooner(BASTION_DIAL_TIMEOUT, deadline), tokio::net::lookup_host((host, port))).await
        {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(error)) => return Err(unreachable(UnreachableReason::NameNotFound(error.to_string()))),
            Err(_) => {
                return Err(unreachable(UnreachableReason::NameNotFound("no answer from DNS".to_owned())));
            }
        };
    let mut last = UnreachableReason::NameNotFound("it has no address".to_owned());
    for socket in addresses {
        let stream = match timeout_at(sooner(DIAL_TIMEOUT, deadline), TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                last = reason(&error);
                continue;
            }
            Err(_) => {
                last = UnreachableReason::TimedOut;
                continue;
            }
        };
        // An interactive protocol: small packets must not wait for larger ones.
        stream.set_nodelay(true).map_err(|error| unreachable(reason(&error)))?;
        return match timeout_at(sooner(patience, deadline), stream.peek(&mut [0])).await {
            Ok(Ok(0)) => Err(unreachable(UnreachableReason::HungUp)),
            Ok(Ok(_)) => Ok(stream),
            Ok(Err(error)) => Err(unreachable(reason(&error))),
            Err(_) => Err(unreachable(UnreachableReason::NoBanner)),
        };
    }
    Err(unreachable(last))
}

/// How to log in somewhere.
struct Login<'a> {
    address: &'a str,
    user: &'a str,
    auth: &'a [Auth],
    pin: &'a Pin,
    config: &'a Arc<client::Config>,
}

impl Login<'_> {
    async fn over<S>(
        &self,
        stream: S,
        deadline: Option<Instant>,
    ) -> Result<(Handle<Client>, Arc<Mutex<String>>), CommunicatorError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Boxed: the state of a handshake is large, and this future is part of many others.
        let work = Box::pin(self.handshake(stream));
        timeout_at(sooner(HANDSHAKE_TIMEOUT, deadline), work)
            .await
            .unwrap_or_else(|_| Err(self.failed("it took too long".to_owned())))
    }

    async fn handshake<S>(&self, stream: S) -> Result<(Handle<Client>, Arc<Mutex<String>>), CommunicatorError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let seen = Pin::default();
        let lost = Arc::new(Mutex::new(String::new()));
        let client = Client { pin: Arc::clone(self.pin), seen: Arc::clone(&seen), lost: Arc::clone(&lost) };
        let mut handle = match client::connect_stream(Arc::clone(self.config), stream, client).await {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => return Err(self.other_host_key(&seen)),
            Err(error) => return Err(self.handshake_error(error)),
        };
        self.authenticate(&mut handle, &lost).await?;
        // Only a login makes the key known: before it, a machine that has not got its final keys yet may answer.
        let mut pin = locked(self.pin);
        if pin.is_none() {
            *pin = locked(&seen).take();
        }
        drop(pin);
        Ok((handle, lost))
    }

    async fn authenticate(
        &self,
        handle: &mut Handle<Client>,
        lost: &Mutex<String>,
    ) -> Result<(), CommunicatorError> {
        if self.auth.is_empty() {
            return Err(CommunicatorError::NoCredentials { address: self.address.to_owned() });
        }
        let mut tried = Vec::new();
        let mut accepted = Vec::new();
        for auth in self.auth {
            // What the server has ruled out would only count against us (`MaxAuthTries`).
            if !accepted.is_empty() && !accepted.iter().any(|method| method == auth.method()) {
                continue;
            }
            let answer = attempt(handle, self.user, auth).await;
            match answer {
                Ok(AuthResult::Success) => return Ok(()),
                Ok(AuthResult::Failure { remaining_methods, .. }) if !handle.is_closed() => {
                    tried.push(auth.describe());
                    accepted = names(&remaining_methods);
                }
                // The server hung up on us. If it had refused something before, that is the reason.
                Ok(AuthResult::Failure { .. }) | Err(_) if tried.is_empty() => {
                    let reason = locked(lost).clone();
                    let reason = if reason.is_empty() {
                        "it closed the connection during the login".to_owned()
                    } else {
                        reason
                    };
                    return Err(self.failed(reason));
                }
                Ok(AuthResult::Failure { .. }) | Err(_) => {
                    tried.push(auth.describe());
                    break;
                }
            }
        }
        Err(CommunicatorError::AuthenticationRefused {
            address: self.address.to_owned(),
            user: self.user.to_owned(),
            tried,
            accepted,
            refusals: 1,
        })
    }

    fn other_host_key(&self, seen: &Pin) -> CommunicatorError {
        let fingerprint = |key: &Pin| {
            locked(key).as_ref().map_or_else(String::new, |key| key.fingerprint(HashAlg::Sha256).to_string())
        };
        CommunicatorError::HostKeyChanged {
            address: self.address.to_owned(),
            expected: fingerprint(self.pin),
            found: fingerprint(seen),
        }
    }

    fn failed(&self, reason: String) -> CommunicatorError {
        CommunicatorError::HandshakeFailed { address: self.address.to_owned(), reason }
    }

    fn handshake_error(&self, error: russh::Error) -> CommunicatorError {
        match error {
            russh::Error::NoCommonAlgo { kind, ours, theirs } => CommunicatorError::NothingInCommon {
                address: self.address.to_owned(),
                kind: format!("{kind:?}").to_lowercase(),
                ours: ours.join(", "),
                theirs: theirs.join(", "),
            },
            russh::Error::IO(_) | russh::Error::HUP | russh::Error::Disconnect => {
                CommunicatorError::Unreachable {
                    address: self.address.to_owned(),
                    reason: UnreachableReason::HungUp,
                }
            }
            russh::Error::Version => self.failed("it does not speak SSH".to_owned()),
            error => self.failed(error.to_string()),
        }
    }
}

async fn attempt(handle: &mut Handle<Client>, user: &str, auth: &Auth) -> Result<AuthResult, russh::Error> {
    match auth {
        Auth::Key(key) => {
            let key = key.inner();
            // Today's servers take RSA keys with SHA-2 only, and one that does not say so takes SHA-256 too.
            let hash = if key.algorithm().is_rsa() {
                handle.best_supported_rsa_hash().await?.unwrap_or(Some(HashAlg::Sha256))
            } else {
                None
            };
            handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash)).await
        }
        Auth::Certificate(key, certificate) => {
            handle.authenticate_openssh_cert(user, key.inner(), certificate.as_ref().clone()).await
        }
        Auth::Password(password) => handle.authenticate_password(user, password.expose_secret()).await,
        Auth::KeyboardInteractive(password) => {
            let mut answer = handle.authenticate_keyboard_interactive_start(user, None::<String>).await?;
            let mut asked = 0;
            loop {
                match answer {
                    KeyboardInteractiveAuthResponse::Success => return Ok(AuthResult::Success),
                    KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success } => {
                        return Ok(AuthResult::Failure { remaining_methods, partial_success });
                    }
                    KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                        asked += prompts.len().max(1);
                        if asked > MAX_QUESTIONS {
                            return Ok(AuthResult::Failure {
                                remaining_methods: MethodSet::empty(),
                                partial_success: false,
                            });
                        }
                        let answers = prompts.iter().map(|_| password.expose_secret().to_owned()).collect();
                        answer = handle.authenticate_keyboard_interactive_respond(answers).await?;
                    }
                }
            }
        }
    }
}

fn names(methods: &MethodSet) -> Vec<String> {
    methods.iter().map(String::from).collect()
}

fn open_failure(failure: &ChannelOpenFailure) -> String {
    match failure {
        ChannelOpenFailure::AdministrativelyProhibited => "it is not allowed".to_owned(),
        ChannelOpenFailure::ConnectFailed => "the connection failed".to_owned(),
        ChannelOpenFailure::UnknownChannelType => "it cannot do that".to_owned(),
        ChannelOpenFailure::ResourceShortage => "it is short of resources".to_owned(),
        ChannelOpenFailure::Other { reason, .. } => reason.clone(),
    }
}

fn reason(error: &io::Error) -> UnreachableReason {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => UnreachableReason::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => UnreachableReason::NoRoute,
        io::ErrorKind::TimedOut => UnreachableReason::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof => {
            UnreachableReason::HungUp
        }
        _ => UnreachableReason::Other(error.to_string()),
    }
}

/// The end of `limit` from now, or the deadline if that is sooner.
fn sooner(limit: Duration, deadline: Option<Instant>) -> Instant {
    let end = Instant::now() + limit;
    deadline.map_or(end, |deadline| deadline.min(end))
}
