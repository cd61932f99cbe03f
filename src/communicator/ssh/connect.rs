//! Getting in: tries until the machine lets us in, quickly at first, and tells the reader of the log whenever the
//! obstacle becomes another one.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{CommunicatorError, Session, SshCommunicator, SshTarget, Way};
use crate::{
    communicator::UnreachableReason,
    domain::{duration, log::Output},
};

/// The pauses between tries while nobody answers: from the first to the last, growing by half.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(2);
/// The pauses after a refused login. OpenSSH (since 9.8, `PerSourcePenalties`) holds 5 s against us for each, and
/// shuts us out when 15 s have come together: after two quick tries we stay just below.
const PAUSES_AFTER_REFUSAL: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_millis(5500)];
/// How long a server that accepts connections may be silent, at first and at last. It doubles, so that a machine too
/// slow for the first value is let in in the end.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const LAST_PATIENCE: Duration = Duration::from_secs(60);
/// How often the reader of the log hears that we still try.
const REMIND_EVERY: Duration = Duration::from_secs(30);

/// Connects and logs in, again and again, until it works, `deadline` is over (zero: no limit), the login has been
/// refused `handshake_attempts` times (0: as often as it takes), or `cancel` is.
///
/// # Errors
/// [`CommunicatorError::TimedOut`] with what the last try met; [`CommunicatorError::AuthenticationRefused`] after
/// `handshake_attempts`; at once what cannot get better by waiting; [`CommunicatorError::Cancelled`].
pub async fn connect(
    target: &SshTarget,
    deadline: Duration,
    handshake_attempts: u32,
    cancel: &CancellationToken,
    output: &dyn Output,
) -> Result<SshCommunicator, CommunicatorError> {
    let address = target.address();
    if target.auth.is_empty() {
        return Err(CommunicatorError::NoCredentials { address });
    }
    let way = Way::new(target.clone())?;
    let over =
        target.bastion.as_ref().map_or_else(String::new, |bastion| format!(" over {}", bastion.address()));
    output.say(&format!("Connecting to {address} by SSH as {}{over}", target.user)).await;
    let started = Instant::now();
    let end = (!deadline.is_zero()).then(|| started + deadline);
    let (session, tries) = until_in(&way, end, deadline, handshake_attempts, cancel, Some(output)).await?;
    let tries = if tries == 1 { "at the first try".to_owned() } else { format!("at try {tries}") };
    output
        .say(&format!("Connected to {address} after {:.1} s, {tries}", started.elapsed().as_secs_f64()))
        .await;
    Ok(SshCommunicator::new(way, session, cancel))
}

/// Tries until it works. Answers the number of tries, too.
pub(super) async fn until_in(
    way: &Way,
    end: Option<Instant>,
    deadline: Duration,
    handshake_attempts: u32,
    cancel: &CancellationToken,
    output: Option<&dyn Output>,
) -> Result<(Session, u32), CommunicatorError> {
    let address = way.target.address();
    let mut obstacle = Obstacle::new();
    let mut refusals = 0;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut error = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(CommunicatorError::Cancelled),
            opened = way.open(obstacle.patience, end) => match opened {
                Ok(session) => return Ok((session, tries)),
                Err(error) => error,
            },
        };
        if let CommunicatorError::AuthenticationRefused { refusals: so_far, .. } = &mut error {
            refusals += 1;
            *so_far = refusals;
            if handshake_attempts > 0 && refusals >= handshake_attempts {
                return Err(error);
            }
        }
        if !error.is_retryable() {
            return Err(error);
        }
        let mut pause = obstacle.met(&error, output).await;
        if let Some(left) =
            end.map(|end| end.saturating_duration_since(Instant::now())).filter(|left| *left <= pause)
        {
            if left < FIRST_PAUSE {
                return Err(CommunicatorError::TimedOut {
                    address,
                    after: deadline,
                    last: Some(Box::new(error)),
                });
            }
            // Towards the end all of the time is used.
            pause = left / 2;
        }
        if timeout(pause, cancel.cancelled()).await.is_ok() {
            return Err(CommunicatorError::Cancelled);
        }
    }
}

/// What stands in the way, and for how long.
struct Obstacle {
    code: &'static str,
    times: usize,
    pause: Duration,
    patience: Duration,
    started: Instant,
    told: Instant,
}

impl Obstacle {
    fn new() -> Self {
        let now = Instant::now();
        Self { code: "", times: 0, pause: FIRST_PAUSE, patience: FIRST_PATIENCE, started: now, told: now }
    }

    /// Notes another failed try, tells about it if it is news, and answers how long to wait before the next one.
    async fn met(&mut self, error: &CommunicatorError, output: Option<&dyn Output>) -> Duration {
        let is_news = self.code != error.code();
        if is_news {
            // Another obstacle is progress: the next may fall soon.
            (self.code, self.times, self.pause) = (error.code(), 0, FIRST_PAUSE);
        }
        self.times += 1;
        if matches!(error, CommunicatorError::Unreachable { reason: UnreachableReason::NoBanner, .. }) {
            self.patience = (self.patience * 2).min(LAST_PATIENCE);
        }
        if let Some(output) = output {
            if is_news {
                self.told = Instant::now();
                output.say(&format!("Not in yet: {error}; trying again")).await;
            } else if self.told.elapsed() >= REMIND_EVERY {
                self.told = Instant::now();
                let waited = duration::format(Duration::from_secs(self.started.elapsed().as_secs()));
                output.say(&format!("Still not in after {waited}: {error}")).await;
            }
        }
        if matches!(error, CommunicatorError::AuthenticationRefused { .. }) {
            return PAUSES_AFTER_REFUSAL[(self.times - 1).min(PAUSES_AFTER_REFUSAL.len() - 1)];
        }
        let pause = self.pause;
        self.pause = (pause * 3 / 2).min(LAST_PAUSE);
        pause
    }
}
