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
      "tab[\t] newline[\n] return[\r] quote[\"] backslash[\\]",
      "\u00e9 \U0001F600 \u20ac",
      "$${not} %%{not} $ % $$ %% $x %x {x} $$${1 + 1}",
      "awk '{print $1}' | sed 's/[[:space:]]\\+//' ${"${"nested ${"deeper"}"}"}",
    ]
  }
}
