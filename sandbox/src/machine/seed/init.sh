#!/bin/sh
# The first process of a VM that is made of namespaces: no kernel to load, no device to wait for.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Ends everything and then the machine, as "$1 -f" does (poweroff, reboot or halt).
end() {
    trap '' PWR USR1 USR2 TERM INT
    echo "init: $1"
    kill -TERM -1 2>/dev/null
    tries=0
    while set -- "$1" /proc/[0-9]* && [ $# -gt 2 ] && [ $tries -lt 40 ]; do
        sleep 0.05 & wait $!
        tries=$((tries + 1))
    done
    kill -KILL -1 2>/dev/null
    sync
    [ -z "$OWN_KERNEL" ] || mount -o remount,ro /
    exec "$1" -f
}

# The power button is SIGPWR; the others are what busybox's poweroff, halt and reboot send to process 1.
trap 'end poweroff' PWR USR2
trap 'end halt' USR1
trap 'end reboot' TERM INT

mkdir -p /run/sshd /run/lock
/usr/lib/sandbox/first-boot keys
/usr/sbin/sshd -E /dev/console
echo "init: $(hostname) answers on SSH"
/usr/lib/sandbox/first-boot user-data &

# Process 1 inherits every orphan; waiting reaps them, and lets the traps run at once.
while :; do
    sleep 3600 &
    wait $!
done
