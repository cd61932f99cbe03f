local "second" {
  expression = "${local.first}2"
}

variable "team" {
  default = "web"
}

locals {
  base_labels = { team = var.team, chain = local.third }
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  tags         = local.labels
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = ["echo ${local["third"]}"]
  }
}
