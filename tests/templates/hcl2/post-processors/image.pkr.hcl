source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "outscale-bsu" "db" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  name    = "nightly"
  sources = ["source.outscale-bsu.web", "source.outscale-bsu.db"]

  provisioner "file" {
    direction   = "download"
    source      = "/tmp/list.txt"
    destination = "out/list.txt"
  }

  post-processor "manifest" {
    output      = "manifest-${source.name}.json"
    custom_data = {
      vm     = build.ID
      user   = "user ${build.User} of ${build.name}"
      source = "{{.SourceOMI}}"
      team   = upper("web")
    }
  }

  post-processors {
    post-processor "artifice" {
      files               = ["out/list.txt"]
      keep_input_artifact = true
    }

    post-processor "checksum" {
      name           = "sums"
      only           = ["outscale-bsu.web"]
      checksum_types = ["sha256"]
      output         = "{{.BuildName}}.{{.ChecksumType}}"
    }
  }

  post-processors {
    post-processor "checksum" {
      except = ["outscale-bsu.web"]
    }
  }
}
