locals {
  n = 7
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
      "echo ${1 + 2 * 3} ${(1 + 2) * 3} ${-local.n + 10} ${local.n % 4} ${-7 % 4} ${local.n / 2} ${1 / 3}",
      "echo ${0.1 + 0.2} ${1e3} ${1.50} ${10000000000000000000 + 1} ${"3" + 4}",
      "echo ${1 < 2} ${2 <= 2} ${3 > 4} ${4 >= 5} ${1 == 1.0} ${1 != 2} ${"1" == 1} ${[1] == [1]} ${{ a = 1 } == { a = 2 }}",
      "echo ${!false && true || false} ${true && false} ${false || true} ${!(1 > 2)} ${null == null} ${local.n == null}",
      "echo ${local.n > 5 ? "big" : "small"} ${local.n > 5 ? local.n > 6 ? "very" : "rather" : "no"} ${true ? 1 : "one"} ${false ? [1] : []  == [] ? "empty" : "x"}",
    ]
  }
}
