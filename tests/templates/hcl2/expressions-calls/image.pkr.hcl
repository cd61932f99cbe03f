locals {
  numbers = [3, 9, 4]
  lists   = [["a"], ["b", "c"]]
  maps    = [{ a = 1 }, { b = 2 }, { a = 3 }]
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
      "echo ${max(local.numbers...)} ${min(1, local.numbers...)} ${jsonencode(concat(local.lists...))}",
      "echo ${jsonencode(merge(local.maps...))} ${format("%s-%s", ["x", "y"]...)} ${jsonencode(setunion(local.lists...))}",
      "echo ${try(local.maps[0].zz, local.maps[1].b, "none")} ${try(local.nothing, "undeclared")} ${try(1 / 0, "by zero")}",
      "echo ${can(local.maps[0].zz)} ${can(local.maps[0].a)} ${can(regex("^[0-9]+$", "12a"))}",
      "echo ${jsonencode(convert(["1", 2], list(number)))} ${jsonencode(convert({ a = 1 }, map(string)))}",
      "echo ${lookup({ a = 1 }, "b", "default")} ${element(["a", "b"], 3)} ${jsonencode(flatten([["a"], [["b"], []]]))}",
    ]
  }
}
