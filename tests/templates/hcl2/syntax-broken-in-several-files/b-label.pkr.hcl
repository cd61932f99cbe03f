variable name" {
}
