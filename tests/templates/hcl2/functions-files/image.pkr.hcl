variable "home" {
  default = env("HOME_OF_CLIENT")
}

variable "region" {
  default = coalesce(env("SERVER_REGION"), "eu-west-2")
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  region       = var.region
  user_data    = templatefile("${path.root}/templates/user-data.tpl", { users = ["ann", "bob"], region = var.region })
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    scripts = [for script in fileset("scripts", "**/*.sh") : "scripts/${script}"]
  }

  provisioner "shell" {
    inline = [
      "echo ${trimspace(file("files/motd"))} ${filebase64("files/motd")} ${fileexists("files/motd")} ${fileexists("${path.root}/none")}",
      "echo ${jsonencode(fileset(path.root, "*.hcl"))} ${var.home}",
    ]
  }
}
