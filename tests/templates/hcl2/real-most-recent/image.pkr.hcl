packer {
  required_plugins {
    outscale = {
      version = ">= 1.0.0"
      source  = "github.com/outscale/outscale"
    }
  }
}

variable "omi_name" {
  type    = string
  default = "debian-example"
}

locals {
  suffix = formatdate("YYYYMMDDhhmmss", timestamp())
}

source "outscale-bsu" "debian" {
  region                      = "eu-west-2"
  vm_type                     = "tinav4.c2r4p1"
  omi_name                    = "${var.omi_name}-${local.suffix}"
  communicator                = "ssh"
  ssh_username                = "outscale"
  ssh_interface               = "public_ip"
  associate_public_ip_address = true
  force_deregister            = true

  source_omi_filter {
    filters = {
      image-name = "Debian-12-*"
    }
    owners      = ["Outscale"]
    most_recent = true
  }

  launch_block_device_mappings {
    device_name           = "/dev/sda1"
    volume_size           = 15
    volume_type           = "gp2"
    delete_on_vm_deletion = true
  }
}

build {
  sources = ["source.outscale-bsu.debian"]

  provisioner "shell" {
    pause_before = "5s"
    inline       = ["sudo apt-get update"]
  }
}
