source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = [
      "echo ${abs(-3.5)} ${ceil(1.2)} ${floor(-1.2)} ${signum(-9)} ${log(8, 2)} ${pow(2, 100)} ${parseint("ff", 16)} ${parseint("-101", 2)}",
    ]
  }
}
