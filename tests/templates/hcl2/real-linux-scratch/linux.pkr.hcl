packer {
  required_plugins {
    outscale = {
      source  = "github.com/outscale/outscale"
      version = ">= 1.1.2"
    }
  }
}

variable "source_omi" {
  type    = string
  default = env("SOURCE_OMI")
}

variable "omi_name" {
  type    = string
  default = env("OMI_NAME")
}

variable "base_url" {
  type    = string
  default = env("OMI_BASE_URL")
}

variable "product_codes" {
  type    = list(string)
  default = ["0001"]
}

variable "volsize" {
  type    = string
  default = 10
}

source "outscale-bsusurrogate" "linux" {
  source_omi    = var.source_omi
  omi_name      = var.omi_name
  vm_type       = "tinav5.c4r8p1"
  product_codes = var.product_codes

  ssh_username                = "outscale"
  ssh_interface               = "public_ip"
  associate_public_ip_address = true

  launch_block_device_mappings {
    delete_on_vm_deletion = true
    device_name           = "/dev/xvdf"
    iops                  = 3000
    volume_size           = var.volsize
    volume_type           = "io1"
  }

  omi_root_device {
    delete_on_vm_deletion = true
    device_name           = "/dev/sda1"
    source_device_name    = "/dev/xvdf"
    volume_size           = var.volsize
    volume_type           = "standard"
  }
}

build {
  sources = ["source.outscale-bsusurrogate.linux"]

  provisioner "shell" {
    execute_command   = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E -S bash -x '{{ .Path }}' '${var.base_url}'"
    scripts           = ["scripts/10-write-disk.sh"]
    expect_disconnect = true
  }

  provisioner "shell" {
    pause_before    = "10s"
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E -S bash -x '{{ .Path }}' '${var.base_url}'"
    scripts         = fileset(".", "scripts/[2-9]*.sh")
  }

  provisioner "file" {
    direction   = "download"
    source      = "/tmp/packages"
    destination = "packages"
  }
}
