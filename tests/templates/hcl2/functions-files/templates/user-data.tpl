#cloud-config
# ${region}
users:
%{ for user in users ~}
  - ${user}
%{ endfor ~}
