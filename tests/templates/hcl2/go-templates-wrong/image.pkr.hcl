source "outscale-bsu" "web" {
  omi_name     = "web-{{timestmp}}"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "{{user `name`}}"
  tags         = { a = "{{ .SourceOmi }}", b = "{{" }
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    execute_command = "{{ .Pth }}"
    inline          = ["{{hcl 0}}", "{{env `HOME`}}"]
  }
}
