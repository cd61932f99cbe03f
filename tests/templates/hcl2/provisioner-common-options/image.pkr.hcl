source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

variable "pause" {
  default = "10s"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    name              = "first steps"
    pause_before      = var.pause
    timeout           = "5m"
    max_retries       = 2 + 1
    continue_on_error = true
    inline            = ["one"]
  }

  provisioner "sleep" {
    duration = "1h5m"
  }

  provisioner "file" {
    sources     = fileset(".", "files/*.conf")
    destination = "/tmp/"
  }

  provisioner "file" {
    content     = <<-END
      from ${source.name}
    END
    destination = "/etc/motd"
  }

  provisioner "file" {
    direction   = "download"
    source      = "/tmp/packages"
    destination = "packages.txt"
  }
}
