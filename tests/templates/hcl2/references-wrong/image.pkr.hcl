source "outscale-bsu" "web" {
  omi_name     = "image ${build.ID}"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = source.nmae
  region       = source.name == "web" ? path.rot : packer.versoin
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "sleep" {
    duration = build.ID
  }

  provisioner "shell" {
    inline       = [build.IDD, build]
    max_retries  = length(build.ID)
    pause_before = "${build.Port}s"
  }

  dynamic "provisioner" {
    for_each = [build.ID]
    labels   = [provisioner.value]
    content {}
  }
}
