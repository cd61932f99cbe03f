locals {
  a = "never closed
}
