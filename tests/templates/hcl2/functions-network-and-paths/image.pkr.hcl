source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = [
      "echo ${cidrhost("10.0.0.0/16", 5)} ${cidrnetmask("10.0.0.0/12")} ${cidrsubnet("10.0.0.0/16", 8, 2)} ${jsonencode(cidrsubnets("10.0.0.0/16", 4, 8))}",
      "echo ${basename("a/b/c.sh")} ${dirname("a/b/c.sh")} ${abspath("x")} ${pathexpand("no/tilde")}",
    ]
  }
}
