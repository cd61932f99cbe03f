local "no_expression" {
}

local "typo" {
  expression = 1
  sensitve   = true
}

local {
  expression = 1
}

locals {
  unknown = local.typpo
  source  = source.name
  build   = build.ID
  inner {
    x = 1
  }
}

local "mark" {
  expression = 1
  sensitive  = "perhaps"
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
