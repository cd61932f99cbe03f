//! Builds a region as the command line wants it, serves it, and clears up at the end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{
        Backend, Metadata,
        host::HostBackend,
        kernel::{
            Hypervisor, KernelBackend, KernelConfig, kvm,
            qemu::{self, Accelerator},
        },
        net::NetOptions,
        none::NoneBackend,
        ns::{NsBackend, NsConfig},
        several::SeveralBackends,
    },
    config::{BackendChoice, Config, SeedChoice},
    faults::Faults,
    http::{self, Front, RateLimit, Record},
    machine::{
        DiskStore,
        seed::{self, DebianOptions},
    },
    quirks::Quirks,
    region::{
        Causes, Region, RegionParts,
        addresses::Addresses,
        disks::{DiskFile, Disks},
        host_vm::Identity,
        metadata::VmMetadata,
        seed::SeedImage,
    },
    role::Role,
    signature::{Keys, Lock},
    state_folder::StateFolder,
};

/// A sandbox that is ready to serve.
pub struct Sandbox {
    front: Arc<Front>,
    listener: TcpListener,
    state: StateFolder,
}

impl Sandbox {
    /// Makes folders, backend, seed images and region, and takes the port.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("could not listen on {}", config.listen))?;
        let role = role(config)?;
        let state = StateFolder::open(config)?;
        let cache =
            config.image_cache.clone().or_else(default_cache).unwrap_or_else(|| state.path.join("images"));
        let backend = choose_backend(config, &state.path, &cache).await?;
        let has_machines = backend.name() != "none";
        // Volumes of this machine are real whatever VMs are made of.
        let has_files = has_machines || config.host_vm;
        let store = has_files.then(|| DiskStore::open(state.path.join("disks"))).transpose();
        let store = store.context("could not open the folder of disks")?;
        let seeds = seed_images(config, backend.as_ref(), &cache).await?;
        let try_port = has_machines.then_some(config.ssh_port.unwrap_or(22));
        let mut addresses = Addresses::new(config.address_range, try_port);
        let Some(probe) = addresses.take_public() else {
            anyhow::bail!(
                "no address of the range can be used on port {}: does an SSH server of this machine listen on all \
                 addresses? Choose another port with --ssh-port, or other addresses with --address-range",
                config.ssh_port.unwrap_or(22)
            );
        };
        addresses.release(probe);
        let host_vm = if config.host_vm { Some(identity(&state, &mut addresses)?) } else { None };
        let backend: Arc<dyn Backend> = match &host_vm {
            Some(identity) => Arc::new(
                HostBackend::new(backend, &identity.vm_id, state.host_devices())
                    .context("this machine cannot be a VM of the region")?,
            ),
            None => backend,
        };
        let vm_id = host_vm.as_ref().map(|identity| identity.vm_id.clone());
        let region = Region::new(RegionParts {
            name: config.region.clone(),
            latency: config.latency.clone(),
            quirks: quirks(config)?,
            backend,
            disks: Disks::new(store),
            addresses,
            seeds,
            host_vm,
        });
        let host_metadata = vm_id
            .map(|vm_id| Arc::new(VmMetadata::with_role(&region, &vm_id, role.clone())) as Arc<dyn Metadata>);
        let front = Front {
            region,
            keys: Keys { access_key: config.access_key.clone(), secret_key: config.secret_key.clone(), role },
            faults: Faults::default(),
            record: Record::default(),
            rate: Mutex::new(RateLimit::default()),
            lock: Mutex::new(Lock::default()),
            host_metadata,
        };
        Ok(Self { front: Arc::new(front), listener, state })
    }

    /// `http://127.0.0.1:8090`.
    pub fn url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{}", self.listener.local_addr().context("the socket has no address")?))
    }

    /// Serves until the token is cancelled, then destroys all VMs and removes their disks.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let region = Arc::clone(&self.front.region);
        let serving = http::serve(Arc::clone(&self.front), self.listener, stop.clone());
        tokio::select! {
            served = serving => served.context("could not serve")?,
            // Connections that are kept open do not hold up the end.
            () = stop.cancelled() => {}
        }
        region.close().await;
        self.state.clear();
        Ok(())
    }
}

fn role(config: &Config) -> anyhow::Result<Option<Arc<Role>>> {
    let Some(name) = &config.role else { return Ok(None) };
    anyhow::ensure!(
        config.host_vm,
        "--role needs --host-vm: it is that VM whose metadata service hands out its keys"
    );
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte));
    anyhow::ensure!(
        is_name,
        "the role '{name}' has characters that are not allowed: take letters, digits and +=,.@_-"
    );
    Ok(Some(Arc::new(Role::new(name, config.role_lifetime))))
}

fn identity(state: &StateFolder, addresses: &mut Addresses) -> anyhow::Result<Identity> {
    let path = state.path.join("host-vm.json");
    Identity::open(&path, addresses, chrono::Utc::now())
        .with_context(|| format!("the identity of this machine in {} cannot be used", path.display()))
}

/// The backend, or several of which one is chosen for each VM.
async fn choose_backend(config: &Config, state_dir: &Path, cache: &Path) -> anyhow::Result<Arc<dyn Backend>> {
    let mut backends = Vec::new();
    for choice in &config.backend {
        backends.push(open_backend(*choice, config, state_dir, cache).await?);
    }
    match backends.len() {
        0 => Ok(Arc::new(NoneBackend)),
        1 => Ok(backends.swap_remove(0)),
        _ => Ok(Arc::new(SeveralBackends::new(backends))),
    }
}

async fn open_backend(
    choice: BackendChoice,
    config: &Config,
    state_dir: &Path,
    cache: &Path,
) -> anyhow::Result<Arc<dyn Backend>> {
    // Each has a folder of its own: what one finds there at its start it takes for its own leftovers.
    let run_dir = match config.backend.len() {
        1 => state_dir.join("run"),
        _ => state_dir.join(format!("run-{choice:?}").to_lowercase()),
    };
    let net = NetOptions {
        ssh_port: config.ssh_port,
        outbound: config.outbound || config.seed_images.contains(&SeedChoice::Debian),
        tap: false,
    };
    let ns = || NsBackend::new(NsConfig { run_dir: run_dir.clone(), net: net.clone(), program: None });
    let kernel = |hypervisor: Hypervisor| {
        let (run_dir, net) = (run_dir.clone(), net.clone());
        KernelBackend::new(KernelConfig { hypervisor, run_dir, net, memory: config.vm_memory })
    };
    Ok(match choice {
        BackendChoice::None => Arc::new(NoneBackend),
        BackendChoice::Ns => Arc::new(ns().context("could not start the backend ns")?),
        BackendChoice::Qemu => {
            let accelerator = accelerator(cache).await?;
            Arc::new(kernel(Hypervisor::Qemu(accelerator)).context("could not start the backend qemu")?)
        }
        BackendChoice::Uml => Arc::new(kernel(Hypervisor::Uml).context("could not start the backend uml")?),
        BackendChoice::Auto => match ns() {
            Ok(backend) => Arc::new(backend),
            Err(error) => {
                tracing::warn!(error = %Causes(&error), "VMs will be names only: {}", Causes(&error));
                Arc::new(NoneBackend)
            }
        },
    })
}

async fn accelerator(cache: &Path) -> anyhow::Result<Accelerator> {
    // Without a kernel there is no trial, and the images will say what they lack.
    let kernel = seed::trial_kernel(cache).await.ok();
    let (accelerator, why) = tokio::task::spawn_blocking(move || kvm::choose(kernel.as_deref()))
        .await
        .context("could not look for an accelerator")?;
    tracing::info!(?accelerator, "VMs run under {accelerator:?}: {why}");
    Ok(accelerator)
}

/// Builds the official images as the backend needs them; without machines they are names only.
async fn seed_images(config: &Config, backend: &dyn Backend, cache: &Path) -> anyhow::Result<Vec<SeedImage>> {
    let has = |choice| config.backend.contains(&choice);
    let has_kernel = has(BackendChoice::Qemu) || has(BackendChoice::Uml) || backend.name() == "uml";
    let has_uefi = !has(BackendChoice::Qemu) || qemu::has_uefi();
    let mut images = Vec::new();
    for choice in &config.seed_images {
        let (name, description, size) = match choice {
            SeedChoice::Tiny => ("tiny-1.0", "A tiny Linux with busybox and an SSH server", 1),
            SeedChoice::TinyDisk => {
                ("tiny-disk-1.0", "A tiny Linux with busybox and an SSH server, in a partition", 1)
            }
            SeedChoice::Debian => ("Debian-12-sandbox", "Debian 12", 4),
        };
        let file: Option<PathBuf> = match choice {
            _ if backend.name() == "none" && !config.host_vm => None,
            SeedChoice::Tiny => Some(
                seed::build_tiny(cache, has_kernel).await.context("could not build the seed image tiny")?,
            ),
            SeedChoice::TinyDisk => {
                Some(seed::build_tiny_disk(cache).await.context("could not build the seed image tiny-disk")?)
            }
            SeedChoice::Debian => {
                let options = DebianOptions { has_kernel, takes_host_settings: config.seed_host_settings };
                let built = seed::build_debian(cache, options).await;
                Some(built.context("could not build the seed image debian")?)
            }
        };
        let disk = file.map(DiskFile::kept);
        let (name, description) = (name.to_owned(), description.to_owned());
        images.push(SeedImage { name, description, size, has_uefi, disk });
    }
    Ok(images)
}

/// `~/.cache/oapi-sandbox`: seed images outlive a sandbox.
fn default_cache() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    cache.map(|cache| cache.join("oapi-sandbox"))
}

fn quirks(config: &Config) -> anyhow::Result<Quirks> {
    let defaults = Quirks::beside(&config.latency);
    let Some(path) = &config.quirks else { return Ok(defaults) };
    let text = std::fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
    let changes: toml::Table =
        toml::from_str(&text).with_context(|| format!("{} is not valid TOML", path.display()))?;
    let changes = serde_json::to_value(changes).context("could not read the quirks")?;
    defaults.changed_by(&changes).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}
