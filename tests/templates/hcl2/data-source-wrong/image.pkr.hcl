data "outscale-omi" "debian" {
  filters = {
    image-nam = "Debian-12-*"
  }
  most_recnet = true
}

data "http" "address" {
  url = "https://example.com/"
}

data "outscale-oim" "typo" {
}

data "outscale-omi" {
}

locals {
  unknown = data.outscale-omi.debain.id
  kind    = data.outscale-image.debian.id
  short   = data.outscale-omi
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]
}
