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
      "echo ${var.text} ${var.old_style} ${var.number + 1} ${var.flag ? "yes" : "no"}",
      "echo '${jsonencode(var.anything)}'",
      "echo '${jsonencode(var.names)}' '${jsonencode(var.once)}' '${jsonencode(var.numbers)}'",
      "echo '${jsonencode(var.pair)}' '${jsonencode(var.nested)}'",
      "echo '${jsonencode(var.untyped)}' ${join("+", var.loose)}",
    ]
  }
}
