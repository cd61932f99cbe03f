# A Debian image from scratch: a build VM of any OMI gets a second volume, Debian is put onto it, and the OMI is made of that
# volume. Nothing of the OMI that the build VM was launched from is in the result.

packer {
  required_plugins {
    outscale = {
      source  = "github.com/outscale/outscale"
      version = ">= 1.6.0"
    }
  }
}

variable "suite" {
  description = "Debian's name of the release."
  type        = string
  default     = "bookworm"
}

variable "packages" {
  description = "What the image has beside Debian's smallest system."
  type        = list(string)
  default     = ["curl", "ca-certificates"]
}

variable "source_image" {
  description = "Name of the OMI that the build VM is launched from: a Debian."
  type        = string
  default     = "debian-*"
}

locals {
  # A system that boots, can be reached, and finds its key.
  base     = ["linux-image-cloud-amd64", "initramfs-tools", "systemd-sysv", "udev", "dbus", "openssh-server", "sudo", "iproute2"]
  packages = distinct(concat(local.base, var.packages))
  stamp    = formatdate("YYYYMMDD-hhmmss", timestamp())
  root     = "/mnt/image"
}

source "outscale-bsusurrogate" "debian" {
  omi_name         = "debian-${var.suite}-${local.stamp}"
  omi_description  = "Debian ${var.suite} from scratch"
  # The boot loader that scripts/bootstrap.sh installs is one for a BIOS.
  omi_boot_modes   = ["legacy"]
  vm_type          = "tinav5.c2r4p1"
  ssh_username     = "outscale"
  ssh_timeout      = "5m"

  source_omi_filter {
    filters     = { image-name = var.source_image }
    owners      = ["Outscale"]
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvdb"
    volume_size           = 2
    volume_type           = "gp2"
    delete_on_vm_deletion = true
  }

  omi_root_device {
    source_device_name    = "/dev/xvdb"
    device_name           = "/dev/sda1"
    volume_size           = 4
    volume_type           = "gp2"
    delete_on_vm_deletion = true
  }

  tags = {
    Suite = var.suite
    Base  = "{{ .SourceOMI }}"
  }
}

build {
  sources = ["source.outscale-bsusurrogate.debian"]

  provisioner "file" {
    source      = "files/"
    destination = "/tmp/files"
  }

  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E {{ .Path }}"
    env = {
      DISK     = "/dev/xvdb"
      FILES    = "/tmp/files"
      MIRROR   = "http://deb.debian.org/debian"
      NAME     = "debian"
      PACKAGES = join(",", local.packages)
      ROOT     = local.root
      SUITE    = var.suite
      VM       = build.ID
    }
    scripts = ["scripts/bootstrap.sh", "scripts/configure.sh"]
    timeout = "1h"
  }

  post-processor "manifest" {
    custom_data = { packages = join(" ", local.packages) }
  }
}
