locals {
  zones = ["b", "a", "b", ""]
  map   = { b = 2, a = 1 }
}

source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p1"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}

build {
  sources = ["source.outscale-bsu.web"]

  provisioner "shell" {
    inline = [
      "echo ${jsonencode(distinct(local.zones))} ${jsonencode(compact(local.zones))} ${jsonencode(sort(local.zones))} ${jsonencode(reverse(local.zones))}",
      "echo ${length(local.zones)} ${length(local.map)} ${length("Zürich")} ${contains(local.zones, "a")} ${index(local.zones, "a")}",
      "echo ${jsonencode(keys(local.map))} ${jsonencode(values(local.map))} ${jsonencode(zipmap(["x", "y"], [1, 2]))}",
      "echo ${jsonencode(chunklist([1, 2, 3, 4, 5], 2))} ${jsonencode(slice([1, 2, 3, 4], 1, 3))} ${jsonencode(range(1, 8, 3))}",
      "echo ${coalesce("", null, "c")} ${jsonencode(coalescelist([], ["x"]))} ${alltrue([true, "true"])} ${anytrue([])}",
      "echo ${jsonencode(setproduct(["a", "b"], [1, 2]))} ${jsonencode(setintersection(["a", "b"], ["b", "c"]))}",
      "echo ${sum([1, 2.5])} ${max(1, 5, 3)} ${min(4, 2)}",
    ]
  }
}
