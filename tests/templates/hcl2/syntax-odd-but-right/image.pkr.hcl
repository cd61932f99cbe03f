# Comments of all kinds.
// Like this,
/* and
   this */ variable "a" { default = 1 } # One line is a block too.
variable "empty" { default = "" }

source "outscale-bsu" web { // A label without quotes.
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  tags         = { "a" = 1, b : 2, (upper("c")) = 3
    d = 4
    "e f" = 5, }
}

build { sources = ["source.outscale-bsu.web"] }
locals {
  list = [
    1, # one
    2, // two
    /* three */ 3,
  ]
  text = "a # no comment // either"
  math = (
    1 +
    2
  )
}
