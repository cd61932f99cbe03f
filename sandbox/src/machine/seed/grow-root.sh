#!/bin/sh
# Makes the root's partition and file system as large as the volume, as cloud-init does.
number=$(stat -c %d /)
device=$(readlink -f "/sys/dev/block/$((number / 256)):$((number % 256))") || exit 0
name=${device##*/}
if [ -e "$device/partition" ]; then
    disk=${device%/*}
    end=$(($(cat "$device/start") + $(cat "$device/size")))
    partition=$(cat "$device/partition")
    # What is needed for the second copy of the table, and less than is worth the effort.
    if [ $(($(cat "$disk/size") - end)) -gt 8192 ]; then
        echo ', +' | sfdisk --quiet --force --no-reread -N "$partition" "/dev/${disk##*/}" >/dev/null 2>&1
        partx -u -n "$partition" "/dev/${disk##*/}"
    fi
fi
resize2fs "/dev/$name" >/dev/null 2>&1
exit 0
