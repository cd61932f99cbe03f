# Null is a default like any other: the option is as if it was not there.
variable "boot_mode" {
  type    = string
  default = null
}

variable "tags" {
  default = null
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  subregion_name = var.boot_mode
  tags           = var.tags
  region         = var.boot_mode == null ? "eu-west-2" : "us-east-2"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = ["echo ${coalesce(var.boot_mode, "default")}", "echo ${length(var.tags[*])}"]
  }
}
