source "outscale-bsu" "base" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  source "source.outscale-bsu.base" {
    omi_name = "again"
    vm_typ   = "x"
  }
  source "outscale-bsu.bse" {}
  source {}
  sources = "source.outscale-bsu.base"
  surces  = []
}

build {
  name = "b-${source.name}"
}
