source "outscale-bsu" "web" {
  omi_nam      = "image"
  vm_type      = ["tinav5.c1r1p1"]
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  tags         = ["a"]

  launch_block_device_mapping {
    device_name = "/dev/sda1"
  }

  launch_block_device_mappings {
    device_name = "/dev/sda1"
    volume_size = "big"
  }

  source_omi_filter "x" {
    owners = ["self"]
  }
}

source "outscale-bsu" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "outscale-bsuu" "typo" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

source "amazon-ebs" "elsewhere" {
  ami_name = "x"
}

build {
  sources = [
    "source.outscale-bsu.web",
    "source.outscale-bsu.wbe",
    "outscale-bsuu.typo",
    "amazon-ebs.elsewhere",
    "web",
    5,
  ]
}
