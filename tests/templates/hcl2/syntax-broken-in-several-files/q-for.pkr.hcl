locals {
  a = [for x in : x]
}
