variable "text" {
  type        = string
  default     = "t"
  description = "A text."
}

variable "old_style" {
  type    = "string"
  default = "old"
}

variable "number" {
  type    = number
  default = "8"
}

variable "flag" {
  type    = bool
  default = "true"
}

variable "anything" {
  type    = any
  default = [1, "two", { three = 3 }]
}

variable "names" {
  type    = list(string)
  default = ["a", 2, true]
}

variable "once" {
  type    = set(string)
  default = ["b", "a", "b"]
}

variable "numbers" {
  type    = map(number)
  default = { one = "1", two = 2 }
}

variable "pair" {
  type    = tuple([string, number])
  default = [1, "2"]
}

variable "nested" {
  type    = map(list(object({ n = number })))
  default = { a = [{ n = "1", ignored = "x" }] }
}

variable "untyped" {
  default = { a = 1, b = ["x"] }
}

variable "loose" {
  type    = list
  default = ["a", "b"]
}
