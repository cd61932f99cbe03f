//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand, ValueEnum};

use crate::{latency::Latency, region::addresses::Range, role::Lifetime};

/// A small OUTSCALE region on this machine.
#[derive(Debug, Parser)]
#[command(name = "oapi-sandbox", version, about)]
pub struct Config {
    /// Prints something instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where OAPI is served; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Where disks are kept [default: a temporary folder, in memory if there is room, that is removed at the end].
    #[arg(long)]
    pub state_dir: Option<PathBuf>,
    /// What VMs are made of.
    /// Several: the first at first, `POST /sandbox/backend` chooses another for VMs that start from then on.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "auto")]
    pub backend: Vec<BackendChoice>,
    /// How much memory a VM with a kernel of its own has, in MiB.
    #[arg(long, default_value_t = 1024)]
    pub vm_memory: u32,
    /// How slow the cloud is: `none`, `realistic`, or a TOML file.
    #[arg(long, default_value = "none")]
    pub latency: Latency,
    /// Official images to offer: `tiny`, `tiny-disk`, `debian`.
    #[arg(long, value_delimiter = ',', default_value = "tiny")]
    pub seed_images: Vec<SeedChoice>,
    /// Where seed images are kept between runs [default: ~/.cache/oapi-sandbox].
    #[arg(long)]
    pub image_cache: Option<PathBuf>,
    /// The name of the Region.
    #[arg(long, default_value = "eu-west-2")]
    pub region: String,
    /// Where port 22 of VMs is reached on their addresses, if 22 itself cannot be used.
    #[arg(long)]
    pub ssh_port: Option<u16>,
    /// The part of 127.0.0.0/8 that VMs get their addresses from.
    #[arg(long, default_value = "127.64.0.0/10")]
    pub address_range: Range,
    /// Gives VMs a way out to the network of this machine (always so with the `debian` image).
    #[arg(long)]
    pub outbound: bool,
    /// Gives the `debian` image this machine's own certificate authorities, proxies and pip configuration.
    #[arg(long)]
    pub seed_host_settings: bool,
    /// Makes this machine a VM of the region: volumes that are linked to it become block devices here; needs root.
    #[arg(long, env = "OAPI_SANDBOX_HOST_VM", value_parser = clap::builder::FalseyValueParser::new())]
    pub host_vm: bool,
    /// The role of that VM, whose keys its metadata service hands out.
    #[arg(long, env = "OAPI_SANDBOX_ROLE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub role: Option<String>,
    /// How long such keys live.
    #[arg(long, env = "OAPI_SANDBOX_ROLE_LIFETIME", default_value = "1h")]
    pub role_lifetime: Lifetime,
    /// A TOML file of switches that differ from the defaults.
    #[arg(long)]
    pub quirks: Option<PathBuf>,
    /// The access key that is accepted.
    #[arg(long, env = "OSC_ACCESS_KEY", default_value = "SANDBOX0ACCESS0KEY00", hide_env_values = true)]
    pub access_key: String,
    /// The secret key that goes with it.
    #[arg(
        long,
        env = "OSC_SECRET_KEY",
        default_value = "SANDBOX0SECRET0KEY000000000000000000000",
        hide_env_values = true
    )]
    pub secret_key: Secret,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// What the sandbox does besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Prints the fields of every request that the sandbox knows, as JSON.
    Schema,
}

/// The backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// The best one that works here.
    Auto,
    /// Namespaces; needs root.
    Ns,
    /// Full PCs that boot their disks.
    Qemu,
    /// Linux kernels that are processes here.
    Uml,
    /// No machines.
    None,
}

/// The official images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SeedChoice {
    /// A few megabytes, built in a second.
    Tiny,
    /// The same on a disk with a partition, as the cloud's images are.
    TinyDisk,
    /// Debian 12.
    Debian,
}
