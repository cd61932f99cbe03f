source "outscale-bsu" "x" { omi_name = "a", vm_type = "b" }
