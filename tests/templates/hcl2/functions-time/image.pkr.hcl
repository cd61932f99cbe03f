locals {
  day = formatdate("YYYYMMDD-hhmm", timestamp())
}

source "outscale-bsu" "web" {
  omi_name     = "web-${local.day}"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
  tags = {
    now     = timestamp()
    day     = formatdate("EEEE, DD MMM YYYY hh:mm:ss ZZZ", timestamp())
    week    = timeadd(timestamp(), "168h")
    legacy  = "${legacy_isotime()} ${legacy_isotime("20060102")} ${legacy_strftime("%Y-%m-%d")}"
    parts   = "${rfc3339_parse(timestamp()).year} ${unix_timestamp_parse(0).rfc3339}"
    literal = "{{isotime `2006-01-02`}}"
  }
}

build {
  sources = ["source.outscale-bsu.web"]
}
