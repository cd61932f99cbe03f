#!/bin/bash
set -e
curl -sSfo /tmp/image.qcow2 "$1"
qemu-img convert -O raw /tmp/image.qcow2 /dev/sda
reboot
