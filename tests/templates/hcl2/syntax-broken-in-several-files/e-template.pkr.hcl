locals {
  a = "${upper("x"}"
}
