data "osc-omi" "debian" {
  filters = {
    image-name = "Debian-12-*"
  }
  owners = ["Outscale"]
}

source "osc-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = data.osc-omi.debian.id
  ssh_username = "outscale"
}

build {
  sources = ["source.osc-bsu.web"]
}
