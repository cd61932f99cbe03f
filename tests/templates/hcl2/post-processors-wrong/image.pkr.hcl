source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  post-processor "manifest" {
    ouput = "x"
  }

  post-processor "amazon-import" {}

  post-processor "checksum" {
    checksum_types = ["md6"]
  }

  post-processors {
    post-processor "artifice" {
      files = []
    }
  }

  post-processor "manifest" {
    custom_data = { vm = build.IDD }
  }
}
