source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  post-processors {
    post-processor "artifice" {
      name                = "files"
      files               = ["a.txt"]
      keep_input_artifact = true
    }
    post-processor "checksum" {}
    post-processor "manifest" {}
  }

  post-processor "manifest" {
    name   = "summary"
    output = "summary.json"
  }
}
