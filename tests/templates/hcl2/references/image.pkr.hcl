source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  name    = "nightly"
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    environment_vars = ["VM=${build.ID}", "BUILD=${build.name}"]
    env = {
      HOST  = build.Host
      UPPER = upper("${build.User}@${build.Host}")
    }
    remote_folder = "/home/${build.User}"
    inline = [
      "echo ${source.name} ${source.type} ${path.root} ${path.cwd} ${packer.version}",
      "echo ${build.ConnType}://${build.User}@${build.Host}:${build.Port} ${build.PackerRunUUID}",
      "%{ if build.ConnType == "ssh" }ssh%{ else }other%{ endif } ${join("-", [build.ID, source.name])}",
      "echo '${build.SSHPublicKey}' ${length(build.SSHPrivateKey)} ${try(build.Password, "none")}",
    ]
  }
}
