name "x" {
}
