locals {
  names = ["a", "b"]
  none  = []
  on    = true
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
      "[%{ for name in local.names } ${name} %{ endfor }]",
      "[%{ for name in local.names ~} ${name} %{~ endfor }]",
      "[ %{~ for i, name in local.names ~} ${i}${name} %{~ endfor ~} ]",
      "[%{ for name in local.none }x%{ endfor }]",
      "[ ${~ "both" ~} ] [ ${~ "left" } ] [ ${"right" ~} ]",
      "[%{ if local.on }on%{ endif }] [%{ if !local.on }on%{ endif }] [%{ if local.on ~} on %{~ else ~} off %{~ endif }]",
      "[%{ if local.on }%{ for name in local.names }%{ if name == "b" }${name}%{ else }-%{ endif }%{ endfor }%{ endif }]",
      "${"only this"}",
      "%{ if true }${"directive alone"}%{ endif }",
    ]
  }
}
