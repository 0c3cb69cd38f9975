#!/bin/sh
# Makes a throw-away machine of the namespaces it is started in (machine.ts), and stays as its first process.
# $1: a folder for what the machine writes; $2: its name.
set -eu
exec 3<&0
folder=$1
mount -t tmpfs tmpfs "$folder"
for each in etc root home opt boot var; do
  mkdir -p "$folder/$each/upper" "$folder/$each/work"
  mount -t overlay -o "lowerdir=/$each,upperdir=$folder/$each/upper,workdir=$folder/$each/work" overlay "/$each"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock /root/.ssh
chmod 700 /root /root/.ssh
rm -rf /etc/zeroforce /var/lib/zeroforce /etc/ssh/sshd_config.d /root/.ssh/*
ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/machine_host_key
# Somebody who can log in with a password: "secret".
echo 'technician:x:1500:1500::/home/technician:/bin/sh' >>/etc/passwd
echo 'technician:x:1500:' >>/etc/group
echo 'technician:$6$zeroforce$iQDbtGay5ZgA1h.R0PTamTvcMF5vmlyk.B4V4hSUv5amOYxrTPylY9Ng7kOH7JNpXE3m2NAVl2cOD1DnORVwf.:19000:0:99999:7:::' >>/etc/shadow
mkdir -m 755 /home/technician
chown 1500:1500 /home/technician
hostname "$2"
printf '127.0.0.1 localhost %s\n::1 localhost\n' "$2" >/etc/hosts
# Nobody answers there, and says so at once.
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
: >/etc/hosts.allow
: >/etc/hosts.deny

ip link set lo up
unshare --net sleep infinity &
lan=$!
own=$(readlink /proc/self/ns/net)
while [ "$(readlink "/proc/$lan/ns/net")" = "$own" ]; do sleep 0.01; done
ip link add eth0 type veth peer name eth0 netns "$lan"
ip addr add 192.168.77.10/24 dev eth0
ip link set eth0 up
nsenter -t "$lan" -n sh -c 'ip link set lo up; ip addr add 192.168.77.1/24 dev eth0; ip link set eth0 up'
ip route add default via 192.168.77.1
echo "ready $lan"
# Whoever loses its parent comes here, and must not stay as a zombie. It ends with the test that holds its input.
cat <&3 >/dev/null &
wait $!
