variables {
  of_default  = "default"
  of_env      = "default"
  of_auto     = "default"
  of_auto2    = "default"
  of_autojson = "default"
  of_file     = "default"
  of_file2    = "default"
  of_var      = "default"
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
    inline = [
      "echo ${var.of_default}",
      "echo ${var.of_env}",
      "echo ${var.of_auto}",
      "echo ${var.of_auto2}",
      "echo ${var.of_autojson}",
      "echo ${var.of_file}",
      "echo ${var.of_file2}",
      "echo ${var.of_var}",
    ]
  }
}
