variable "omi_name" {
  default = "Windows-2022"
}

variable "base_name" {
  default = "Windows-2022"
}

source "outscale-bsu" "windows" {
  omi_name             = var.omi_name
  disable_stop_vm      = true
  bsu_optimized        = true
  communicator         = "winrm"
  winrm_username       = "Administrator"
  winrm_use_ssl        = true
  winrm_insecure       = true
  user_data_file       = "scripts/winrm.txt"
  vm_type              = "tinav5.c4r8p1"
  force_delete_snapshot = true
  ssh_interface        = "public_ip"

  source_omi_filter {
    filters = {
      image-name = "${var.base_name}-GOLDEN"
    }
    owners = ["Outscale"]
  }

  launch_block_device_mappings {
    delete_on_vm_deletion = true
    device_name           = "/dev/sda1"
    volume_size           = 50
    volume_type           = "gp2"
  }
}

build {
  sources = ["source.outscale-bsu.windows"]

  provisioner "windows-update" {
    search_criteria = "IsInstalled=0"
  }

  provisioner "powershell" {
    scripts = ["scripts/setup.ps1"]
  }

  provisioner "file" {
    source      = "scripts/setup.ps1"
    destination = "C:\\Windows\\Outscale\\"
  }

  provisioner "powershell" {
    environment_vars = ["LOCALE=en-US"]
    inline           = ["Sysprep.exe /generalize /shutdown"]
  }
}
