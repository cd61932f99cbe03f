variable "number" {
  default = 2
}

variable "flag" {
  default = false
}

variable "list" {
  default = ["default"]
}

variable "object" {
  default = { a = 1 }
}

variable "text" {
  default = "[]"
}

variable "null" {
  default = null
}

variable "none" {}

variables {
  sizes = [1]
  port  = 22
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
      "echo ${jsonencode([var.number, var.flag, var.list, var.object, var.text, var.null, var.none])}",
      "echo ${jsonencode([var.sizes, var.port])}",
    ]
  }
}
