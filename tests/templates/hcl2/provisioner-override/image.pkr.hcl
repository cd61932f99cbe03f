source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "outscale-bsu" "db" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web", "source.outscale-bsu.db"]

  provisioner "shell" {
    inline      = ["echo common"]
    max_retries = 1

    override = {
      db = {
        inline      = ["echo for ${source.name}", "echo ${build.ID}"]
        max_retries = 5
      }
    }
  }
}
