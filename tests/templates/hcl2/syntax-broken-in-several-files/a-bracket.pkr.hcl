build {
  sources = ["a"
}
