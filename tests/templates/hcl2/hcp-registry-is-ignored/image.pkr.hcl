source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

hcp_packer_registry {
  bucket_name = "x"
}

communicator "ssh" "x" {
}

build {
  hcp_packer_registry {
    bucket_name   = "web"
    bucket_labels = { os = "debian" }
  }
  sources = ["source.outscale-bsu.web"]
}
