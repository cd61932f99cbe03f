source "outscale-bsu" "base" {
  vm_type    = "tinav5.c1r1p1"
  source_omi = "ami-12345678"

  launch_block_device_mappings {
    device_name           = "/dev/sda1"
    delete_on_vm_deletion = true
  }
}

build {
  name        = "images"
  description = "Two of one source."

  source "source.outscale-bsu.base" {
    name         = "small"
    omi_name     = "small"
    ssh_username = "outscale"
  }

  source "outscale-bsu.base" {
    name         = "large"
    omi_name     = "large-${upper("x")}"
    ssh_username = "admin"

    launch_block_device_mappings {
      device_name           = "/dev/xvdb"
      volume_size           = 100
      delete_on_vm_deletion = true
    }
  }

  provisioner "shell" {
    inline = ["echo ${source.name} of ${build.name}"]
  }

  provisioner "shell" {
    only   = ["outscale-bsu.large"]
    inline = ["mkfs.ext4 /dev/xvdb"]
  }
}
