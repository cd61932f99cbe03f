locals {
  config = {
    name  = "web"
    ports = [80, 443]
    tls   = { enabled = true, ciphers = null }
  }
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "file" {
    destination = "/etc/web/config.json"
    content     = jsonencode(local.config)
  }

  provisioner "file" {
    destination = "/etc/web/config.yaml"
    content     = yamlencode(local.config)
  }

  provisioner "shell" {
    inline = [
      "echo ${base64encode("héllo")} ${base64decode("aMOpbGxv")} ${urlencode("a b&c=é")}",
      "echo ${textencodebase64("é", "UTF-16LE")} ${textdecodebase64("6QA=", "UTF-16LE")} ${length(base64gzip("x")) > 10}",
      "echo ${jsondecode("{\"a\": [1, true, null]}").a[1]} ${yamldecode("a:\n  - x\n  - 2\n").a[1]} ${csvdecode("name,n\nann,1\nbob,2\n")[1].name}",
      "echo ${md5("x")} ${sha1("x")}",
      "echo ${sha256("x")}",
      "echo ${sha512("x")}",
      "echo ${length(uuidv4())} ${uuidv5("dns", "example.com")} ${substr(bcrypt("x", 4), 0, 7)}",
    ]
  }
}
