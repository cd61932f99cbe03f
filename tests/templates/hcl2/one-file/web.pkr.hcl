variable "team" {
  default = "web"
}

source "outscale-bsu" "web" {
  omi_name     = "web ${var.team}"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = "eu-west-2"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = ["echo ${var.team}", "hostname"]
  }
}
