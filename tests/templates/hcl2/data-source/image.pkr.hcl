data "outscale-omi" "debian" {
  filters = {
    image-name = "Debian-12-*"
  }
  owners      = ["Outscale"]
  most_recent = true
}

# It depends on the other one, and on a local that does.
data "outscale-omi" "hardened" {
  filters = {
    image-name = "${local.name}-hardened"
  }
  owners = ["self"]
}

locals {
  name  = data.outscale-omi.debian.name
  disks = data.outscale-omi.debian.tags["disks"] == "two" ? ["/dev/xvdb", "/dev/xvdc"] : []
}

source "outscale-bsu" "web" {
  omi_name     = "web of ${local.name}"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = data.outscale-omi.hardened.id
  ssh_username = can(regex("Debian", local.name)) ? "admin" : "outscale"
  tags         = { for key, value in data.outscale-omi.debian.tags : "base-${key}" => value }

  dynamic "launch_block_device_mappings" {
    for_each = local.disks
    content {
      device_name           = launch_block_device_mappings.value
      volume_size           = 10
      delete_on_vm_deletion = true
    }
  }
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = [
      "echo ${data.outscale-omi.debian.creation_date} by ${data.outscale-omi.debian.owner_name}",
      "echo ${build.ID} from ${data.outscale-omi.hardened.id}",
    ]
  }
}
