#!/bin/sh
# The first process of a tiny machine with a kernel of its own: makes what a namespace VM finds ready, then goes on as in one.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export OWN_KERNEL=yes
mount -t proc proc /proc
mount -t sysfs sys /sys
[ -c /dev/null ] || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,gid=5,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
ln -sf /proc/self/fd /dev/fd
ln -sf fd/0 /dev/stdin
ln -sf fd/1 /dev/stdout
ln -sf fd/2 /dev/stderr
mount -o remount,rw /
# Ctrl-Alt-Del is a signal for this process, not the end.
echo 0 >/proc/sys/kernel/ctrl-alt-del
/usr/lib/sandbox/grow-root
/usr/lib/sandbox/disk-names all
uevent /usr/lib/sandbox/disk-names &
acpid -d -l /dev/null 2>/dev/null &

ip link set lo up
for interface in /sys/class/net/*; do
    interface=${interface##*/}
    [ "$interface" = lo ] && continue
    ip link set "$interface" up
    udhcpc -i "$interface" -f -q -t 60 -T 1 -s /usr/lib/sandbox/dhcp
    break
done
exec /usr/sbin/init.ns
