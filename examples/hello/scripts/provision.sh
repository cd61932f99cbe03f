#!/bin/sh
# Runs in the VM as the login user.
set -e
echo "provisioning $(hostname) as $(id -un)"
sudo cp /tmp/motd /etc/motd
sudo chmod 0644 /etc/motd
echo "$GREETING" | sudo tee /etc/greeting
for i in 1 2 3; do
  echo "step $i of 3"
  sleep 0.3
done
rm /tmp/motd
