variable "region" {
  type = string

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "The region must look like eu-west-2."
  }
}

variable "password" {
  type      = string
  default   = "short"
  sensitive = true

  validation {
    condition     = length(var.password) > 10
    error_message = "The password ${var.password} is too short."
  }
}

variable "no_condition" {
  default = 1
  validation {
    error_message = "Nothing to hold it to."
  }
}

variable "other" {
  default = 1
  validation {
    condition     = var.region == "x"
    error_message = "It looks at another variable."
  }
}

variable "not_bool" {
  default = 1
  validation {
    condition     = "maybe"
    error_message = "The condition is neither true nor false."
    eror_message  = "Typo."
  }
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
