locals {
  a = <<END
never ended
}
