#!/bin/sh
# Fills the third volume, which VMs of the OMI get as /dev/xvdg.
set -eu
sudo mkfs.ext4 -q -F -L data /dev/xvdg
sudo mount /dev/xvdg /mnt
echo "data for all VMs of this OMI" | sudo tee /mnt/README
sudo umount /mnt
