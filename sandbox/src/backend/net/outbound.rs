//! The way out: slirp4netns gives a VM's network an interface with NAT through this machine, without a bridge or a
//! firewall rule on it.

use std::{
    io,
    process::{Child, Command, Stdio},
};

use super::porter::{Network, Porter};

/// slirp4netns's own name server inside the VM's network; it passes questions on to this machine's.
pub const NAME_SERVER: &str = "10.0.2.3";

/// A running slirp4netns; it is killed when this is dropped, and dies with the sandbox.
#[derive(Debug)]
pub struct Outbound {
    helper: Child,
}

impl Outbound {
    /// Connects a network; the interface appears some milliseconds later. `home` is the thread in this machine's own
    /// network whose end kills the helper.
    pub async fn start(home: &Porter, network: &Network) -> io::Result<Self> {
        let path = network.path();
        let helper = home
            .run(move || {
                Command::new("setpriv")
                    .args(["--pdeathsig", "KILL", "slirp4netns", "--configure", "--mtu=1400"])
                    .args(["--disable-host-loopback", "--netns-type=path"])
                    .arg(path)
                    .arg("eth0")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
            })
            .await?;
        Ok(Self { helper })
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        // It was killed and has nothing to write, so waiting for it takes no time.
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}
