variable "team" {
  type    = string
  default = "nobody"
}

variable "size" {
  type = number
}

variable "region" {
  type    = string
  default = env("REGION")
}
