source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web", "source.outscale-bsu.web"]
}

build {
  sources = ["source.outscale-bsu.web"]
}

build {
  name    = "named"
  sources = ["source.outscale-bsu.web"]
}
