source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"

  dynamic {
    for_each = []
    content {}
  }

  dynamic "launch_block_device_mappings" {
    content {}
  }

  dynamic "launch_block_device_mappings" {
    for_each = []
  }

  dynamic "launch_block_device_mappings" {
    for_each = 5
    content {}
  }

  dynamic "launch_block_device_mappings" {
    for_each = [1]
    iterator = 5
    each     = 1
    content {}
    inhalt {}
  }

  dynamic "launch_block_device_mappings" {
    for_each = ["/dev/xvdb"]
    iterator = disk
    content {
      device_name = launch_block_device_mappings.value
    }
  }
}

build {
  sources = ["source.outscale-bsu.web"]

  dynamic "provisioner" {
    for_each = ["x"]
    labels   = "shell"
    content {
      inline = [provisioner.value]
    }
  }
}
