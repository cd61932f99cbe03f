variable "people" {
  default = [
    { name = "ann", team = "web", age = 30 },
    { name = "bob", team = "db", age = 40 },
    { name = "cem", team = "web", age = 50 },
  ]
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
      "echo ${join(" ", [for person in var.people : upper(person.name)])}",
      "echo ${join(" ", [for i, person in var.people : "${i}:${person.name}" if person.age > 30])}",
      "echo ${jsonencode({ for person in var.people : person.name => person.age })}",
      "echo ${jsonencode({ for person in var.people : person.team => person.name... })}",
      "echo ${jsonencode({ for i, person in var.people : i => person.name if i != 1 })}",
      "echo ${jsonencode([for key, value in { b = 1, a = 2 } : "${key}=${value}"])}",
      "echo ${jsonencode([for key, value in convert(["y", "x"], set(string)) : "${key}=${value}"])}",
      "echo ${jsonencode([for row in [[1, 2], [3]] : [for cell in row : cell * 10]])}",
      "echo ${jsonencode([for person in [] : person.nothing])}",
    ]
  }
}
