variable "number" {
  type    = number
  default = "many"
}

variable "flag" {
  type    = bool
  default = "yes"
}

variable "list" {
  type    = list(string)
  default = "one"
}

variable "items" {
  type    = list(number)
  default = [1, "two"]
}

variable "object" {
  type    = object({ size = number, name = string })
  default = { size = "x" }
}

variable "pair" {
  type    = tuple([string, string])
  default = ["a"]
}

variable "no_type" {
  type = listt(string)
}

variable "optional" {
  type = optional(string)
}

variable "half_a_type" {
  type = map
  default = ["a"]
}

variable "not_constant" {
  default = var.number
}

variable "description" {
  description = 5
  default     = "x"
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
