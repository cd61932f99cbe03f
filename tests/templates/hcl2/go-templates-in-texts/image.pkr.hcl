source "outscale-bsu" "web" {
  omi_name        = "web-{{timestamp}}-{{ isotime `20060102` }}"
  omi_description = "of {{ .SourceOMIName }} by ${upper("team")} for {{build_name}}"
  vm_type         = "tinav5.c1r1p1"
  source_omi      = "ami-12345678"
  ssh_username    = "outscale"
  tags = {
    base             = "{{ .SourceOMI }}"
    "{{.SourceOMI}}" = "{{ .SourceOMITags.os }} in {{ .BuildRegion }}"
  }
  run_tags      = { builder = "{{build_type}}", region = "{{.BuildRegion}}" }
  snapshot_tags = { made = "{{timestamp}}" }
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    execute_command = "chmod +x {{ .Path }}; {{ .Vars }} sudo -E -S bash -x '{{ .Path }}' '${build.ID}'"
    env             = { VM = "{{build `ID`}}" }
    inline          = ["echo {{ build `Host` }} {{upper `x`}} {{`{{`}} {{ .SourceOMI }}"]
  }
}
