variable "packages" {
  default = ["nginx", "curl"]
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
    inline = [<<END
  kept as it stands: ${1 + 1}
	a tab, "quotes", \n no escapes, $${not} %%{this}
END
      ,
      <<-END
        indentation that all share goes
          ${"what is deeper"} stays

        %{ for package in var.packages ~}
        apt-get install -y ${package}
        %{ endfor ~}
        %{ if length(var.packages) > 1 }many%{ else }few%{ endif }
      END
      ,
      trimspace(<<-EOT
        within a function
      EOT
      ),
      "after",
    ]
  }

  provisioner "shell" {
    inline = ["true", <<-EMPTY
    EMPTY
    ]
  }

  provisioner "file" {
    destination = "/etc/issue"
    content     = jsonencode({
      text = <<-A
        a
      A
      more = [<<-B
        b ${jsonencode({ inner = <<-C
          c
        C
        })}
      B
      ]
    })
  }
}
