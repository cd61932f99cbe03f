source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    only   = ["outscale-bsu.web"]
    except = ["outscale-bsu.web"]
    inline = ["x"]
  }

  provisioner "shell" {
    only   = "outscale-bsu.web"
    inline = ["x"]
  }

  provisioner "shell" {
    override = ["x"]
    inline   = ["x"]
  }

  provisioner "shell" {
    max_retries  = "often"
    pause_before = "soon"
    inline       = "x"
  }
}
