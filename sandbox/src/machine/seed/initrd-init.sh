#!/bin/sh
# The first program of a tiny machine that is a PC: loads the drivers, mounts the root, goes on there.
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /modules/*; do insmod "$module" 2>/dev/null; done
root=
for word in $(cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=0
while [ ! -b "$root" ] && [ $tries -lt 600 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
mount -t ext4 -o rw "$root" /new || { echo "initrd: cannot mount $root"; exec sleep 3600; }
umount /proc
umount /sys
mount --move /dev /new/dev
exec switch_root /new /sbin/init
