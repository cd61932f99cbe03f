//! The one thread that goes through the doors between network namespaces. Namespaces belong to threads, so nothing
//! that enters one may run on a thread of the runtime. It is also the parent of all VMs: they are bound to this
//! thread's life, which is the backend's.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, mpsc},
};

use nix::sched::{CloneFlags, setns, unshare};
use tokio::{net::TcpSocket, sync::oneshot};

use crate::machine::sys;

/// The address of the metadata service in every VM.
pub(super) const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

type Job = Box<dyn FnOnce() + Send>;

/// A handle on the thread; it ends, and all VMs with it, when the last handle is dropped.
#[derive(Debug, Clone)]
pub(super) struct Porter {
    jobs: mpsc::Sender<Job>,
}

/// The network namespace of a VM: `lo` with the metadata service's address.
#[derive(Debug)]
pub(super) struct Network {
    namespace: File,
}

impl Porter {
    /// Starts the thread, in the network namespace of the caller.
    pub fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        let home = File::open("/proc/thread-self/ns/net")?;
        std::thread::Builder::new().name("vm-porter".to_owned()).spawn(move || {
            for job in waiting {
                job();
                if let Err(error) = setns(&home, CloneFlags::CLONE_NEWNET) {
                    // Anything done from here on would happen in the wrong network.
                    tracing::error!(%error, "the sandbox cannot leave a VM's network namespace; all VMs end");
                    return;
                }
            }
        })?;
        Ok(Self { jobs })
    }

    /// Makes a network for a VM, and the listener of its metadata service.
    pub async fn new_network(&self) -> io::Result<(Arc<Network>, TcpListener)> {
        self.run(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            sys::set_up_loopback(METADATA_ADDRESS)?;
            let listener = TcpListener::bind((METADATA_ADDRESS, 80))?;
            listener.set_nonblocking(true)?;
            let namespace = File::open("/proc/thread-self/ns/net")?;
            Ok((Arc::new(Network { namespace }), listener))
        })
        .await
    }

    /// Connects to an address inside a VM's network.
    pub async fn connect(
        &self,
        network: &Arc<Network>,
        address: SocketAddr,
    ) -> io::Result<tokio::net::TcpStream> {
        // A socket belongs to the namespace in which it was made, wherever it is used.
        let socket = self.run_in(network, TcpSocket::new_v4).await?;
        socket.connect(address).await
    }

    /// Does something inside a VM's network, on the thread that is the VMs' parent.
    pub async fn run_in<T: Send + 'static>(
        &self,
        network: &Arc<Network>,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let network = Arc::clone(network);
        self.run(move || {
            setns(&network.namespace, CloneFlags::CLONE_NEWNET)?;
            job()
        })
        .await
    }

    /// Does something outside of all VMs, on the thread that is the VMs' parent.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts VMs has ended");
        self.jobs.send(Box::new(move || drop(answer.send(job())))).map_err(|_closed| gone())?;
        answered.await.map_err(|_closed| gone())?
    }
}

impl Network {
    /// The namespace as a path, for helper programs; valid while this process has it open.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}
