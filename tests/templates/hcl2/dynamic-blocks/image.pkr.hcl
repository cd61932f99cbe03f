variable "disks" {
  default = {
    "/dev/xvdb" = { size = 10, type = "gp2" }
    "/dev/xvdc" = { size = 20, type = "io1" }
  }
}

locals {
  filters = { image-name = "Debian-12-*", architecture = "x86_64" }
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  ssh_username = "outscale"

  # Blocks within blocks: one filter for each name and value.
  dynamic "source_omi_filter" {
    for_each = [["Outscale"]]
    iterator = owners
    content {
      owners      = owners.value
      most_recent = true

      dynamic "filter" {
        for_each = local.filters
        content {
          name  = filter.key
          value = filter.value
        }
      }
    }
  }

  dynamic "launch_block_device_mappings" {
    for_each = var.disks
    iterator = disk
    content {
      device_name           = disk.key
      volume_size           = disk.value.size
      volume_type           = disk.value.type
      iops                  = disk.value.type == "io1" ? 3000 : null
      delete_on_vm_deletion = true
    }
  }

  # A set: key and value are the same.
  dynamic "launch_block_device_mappings" {
    for_each = convert(["/dev/xvdf", "/dev/xvde"], set(string))
    content {
      device_name           = launch_block_device_mappings.key
      delete_on_vm_deletion = true
    }
  }

  dynamic "omi_root_device" {
    for_each = []
    content {
      source_device_name = "/dev/sda1"
    }
  }
}

build {
  dynamic "source" {
    for_each = ["a", "b"]
    labels   = ["source.outscale-bsu.web"]
    content {
      name = "web-${source.value}"
    }
  }

  dynamic "provisioner" {
    for_each = { file = "/etc/motd", shell = "one" }
    iterator = step
    labels   = ["shell"]
    content {
      name   = step.key
      inline = ["echo ${step.value}"]
    }
  }

  dynamic "post-processors" {
    for_each = [1]
    content {
      dynamic "post-processor" {
        for_each = ["md5", "sha256"]
        labels   = ["checksum"]
        content {
          checksum_types = [post-processor.value]
        }
      }
    }
  }
}
