variable "password" {
  type      = string
  default   = "first line of it\nsecond line of it"
  sensitive = true
}

variable "registry" {
  type      = object({ user = string, key = string })
  default   = { user = "robot-user", key = "k3y-of-registry" }
  sensitive = true
}

local "token" {
  expression = "prefix-${substr(var.password, 0, 5)}"
  sensitive  = true
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
    env = {
      PASSWORD = var.password
      ENCODED  = base64encode(var.registry.key)
    }
    inline = ["login ${var.registry.user} ${local.token}"]
  }
}
