#!/bin/sh
# What makes an image of the new system: network, SSH, a user whose key comes from the cloud. Run as root in the build VM.
set -eu

echo 'LABEL=root / ext4 defaults,noatime 0 1' > "$ROOT/etc/fstab"
echo "$NAME" > "$ROOT/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$NAME" > "$ROOT/etc/hosts"
printf 'Built by fournil on VM %s.\n' "$VM" > "$ROOT/etc/motd"

mkdir -p "$ROOT/etc/systemd/network"
printf '[Match]\nName=eth*\n[Network]\nDHCP=yes\n' > "$ROOT/etc/systemd/network/20-dhcp.network"

# Every VM has keys of its own, not those of the image.
rm -f "$ROOT"/etc/ssh/ssh_host_*_key*
: > "$ROOT/etc/machine-id"

cp -R "$FILES/." "$ROOT/"
chmod 755 "$ROOT/usr/local/sbin/first-boot"
chroot "$ROOT" useradd --create-home --shell /bin/bash --groups sudo outscale
echo 'outscale ALL=(ALL) NOPASSWD: ALL' > "$ROOT/etc/sudoers.d/outscale"
chmod 440 "$ROOT/etc/sudoers.d/outscale"
chroot "$ROOT" systemctl --quiet enable systemd-networkd ssh first-boot
chroot "$ROOT" apt-get clean
rm -rf "$ROOT"/var/lib/apt/lists/*

umount "$ROOT"
sync
