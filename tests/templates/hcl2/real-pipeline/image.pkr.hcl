variable "regions" {
  type = list(string)
}

variable "source_omis" {
  type = map(string)
}

variable "hotfix" {
  type    = number
  default = 0
}

variable "product_codes" {
  type    = list(string)
  default = []
}

locals {
  date = formatdate("YYYY.MM.DD", timestamp())
  name = "Debian-12-${local.date}-${var.hotfix}"
}

source "outscale-bsu" "debian" {
  omi_name      = local.name
  vm_type       = "tinav5.c2r4p1"
  ssh_username  = "outscale"
  product_codes = var.product_codes
  tags = {
    date   = local.date
    hotfix = var.hotfix
  }
}

build {
  dynamic "source" {
    for_each = var.regions
    iterator = region
    labels   = ["source.outscale-bsu.debian"]
    content {
      name       = region.value
      region     = region.value
      source_omi = var.source_omis[region.value]
    }
  }

  provisioner "shell" {
    inline = ["sudo apt-get update -y", "sudo apt-get upgrade -y"]
    env    = { DEBIAN_FRONTEND = "noninteractive", REGION = source.name }
  }

  post-processor "manifest" {
    output = "omi-${source.name}.json"
  }
}
