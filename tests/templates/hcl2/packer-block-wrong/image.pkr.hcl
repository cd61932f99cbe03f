packer {
  required_version = ">= 1.17.0"
  required_plugin  = {}
  required_plugins {
    outscale = "1.0"
    other = {
      source = "github.com/a/b"
    }
  }
  required_pugins {}
}

packer {
  required_version = "newest"
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
