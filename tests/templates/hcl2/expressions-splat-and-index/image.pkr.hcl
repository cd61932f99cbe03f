locals {
  people = [{ name = "ann", tags = ["a", "b"] }, { name = "bob", tags = ["c"] }]
  one    = { name = "solo" }
  none   = null
  matrix = [[1, 2], [3, 4]]
  key    = "na"
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
      "echo ${jsonencode(local.people[*].name)} ${jsonencode(local.people.*.name)}",
      "echo ${jsonencode(local.people[*].tags[0])} ${jsonencode(local.people.*.tags[0])}",
      "echo ${jsonencode(local.one[*].name)} ${jsonencode(local.none[*])} ${jsonencode("x"[*])}",
      "echo ${local.matrix[1][0]} ${local.matrix.1.0} ${local.matrix[length(local.matrix) - 1].1}",
      "echo ${local.people[0]["${local.key}me"]} ${local.people["1"].name} ${{ a = { b = 7 } }.a["b"]}",
      "echo ${[for person in local.people : person.tags][0][1]}",
    ]
  }
}
