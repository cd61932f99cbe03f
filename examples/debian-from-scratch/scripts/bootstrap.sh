#!/bin/sh
# Makes a bootable Debian on the second volume, from nothing but Debian's packages: partition, file system, base system with
# kernel, boot loader. Run as root in the build VM.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

tools="debootstrap e2fsprogs extlinux fdisk parted syslinux-common"
apt-get -q update
# shellcheck disable=SC2086
apt-get -q -y --no-install-recommends install $tools

# One partition that begins where every boot loader is content, marked as the one to boot from.
parted -s "$DISK" mklabel msdos mkpart primary ext4 1MiB 100% set 1 boot on
partition="${DISK}1"
for _ in $(seq 50); do [ -b "$partition" ] && break; sleep 0.2; done
# extlinux cannot read what newer versions of ext4 add.
mkfs.ext4 -q -F -O '^64bit,^metadata_csum' -L root "$partition"
mkdir -p "$ROOT"
mount "$partition" "$ROOT"

debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$ROOT" "$MIRROR"

# The kernel's own links, /vmlinuz and /initrd.img, stay right when it is replaced.
mkdir -p "$ROOT/boot/extlinux"
cp /usr/lib/syslinux/modules/bios/ldlinux.c32 /usr/lib/syslinux/modules/bios/libcom32.c32 "$ROOT/boot/extlinux/"
cat > "$ROOT/boot/extlinux/extlinux.conf" <<END
DEFAULT debian
LABEL debian
    LINUX /vmlinuz
    INITRD /initrd.img
    APPEND root=LABEL=root ro console=tty0 console=ttyS0,115200 net.ifnames=0
END
extlinux --install "$ROOT/boot/extlinux"
dd if=/usr/lib/EXTLINUX/mbr.bin of="$DISK" bs=440 count=1 conv=notrunc status=none
