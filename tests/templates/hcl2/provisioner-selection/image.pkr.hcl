source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "osc-bsu" "db" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web", "source.osc-bsu.db"]

  source "source.outscale-bsu.web" {
    name = "renamed"
  }

  provisioner "shell" {
    inline = ["all"]
  }

  provisioner "shell" {
    only   = ["outscale-bsu.web"]
    inline = ["only web"]
  }

  provisioner "shell" {
    only   = ["outscale-bsu.renamed", "osc-bsu.db"]
    inline = ["only renamed and db"]
  }

  provisioner "shell" {
    except = ["osc-bsu.db"]
    inline = ["not db"]
  }

  # Not the source's own name, but what it is called here.
  provisioner "shell" {
    only   = ["web"]
    inline = ["nowhere"]
  }

  provisioner "shell" {
    except   = ["outscale-bsu.nobody"]
    override = { "outscale-bsu.renamed" = { inline = ["nowhere"] }, renamed = { inline = ["renamed"] } }
    inline   = ["everywhere"]
  }
}
