locals {
  a = "%{ if true }never ended"
}
