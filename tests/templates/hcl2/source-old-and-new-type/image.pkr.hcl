source "osc-bsu" "old" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "outscale-bsu" "new" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

# What no build uses is not looked at, as in Packer.
source "amazon-ebs" "elsewhere" {
  ami_name = var.nowhere
}

build {
  sources = ["source.osc-bsu.old", "outscale-bsu.new"]

  provisioner "shell" {
    only   = ["osc-bsu.old"]
    inline = ["echo ${source.type}.${source.name}"]
  }
}
