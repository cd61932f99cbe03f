#!/bin/sh
# Makes a system on the second volume: here a copy of the one that runs. What is made is up to you (debootstrap, an archive,
# a disk image); it has to boot, and it must hold neither keys nor an identity of the VM that made it.
set -eu
disk=/dev/xvdf new=/mnt

sudo mkfs.ext4 -q -F "$disk"
sudo mount "$disk" "$new"
for folder in bin etc home lib lib64 root sbin usr var; do
    sudo cp -a "/$folder" "$new/"
done
sudo mkdir -p "$new/dev" "$new/proc" "$new/sys" "$new/run" "$new/srv" "$new/mnt" "$new/tmp"
sudo chmod 1777 "$new/tmp"

# fournil takes its temporary key out of the VM, not out of a copy.
sudo rm -f "$new"/root/.ssh/authorized_keys "$new"/home/*/.ssh/authorized_keys "$new"/etc/ssh/ssh_host_*

echo "made in a surrogate" | sudo tee "$new/etc/motd"
sudo umount "$new"
