#!/bin/sh -e
echo "baked on $(date -u +%F) in a chroot, as $(id -un)" > /etc/fournil
echo 'Welcome to an OMI that no VM was launched for.' > /etc/motd
cat /etc/fournil
