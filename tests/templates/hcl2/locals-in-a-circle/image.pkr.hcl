locals {
  a     = "x${local.b}"
  b     = [for x in local.c : x]
  c     = { n = local["a"] }
  self  = local.self
  outer = local.a
}

local "d" {
  expression = data.outscale-omi.base.id
}

data "outscale-omi" "base" {
  filters = { image-name = local.d }
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
