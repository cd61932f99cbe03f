locals {
  not_a_number = 1 + "x"
  by_zero      = 1 / 0
  rest_by_zero = 1 % 0
  no_condition = "maybe" ? 1 : 2
  compared     = "a" < "b"
  not_text     = "a${[1]}b"
  null_in_text = "a${null}b"
  no_item      = [1, 2][2]
  no_member    = { name = 1 }.nmae
  of_a_list    = [{ name = 1 }].name
  of_a_text    = "x".name
  of_null      = null.name
  unknown      = nothing
  unquoted     = eu-west-2
  no_function  = uper("x")
  refused      = vault("secret/data/x", "key")
  too_few      = replace("a", "b")
  too_many     = upper("a", "b")
  wrong_kind   = length(5)
  in_a_list    = join(",", [1, [2]])
  spread       = max("x"...)
  for_number   = [for x in 5 : x]
  same_key     = { for x in ["a", "a"] : x => 1 }
  key_of_list  = { [1] = 2 }
  negative     = substr("x", 0)
  expired      = !"perhaps"
  versions     = 1.2.3
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]
}
