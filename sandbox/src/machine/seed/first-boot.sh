#!/bin/sh
# What cloud-init does in other images, once per instance id:
#   keys       host keys of its own, the key pair's public key for outscale and root, the host name
#   user-data  runs the user data if it is a script
metadata=http://169.254.169.254/latest
state=/var/lib/sandbox/instances

get() {
    if command -v wget >/dev/null; then
        # Without a time limit: busybox 1.35's -T crashes, and its timeout leaves a watcher behind that holds
        # the output open, so that a script fetched this way is "text file busy" for a moment.
        wget -q -O - "$metadata/$1" 2>/dev/null
    else
        curl -sf --max-time 5 "$metadata/$1"
    fi
}

authorize() { # USER HOME
    mkdir -p "$2/.ssh"
    printf '%s\n' "$key" >"$2/.ssh/authorized_keys"
    chmod 700 "$2/.ssh"
    chmod 600 "$2/.ssh/authorized_keys"
    chown -R "$1" "$2/.ssh"
}

instance=$(get meta-data/instance-id | tr -cd 'A-Za-z0-9-')
# Where the network comes up beside this.
tries=0
while [ -z "$instance" ] && [ -d /run/systemd/system ] && [ $tries -lt 240 ]; do
    sleep 0.5
    tries=$((tries + 1))
    instance=$(get meta-data/instance-id | tr -cd 'A-Za-z0-9-')
done
# What networkd was told; the other images' DHCP clients write it themselves.
servers=$(sed -n 's/^DNS=//p' /run/systemd/netif/leases/* 2>/dev/null)
[ -z "$servers" ] || for server in $servers; do echo "nameserver $server"; done >/etc/resolv.conf

[ -n "$instance" ] || echo "first-boot: the metadata service does not answer"

name=$(hostname)
if [ -n "$instance" ] && [ -d /run/systemd/system ]; then
    # Nobody else says it to a machine that starts with systemd.
    name=$(get meta-data/local-hostname)
    name=${name%%.*}
    hostname "$name"
fi
if ! grep -qw "$name" /etc/hosts 2>/dev/null; then
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >/etc/hosts
    echo "$name" >/etc/hostname
fi

case $1 in
keys)
    if [ -n "$instance" ] && [ ! -e "$state/$instance/keys" ]; then
        rm -f /etc/ssh/ssh_host_*
        key=$(get meta-data/public-keys/0/openssh-key)
        if [ -n "$key" ]; then
            authorize outscale /home/outscale
            authorize root /root
        else
            echo "first-boot: $instance has no key pair"
        fi
        mkdir -p "$state/$instance"
        : >"$state/$instance/keys"
    fi
    [ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -q -t ed25519 -N '' -C "$name" -f /etc/ssh/ssh_host_ed25519_key
    ;;
user-data)
    [ -n "$instance" ] && [ ! -e "$state/$instance/user-data" ] || exit 0
    mkdir -p "$state/$instance"
    # Written first: a script that reboots the machine must not run again.
    get user-data >"$state/$instance/user-data"
    if [ "$(head -c 2 "$state/$instance/user-data")" = '#!' ]; then
        chmod 700 "$state/$instance/user-data"
        echo "first-boot: running the user data"
        "$state/$instance/user-data"
        echo "first-boot: the user data ended with status $?"
    fi
    ;;
esac
