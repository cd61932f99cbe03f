source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

provisioner "shell" {
  inline = ["x"]
}

sorce "outscale-bsu" "b" {}

region = "eu-west-2"

build {
  sources = ["source.outscale-bsu.web"]

  provsioner "shell" {
    inline = ["x"]
  }

  provisioner {
    inline = ["x"]
  }

  provisioner "shel" {
    inline = ["x"]
  }

  provisioner "shell" {
    inlin = ["x"]
  }

  post-processors "x" {
  }

  post-processors {
    provisioner "shell" {}
    keep = true
  }

  post-processor "manifst" {}
}

build "x" {
  sources = ["source.outscale-bsu.web"]
}
