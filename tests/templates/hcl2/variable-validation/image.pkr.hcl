variable "region" {
  type    = string
  default = "eu-west-2"

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "The region must look like eu-west-2."
  }

  validation {
    condition     = contains(["eu-west-2", "us-east-2"], var.region)
    error_message = "The region must be one of ours."
  }
}

variable "size" {
  type    = number
  default = 10

  validation {
    condition     = var.size >= 10 && var.size <= 14901
    error_message = "A volume has 10 to 14901 GiB."
  }
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = var.region

  launch_block_device_mappings {
    device_name           = "/dev/sda1"
    volume_size           = var.size
    delete_on_vm_deletion = true
  }
}

build {
  sources = ["source.outscale-bsu.web"]
}
