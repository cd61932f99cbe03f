locals {
  third  = "${local.second}3"
  first  = "1"
  labels = { for name, value in local.base_labels : name => upper(value) }
}
