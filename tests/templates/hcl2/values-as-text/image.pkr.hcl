variable "untyped" {
  default = ""
}

variable "text" {
  type = string
}

variable "number" {
  type = number
}

variable "flag" {
  type = bool
}

variable "list" {
  type = list(string)
}

variable "numbers" {
  type = set(number)
}

variable "map" {
  type = map(string)
}

variable "object" {
  type = object({ name = string, sizes = list(number) })
}

variable "heredoc" {
  type = list(string)
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
      "echo '${var.untyped}' '${var.text}' ${var.number + 1} ${var.flag ? 1 : 0}",
      "echo ${jsonencode(var.list)} ${jsonencode(var.numbers)} ${jsonencode(var.map)}",
      "echo ${jsonencode(var.object)} ${jsonencode(var.heredoc)}",
    ]
  }
}
