variable "disk" {
  type = object({
    device = string
    size   = optional(number, 10)
    type   = optional(string)
    tags   = optional(map(string), {})
    nested = optional(object({ iops = optional(number, 100) }), {})
  })
  default = { device = "/dev/xvdb" }
}

variable "disks" {
  type = list(object({ device = string, size = optional(number, 20) }))
  default = [
    { device = "/dev/xvdc" },
    { device = "/dev/xvdd", size = 30 },
    { device = "/dev/xvde", size = null },
  ]
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"

  launch_block_device_mappings {
    device_name           = var.disk.device
    volume_size           = var.disk.size
    volume_type           = var.disk.type
    iops                  = var.disk.nested.iops
    delete_on_vm_deletion = true
  }

  dynamic "launch_block_device_mappings" {
    for_each = var.disks
    content {
      device_name           = launch_block_device_mappings.value.device
      volume_size           = launch_block_device_mappings.value.size
      delete_on_vm_deletion = true
    }
  }
}

build {
  sources = ["source.outscale-bsu.web"]
}
