locals {
  release = "Debian GNU/Linux 12 (bookworm)\n"
}

source "outscale-bsu" "web" {
  omi_name     = join("-", ["web", replace(lower(chomp(local.release)), " ", "_"), format("%03d", 7)])
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  tags = {
    title     = title("hello wide world")
    upper     = upper("é")
    trims     = "${trim("--x--", "-")}|${trimspace("  x ")}|${trimprefix("v1.2", "v")}|${trimsuffix("a.txt", ".txt")}"
    tests     = "${startswith("abc", "a")} ${endswith("abc", "a")} ${strcontains("abc", "b")}"
    parts     = jsonencode(split(",", "a,b,,c"))
    substr    = "${substr("Zürich", 1, 3)}|${substr("abc", -2, -1)}"
    reversed  = strrev("abc")
    indented  = indent(2, "a\nb")
    list      = jsonencode(formatlist("%s=%d", ["a", "b"], [1, 2]))
    regex     = "${regex("[0-9]+", local.release)} ${jsonencode(regexall("[A-Z]", local.release))}"
    named     = jsonencode(regex("(?P<name>[a-z]+)-(?P<n>[0-9]+)", "web-7"))
    replaced  = regex_replace("a1b22", "([0-9]+)", "<$1>")
    literally = replace("a.b.c", ".", "-")
    slashes   = replace("a1b2", "/[0-9]/", "-")
    formats   = format("%5.1f|%-5s|%q|%v|%x|%t|%%", 3.14159, "ab", "q", 1000000, 255, true)
  }
}

build {
  sources = ["source.outscale-bsu.web"]
}
