//! All volumes of this machine: linked, watched, released.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};

use super::{
    DeviceLinks,
    claims::{Claim, Claims},
    linked::Linked,
    record::{Record, Recorded},
};
use crate::{
    backend::Disk,
    machine::{
        loop_device::{Departure, LoopDevice},
        sys,
    },
};

/// How often the partition tables of linked volumes are looked at if nobody has just closed their devices; that costs some
/// microseconds.
const WATCH_INTERVAL: u16 = 50;
/// How long devices that nobody has mounted may take to go, at the end of the sandbox.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// What became of an order to release a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// It is free.
    Done,
    /// Somebody still uses it; ask again later.
    InUse,
}

/// This machine.
#[derive(Debug)]
pub(super) struct HostMachine {
    pub vm_id: String,
    dev: PathBuf,
    claims: Claims,
    /// Whether the kernel reads partition tables; else programs need not ask it to.
    scans: bool,
    /// Tells of devices that were just closed, as udev is told: programs that write partition tables are done then.
    closed: Inotify,
    devices: Mutex<Devices>,
}

#[derive(Debug)]
struct Devices {
    /// By volume: names that are promised to it.
    promised: HashMap<String, (Claim, DeviceLinks)>,
    linked: HashMap<String, Linked>,
    /// Without links already, but somebody still has the device open.
    leaving: HashMap<String, (Departure, Claim)>,
    record: Record,
    is_watched: bool,
}

impl Devices {
    /// Takes a volume out of the record, at the end.
    fn forget(&mut self, volume_id: &str) {
        if let Err(error) = self.record.remove(volume_id) {
            tracing::warn!(%error, "the record of devices could not be written");
        }
    }
}

impl HostMachine {
    /// Without any volume.
    pub fn new(vm_id: &str, record: PathBuf) -> io::Result<Self> {
        let dev = PathBuf::from("/dev");
        let claims = Claims::new(&dev)?;
        let scans = LoopDevice::kernel_reads_tables(record.parent().unwrap_or(&std::env::temp_dir()))?;
        let devices = Devices {
            promised: HashMap::new(),
            linked: HashMap::new(),
            leaving: HashMap::new(),
            record: Record::new(record),
            is_watched: false,
        };
        let closed = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { vm_id: vm_id.to_owned(), dev, claims, scans, closed, devices: Mutex::new(devices) })
    }

    fn devices(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises a name to a volume; false: it is taken. Blocks for less than a millisecond.
    pub fn claim(&self, volume_id: &str, device_name: &str, links: DeviceLinks) -> bool {
        match self.claims.take(device_name) {
            Ok(Some(claim)) => {
                self.devices().promised.insert(volume_id.to_owned(), (claim, links));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "{device_name} could not be reserved");
                false
            }
        }
    }

    /// Makes a block device of a volume that a name was promised to. Blocks for some milliseconds.
    pub fn attach(self: &Arc<Self>, disk: Disk) -> io::Result<()> {
        let mut devices = self.devices();
        let Some((claim, links)) = devices.promised.remove(&disk.volume_id) else {
            let is_linked = devices.linked.contains_key(&disk.volume_id);
            return if is_linked { Ok(()) } else { Err(io::Error::other("no name was promised to it")) };
        };
        let mut linked = Linked::attach(disk, claim, links, self.scans)?;
        let volume_id = linked.disk.volume_id.clone();
        let recorded = Recorded {
            volume_id: volume_id.clone(),
            letters: linked.claim.letters.clone(),
            loop_number: linked.loop_device.number(),
            file: linked.disk.file.clone(),
        };
        let made = devices.record.add(recorded).and_then(|()| linked.make_links(&self.dev));
        if let Err(error) = made {
            drop(linked.let_go(&self.dev));
            devices.record.remove(&volume_id)?;
            return Err(error);
        }
        linked.watch = self.closed.add_watch(&linked.loop_device.path(), AddWatchFlags::IN_CLOSE).ok();
        devices.linked.insert(volume_id, linked);
        if !devices.is_watched {
            let machine = Arc::clone(self);
            std::thread::Builder::new().name("host-devices".to_owned()).spawn(move || machine.watch())?;
            devices.is_watched = true;
        }
        Ok(())
    }

    /// Takes a volume away as soon as nobody uses it. Blocks for some milliseconds.
    pub fn release(&self, volume_id: &str) -> io::Result<Release> {
        let mut devices = self.devices();
        devices.promised.remove(volume_id);
        if let Some(linked) = devices.linked.get(volume_id) {
            if linked.loop_device.is_in_use()? {
                return Ok(Release::InUse);
            }
            linked.loop_device.flush_all()?;
        }
        if let Some(linked) = devices.linked.remove(volume_id) {
            self.forget_watch(&linked);
            devices.leaving.insert(volume_id.to_owned(), linked.let_go(&self.dev));
        }
        match devices.leaving.get(volume_id) {
            Some((departure, _)) if !departure.is_over() => Ok(Release::InUse),
            _ => {
                devices.leaving.remove(volume_id);
                devices.record.remove(volume_id)?;
                Ok(Release::Done)
            }
        }
    }

    /// Writes what is in memory of a volume to its file. Blocks.
    pub fn flush(&self, volume_id: &str) -> io::Result<()> {
        match self.devices().linked.get(volume_id) {
            Some(linked) => linked.loop_device.flush_all(),
            None => Ok(()),
        }
    }

    /// Takes all volumes away, also those in use: the kernel frees those when they are not used any more.
    pub fn release_all(&self) {
        let mut devices = self.devices();
        devices.promised.clear();
        for (volume_id, linked) in std::mem::take(&mut devices.linked) {
            let is_in_use = linked.loop_device.is_in_use().unwrap_or(false);
            if is_in_use {
                let device = linked.loop_device.path();
                tracing::warn!(
                    volume.id = volume_id,
                    "{} is still mounted; the kernel frees it when it is unmounted",
                    device.display()
                );
            }
            self.forget_watch(&linked);
            let left = linked.let_go(&self.dev);
            if is_in_use {
                // Nobody waits for that.
                devices.forget(&volume_id);
            } else {
                devices.leaving.insert(volume_id, left);
            }
        }
        let deadline = Instant::now() + END_PATIENCE;
        for (volume_id, (departure, _)) in std::mem::take(&mut devices.leaving) {
            while !departure.is_over() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            devices.forget(&volume_id);
        }
    }

    fn forget_watch(&self, linked: &Linked) {
        if let Some(watch) = linked.watch {
            // It may have gone with its node.
            let _ = self.closed.rm_watch(watch);
        }
    }

    /// Follows what users do to partition tables, as long as there are volumes.
    fn watch(&self) {
        // Without it links are late.
        let kernel = sys::uevent_socket().ok();
        loop {
            let news = self.wait(kernel.as_ref());
            let mut devices = self.devices();
            if devices.linked.is_empty() {
                devices.is_watched = false;
                return;
            }
            for linked in devices.linked.values_mut() {
                let followed = match news {
                    News::Closed => linked.follow_table(&self.dev),
                    News::Kernel => linked.follow_partitions(&self.dev),
                    News::None => linked.follow_quiet_table(&self.dev),
                };
                if let Err(error) = followed {
                    tracing::warn!(%error, volume.id = linked.disk.volume_id, "partitions of a volume were not followed");
                }
            }
        }
    }

    /// Waits for something to happen, to whatever device.
    fn wait(&self, kernel: Option<&OwnedFd>) -> News {
        let fd = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut sources: Vec<_> =
            [self.closed.as_fd()].into_iter().chain(kernel.map(AsFd::as_fd)).map(fd).collect();
        if poll(&mut sources, WATCH_INTERVAL).is_err() {
            // A signal; whatever else it may be does not end the watch, nor take a whole processor.
            std::thread::sleep(Duration::from_millis(1));
            return News::None;
        }
        // What the kernel says is read before anybody looks, so that nothing said later is missed.
        let mut buffer = [0; 4096];
        let mut is_told = false;
        while kernel.is_some_and(|kernel| sys::receive(kernel.as_fd(), &mut buffer).is_ok()) {
            is_told = true;
        }
        match self.closed.read_events() {
            Ok(_) => News::Closed,
            Err(_) if is_told => News::Kernel,
            Err(_) => News::None,
        }
    }
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Somebody has closed a device, perhaps after writing a table.
    Closed,
    /// The kernel has announced a device or a partition, which somebody else told it of.
    Kernel,
    /// Nothing.
    None,
}
