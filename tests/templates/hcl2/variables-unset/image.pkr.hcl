variable "needed" {}

variable "also_needed" {
  type        = list(string)
  description = "Names."
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = var.needed
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = var.also_needed
  }
}
