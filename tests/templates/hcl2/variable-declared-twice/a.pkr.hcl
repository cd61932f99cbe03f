variable "name" {
  default = "a"
}

variables {
  name  = "b"
  other = "c"
}

local "x" {
  expression = 1
}

locals {
  x = 2
}
