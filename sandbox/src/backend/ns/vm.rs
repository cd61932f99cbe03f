//! One VM's life: started, watched, restarted, stopped. One lock per VM puts everything that is asked of it, and
//! what it does by itself, into an order.

use std::{
    collections::HashMap,
    ffi::CString,
    fs::File,
    io::{self, Read},
    net::SocketAddr,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::sync::{Mutex as AsyncMutex, watch};

use super::{
    Inner,
    devices::Plugged,
    init::{VM_INIT, VmInit},
};
use crate::{
    backend::{
        BackendError, Disk, PowerEvent, VmSpec, blocking,
        console::Console,
        doing,
        net::{Network, VmNetwork, outbound::NAME_SERVER},
    },
    machine::sys,
};

/// How long the inside gets to end its processes before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long the kernel gets to end a killed VM: it writes the root volume back.
const KILL_PATIENCE: Duration = Duration::from_secs(60);
/// As the power button.
const POWER_BUTTON: Signal = Signal::SIGPWR;

/// A VM, running or not.
pub(super) struct Vm {
    id: String,
    console: Arc<Console>,
    running: AsyncMutex<Option<Running>>,
    /// Where its open ports are reached, for whoever cannot wait for the lock.
    reached: Mutex<HashMap<u16, SocketAddr>>,
}

/// What a VM has only while it runs.
struct Running {
    spec: VmSpec,
    process: Process,
    /// The first is the root volume.
    disks: Vec<Plugged>,
    network: VmNetwork,
}

/// The first process of a VM.
struct Process {
    pid: Pid,
    ended: watch::Receiver<Option<PowerEvent>>,
}

impl Vm {
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            console: Arc::default(),
            running: AsyncMutex::default(),
            reached: Mutex::default(),
        })
    }

    pub fn console(&self) -> Vec<u8> {
        self.console.read()
    }

    pub fn dial_address(&self, port: u16) -> Option<SocketAddr> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(&port).copied()
    }

    /// Ends it at once, without waiting for anything.
    pub fn kill(&self) {
        // Who holds the lock is being dropped together with the runtime, or stops the VM already.
        if let Ok(guard) = self.running.try_lock()
            && let Some(running) = guard.as_ref()
            && let Err(error) = running.process.signal(Signal::SIGKILL)
        {
            tracing::warn!(vm.id = self.id, %error, "VM {} could not be killed", self.id);
        }
    }

    pub async fn start(self: &Arc<Self>, inner: &Arc<Inner>, spec: VmSpec) -> Result<(), BackendError> {
        let mut running = self.running.lock().await;
        if running.is_none() {
            *running = Some(self.boot(inner, spec).await?);
        }
        Ok(())
    }

    pub async fn stop(&self, inner: &Inner, force: bool) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        running.process.shut_down(force).await.map_err(doing(format!("stop {}", self.id)))?;
        if let Some(running) = guard.take() {
            self.release(inner, running).await;
        }
        Ok(())
    }

    pub async fn reboot(self: &Arc<Self>, inner: &Arc<Inner>) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        running.process.shut_down(false).await.map_err(doing(format!("restart {}", self.id)))?;
        self.boot_again(inner, &mut guard).await
    }

    pub async fn attach(&self, inner: &Inner, disk: Disk) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        // A stopped VM gets its volumes when it is started.
        let Some(running) = guard.as_mut() else { return Ok(()) };
        if running.disks.iter().any(|plugged| plugged.disk.volume_id == disk.volume_id) {
            return Ok(());
        }
        let what = format!("plug {} into {} as {}", disk.volume_id, self.id, disk.device_name);
        let (pid, name) = (running.process.pid, Plugged::free_name(&running.disks));
        let plugged = blocking(move || {
            let plugged = Plugged::attach(disk, name)?;
            plugged.make_nodes(pid)?;
            Ok(plugged)
        })
        .await
        .map_err(doing(what))?;
        inner.plugged.insert(pid, &plugged);
        running.disks.push(plugged);
        Ok(())
    }

    pub async fn detach(&self, inner: &Inner, volume_id: &str) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        let Some(index) = running.disks.iter().position(|plugged| plugged.disk.volume_id == volume_id) else {
            return Ok(());
        };
        let what = format!("unplug {volume_id} from {}", self.id);
        let pid = running.process.pid;
        let mounted = running.disks[index].mount_points(pid).map_err(doing(what.clone()))?;
        if let Some(mount_point) = mounted.first() {
            let message = format!("it is mounted inside at {}", mount_point.display());
            return Err(doing(what)(io::Error::new(io::ErrorKind::ResourceBusy, message)));
        }
        let plugged = running.disks.remove(index);
        inner.plugged.remove(&plugged);
        blocking(move || {
            plugged.remove_nodes(pid)?;
            plugged.loop_device.release()
        })
        .await
        .map_err(doing(what))
    }

    pub async fn flush(&self, volume_id: &str) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        let Some(index) = running.disks.iter().position(|plugged| plugged.disk.volume_id == volume_id) else {
            return Ok(());
        };
        let (plugged, pid) = (running.disks.remove(index), running.process.pid);
        let (plugged, flushed) = blocking(move || {
            let flushed = plugged.flush(pid);
            Ok((plugged, flushed))
        })
        .await
        .map_err(doing(format!("flush {volume_id}")))?;
        running.disks.insert(index, plugged);
        flushed.map_err(doing(format!("flush {volume_id}")))
    }

    /// Changes addresses or rules of a running VM; a stopped one gets them when it is started.
    pub async fn configure(&self, change: impl FnOnce(&mut VmSpec)) -> Result<(), BackendError> {
        let mut guard = self.running.lock().await;
        let Some(running) = guard.as_mut() else { return Ok(()) };
        change(&mut running.spec);
        let result = running.network.configure(&running.spec).await;
        self.remember_addresses(&running.network);
        result.map_err(doing(format!("listen on the addresses of {}", self.id)))
    }

    async fn boot(self: &Arc<Self>, inner: &Arc<Inner>, spec: VmSpec) -> Result<Running, BackendError> {
        let (root, volumes) = (spec.root.clone(), spec.volumes.clone());
        let disks = blocking(move || {
            let root = Plugged::attach_root(root)?;
            root.grow_root();
            let mut disks = vec![root];
            for disk in volumes {
                let name = Plugged::free_name(&disks);
                disks.push(Plugged::attach(disk, name)?);
            }
            Ok(disks)
        });
        let network = VmNetwork::open(&inner.porter, &inner.config.net, &spec);
        let (disks, network) = tokio::join!(disks, network);
        let disks = disks.map_err(doing(format!("attach the volumes of {}", self.id)))?;
        let network = network.map_err(doing(format!("connect {} to a network", self.id)))?;
        let process = self.launch(inner, &spec, &disks, &network.network).await?;
        self.remember_addresses(&network);
        Ok(Running { spec, process, disks, network })
    }

    /// Starts the first process anew, with everything around it as it is.
    async fn boot_again(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        guard: &mut Option<Running>,
    ) -> Result<(), BackendError> {
        let Some(running) = guard.as_mut() else { return Ok(()) };
        match self.launch(inner, &running.spec, &running.disks, &running.network.network).await {
            Ok(process) => running.process = process,
            Err(error) => {
                if let Some(running) = guard.take() {
                    self.release(inner, running).await;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    async fn launch(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        spec: &VmSpec,
        disks: &[Plugged],
        network: &Arc<Network>,
    ) -> Result<Process, BackendError> {
        let what = || format!("start {}", self.id);
        let Some(root) = disks.first() else {
            return Err(doing(what())(io::Error::other("it has no root volume")));
        };
        let description = VmInit {
            hostname: spec.hostname.clone(),
            root_device: root.root_device(),
            mount_point: inner.mount_point.clone(),
            nodes: disks.iter().flat_map(Plugged::nodes).collect(),
            name_server: inner.config.net.outbound.then(|| NAME_SERVER.to_owned()),
        };
        let process = self.spawn(inner, &description, network).await.map_err(doing(what()))?;
        for plugged in disks {
            inner.plugged.insert(process.pid, plugged);
        }
        Ok(process)
    }

    async fn spawn(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        description: &VmInit,
        network: &Arc<Network>,
    ) -> io::Result<Process> {
        let program = CString::new(inner.program.as_os_str().as_bytes())?;
        let description = serde_json::to_string(description)?;
        let arguments = ["oapi-sandbox", VM_INIT, &description].map(CString::new);
        let arguments: Vec<CString> = arguments.into_iter().collect::<Result<_, _>>()?;
        let console = self.console.writer()?;
        let (mut status, status_writer) = io::pipe()?;
        let pid = network
            .run(move || {
                let null = File::open("/dev/null")?;
                sys::spawn_in_namespaces(
                    &program,
                    &arguments,
                    null.as_fd(),
                    console.as_fd(),
                    status_writer.as_fd(),
                )
            })
            .await?;
        let ended = self.watch(inner, pid)?;
        // The pipe ends when the image's own init is executed; until then what fails is written to it.
        let mut failure = String::new();
        let failure = blocking(move || status.read_to_string(&mut failure).map(|_length| failure)).await?;
        let mut process = Process { pid, ended };
        if failure.is_empty() {
            return Ok(process);
        }
        process.shut_down(true).await?;
        self.console.note(&failure);
        Err(io::Error::other(failure))
    }

    /// Waits in the background for the process to end, reaps it and does what follows.
    fn watch(
        self: &Arc<Self>,
        inner: &Arc<Inner>,
        pid: Pid,
    ) -> io::Result<watch::Receiver<Option<PowerEvent>>> {
        let end = sys::when_readable(sys::pidfd_open(pid)?)?;
        let (announce, ended) = watch::channel(None);
        let (vm, inner) = (Arc::clone(self), Arc::downgrade(inner));
        tokio::spawn(async move {
            let _ = end.readable().await;
            let event = match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                // How reboot(2) ends a pid namespace.
                Ok(WaitStatus::Signaled(_, Signal::SIGINT, _) | WaitStatus::Exited(_, 0)) => {
                    PowerEvent::PoweredOff
                }
                Ok(WaitStatus::Signaled(_, Signal::SIGHUP, _)) => PowerEvent::Rebooted,
                _ => PowerEvent::Died,
            };
            announce.send_replace(Some(event));
            vm.ended_by_itself(&inner, pid, event).await;
        });
        Ok(ended)
    }

    /// Follows up on a process that ended, unless somebody who holds the lock wanted it to.
    async fn ended_by_itself(self: &Arc<Self>, inner: &Weak<Inner>, pid: Pid, event: PowerEvent) {
        let Some(inner) = inner.upgrade() else { return };
        let mut guard = self.running.lock().await;
        if guard.as_ref().is_none_or(|running| running.process.pid != pid) {
            return;
        }
        let event = match event {
            PowerEvent::Rebooted => match self.boot_again(&inner, &mut guard).await {
                Ok(()) => PowerEvent::Rebooted,
                Err(error) => {
                    tracing::warn!(vm.id = self.id, %error, "VM {} did not come back from its reboot", self.id);
                    PowerEvent::Died
                }
            },
            ended => {
                if let Some(running) = guard.take() {
                    self.release(&inner, running).await;
                }
                ended
            }
        };
        drop(guard);
        inner.tell(&self.id, event);
    }

    /// Frees everything that a VM held; returns when its ports and volumes are free.
    async fn release(&self, inner: &Inner, running: Running) {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let Running { disks, network, .. } = running;
        for plugged in &disks {
            inner.plugged.remove(plugged);
        }
        network.close().await;
        let released = blocking(move || {
            let results: Vec<_> = disks.into_iter().map(|plugged| plugged.loop_device.release()).collect();
            results.into_iter().collect::<io::Result<()>>()
        });
        if let Err(error) = released.await {
            tracing::warn!(vm.id = self.id, %error, "the volumes of VM {} were not freed", self.id);
        }
    }

    fn remember_addresses(&self, network: &VmNetwork) {
        *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = network.dial_addresses();
    }
}

impl Process {
    /// Ends the process, and with it all others of the VM and its mounts.
    async fn shut_down(&mut self, force: bool) -> io::Result<()> {
        if !force {
            self.signal(POWER_BUTTON)?;
            if tokio::time::timeout(GRACE, self.ended.wait_for(Option::is_some)).await.is_ok() {
                return Ok(());
            }
        }
        self.signal(Signal::SIGKILL)?;
        match tokio::time::timeout(KILL_PATIENCE, self.ended.wait_for(Option::is_some)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its processes do not end")),
        }
    }

    /// Nothing is sent after the end was announced: the pid may be another process's by then.
    fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.ended.borrow().is_none() {
            match kill(self.pid, signal) {
                Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
