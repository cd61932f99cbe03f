#!/bin/sh
# Makes a file system on the volume and fills it.
set -eu
sudo mkfs.ext4 -q -F -L data /dev/xvdf
sudo mount /dev/xvdf /mnt
echo "filled by fournil" | sudo tee /mnt/README
sudo umount /mnt
