packer {
  required_version = ">= 1.9.0, < 2.0.0"

  required_plugins {
    # The name under which the builders' types begin is this one's own.
    cloud = {
      source  = "github.com/outscale/outscale"
      version = "~> 1.0"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = ">= 1.1.0"
    }
  }
}

packer {
  required_plugins {
    ansible-again = {
      version = "1.0.0"
      source  = "github.com/hashicorp/ansible"
    }
  }
}

source "cloud-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.cloud-bsu.web"]
}
