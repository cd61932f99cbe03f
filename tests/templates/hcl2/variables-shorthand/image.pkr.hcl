variables {
  region = "eu-west-2"
  count  = 2
  names  = ["a", "b"]
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = var.region
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = [for name in var.names : "echo ${name} ${var.count * 2}"]
  }
}
