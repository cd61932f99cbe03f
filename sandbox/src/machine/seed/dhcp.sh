#!/bin/sh
# What udhcpc calls with the lease that it got.
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/${mask:-24}" dev "$interface"
ip link set "$interface" mtu "${mtu:-1500}"
[ -z "$router" ] || ip route replace default via "${router%% *}"
[ -z "$hostname" ] || hostname "$hostname"
[ -z "$dns" ] || for server in $dns; do echo "nameserver $server"; done >/etc/resolv.conf
