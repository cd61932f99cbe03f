//! The doors between network namespaces. Namespaces belong to threads, so nothing that enters one may run on a
//! thread of the runtime: each VM's network has a thread of its own, which lives inside and does there what it is
//! asked for. It is also the parent of what runs for the VM, so that it all ends with the network, however that ends.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, mpsc},
};

use nix::sched::{CloneFlags, unshare};
use tokio::{net::TcpSocket, sync::oneshot};

use crate::machine::sys;

/// The address of the metadata service in every VM.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does what it is sent; it ends, and all processes that it started, when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Porter {
    jobs: mpsc::Sender<Job>,
}

/// The network namespace of a VM: `lo` with the metadata service's address, and what is added later.
#[derive(Debug)]
pub struct Network {
    inside: Porter,
    namespace: File,
}

impl Porter {
    /// Starts a thread in the network of this machine.
    pub fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("vm-porter".to_owned())
            .spawn(move || waiting.into_iter().for_each(|job| job()))?;
        Ok(Self { jobs })
    }

    /// Does something on the thread, which is then the parent of whatever is started.
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
    /// Makes a network for a VM, and the listener of its metadata service.
    pub async fn make() -> io::Result<(Arc<Self>, TcpListener)> {
        let inside = Porter::start()?;
        let (namespace, listener) = inside
            .run(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                sys::set_up_loopback(METADATA_ADDRESS)?;
                let listener = TcpListener::bind((METADATA_ADDRESS, 80))?;
                listener.set_nonblocking(true)?;
                Ok((File::open("/proc/thread-self/ns/net")?, listener))
            })
            .await?;
        Ok((Arc::new(Self { inside, namespace }), listener))
    }

    /// Connects to an address inside.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        // A socket belongs to the namespace in which it was made, wherever it is used.
        let socket = self.inside.run(TcpSocket::new_v4).await?;
        socket.connect(address).await
    }

    /// Does something inside, on the thread that is the parent of the VM's processes.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.inside.run(job).await
    }

    /// The namespace as a path, for helper programs; valid while this process has it open.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}
