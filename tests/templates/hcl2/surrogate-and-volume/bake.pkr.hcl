locals {
  common = "tinav5.c1r1p1"
}

source "outscale-bsusurrogate" "system" {
  omi_name     = "image"
  vm_type      = local.common
  source_omi   = "ami-12345678"
  ssh_username = "outscale"

  launch_block_device_mappings {
    device_name           = "/dev/xvdf"
    volume_size           = 10
    delete_on_vm_deletion = true
  }

  omi_root_device {
    source_device_name = "/dev/xvdf"
    device_name        = "/dev/sda1"
  }
}

source "outscale-bsuvolume" "data" {
  vm_type      = local.common
  source_omi   = "ami-12345678"
  ssh_username = "outscale"

  bsu_volumes {
    device_name     = "/dev/xvdf"
    volume_size     = 5
    snapshot_volume = true
    snapshot_tags = {
      Name = "data"
    }
    tags = {
      Name = "data"
    }
  }
}

build {
  sources = ["source.outscale-bsusurrogate.system", "source.outscale-bsuvolume.data"]

  provisioner "shell" {
    inline = ["true"]
  }
}
