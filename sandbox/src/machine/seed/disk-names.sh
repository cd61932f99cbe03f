#!/bin/sh
# What OUTSCALE's udev rules do in its images: a volume that was linked as /dev/xvdf is a disk of another name, and
# /dev/xvdf a link to it. Called by udev (`link`), which takes the name for a link from the output, by `uevent` for every
# event, or with `all` for what is there. A PC's disks say what they were linked as; those of user-mode Linux are
# called after it.

# sda, ubdf → f; nothing for the root disk
letters() {
    case $1 in
    ubd[b-p]) echo "${1#ubd}" ;;
    sd*)
        # Page 0x83 of the disk's vital data: after two headers of four bytes, the name by which it was linked.
        linked=$(tail -c +9 "/sys/block/$1/device/vpd_pg83" 2>/dev/null | tr -c 'a-z' '\n' | head -n 1)
        case $linked in sd?*) echo "${linked#sd}" ;; esac
        ;;
    esac
}

name_one() { # NAME OF THE DISK
    found=$(letters "$1")
    [ -n "$found" ] || return 0
    for part in "/sys/block/$1" "/sys/block/$1/$1"*; do
        part=${part##*/}
        [ -b "/dev/$part" ] && ln -sf "$part" "/dev/xvd$found${part#"$1"}"
    done
}

remove_dangling() {
    for link in /dev/xvd*; do
        if [ -L "$link" ] && [ ! -e "$link" ]; then rm -f "$link"; fi
    done
}

if [ "$1" = link ]; then # NAME OF DISK OR PARTITION
    disk=$2
    [ ! -e "/sys/class/block/$2/partition" ] || disk=$(basename "$(dirname "$(readlink -f "/sys/class/block/$2")")")
    found=$(letters "$disk")
    [ -n "$found" ] && echo "xvd$found${2#"$disk"}"
elif [ "$1" = all ] || [ "$SUBSYSTEM" = block ]; then
    for disk in /sys/block/sd* /sys/block/ubd*; do
        [ -e "$disk" ] && name_one "${disk##*/}"
    done
    remove_dangling
fi
exit 0
