locals {
  missing    = file("files/mtod")
  outside    = file("../secret")
  absolute   = file("/etc/passwd")
  home       = file("~/.ssh/id_rsa")
  folder     = file("files")
  template   = templatefile("files/broken.tpl", { name = "x" })
  unknown    = templatefile("files/names.tpl", { nmae = "x" })
  recursive  = templatefile("files/recursive.tpl", {})
  no_object  = templatefile("files/names.tpl", "x")
  not_here   = env("HOME")
  no_folder  = fileset("none", "*")
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    script = "files/none.sh"
  }

  provisioner "file" {
    source      = "files/none.txt"
    destination = "/tmp/"
  }
}
