locals {
  suffix = "x"
}

source "outscale-bsu" "web" {
  omi_name     = local.name
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = var.region

  dynamic "launch_block_device_mappings" {
    for_each = var.sizes
    content {
      device_name           = "/dev/xvd${["b", "c"][launch_block_device_mappings.key]}"
      volume_size           = launch_block_device_mappings.value
      delete_on_vm_deletion = true
    }
  }
}
