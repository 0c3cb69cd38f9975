/** What a power cut does to an upgrade: all its processes end before one of the commands that change something. */

/**
 * A script for a stub board. Each command of the installer that changes the disk asks first whether it is its turn: then
 * every process of the upgrade is killed at once, and the machine boots. Defines `cut_at FROM TO WHERE`, which begins an
 * upgrade from a fresh installation of FROM, prints what it was cut off in and what runs after the boot, or `ended`.
 * WHERE is a step of the journal, at its first command, or the number of a command.
 */
export const POWER_CUTS = `
mkdir -p /shim /dev/shm/cut
for tool in mv cp rm ln mkdir rmdir sync chmod tar; do
  real=/bb/$tool
  cat >/shim/$tool <<END
#!/bin/sh
[ -e /dev/shm/cut/where ] || exec $real "\\$@"
read -r where </dev/shm/cut/where; read -r count </dev/shm/cut/count
count=\\$((count + 1)); echo \\$count >/dev/shm/cut/count
step=; [ ! -e /opt/zeroforce/journal ] || while read -r name value; do [ \\$name != step ] || step=\\$value; done </opt/zeroforce/journal
if [ \\$where = \\$count ] || [ "\\$where" = "\\$step" ]; then
  /bb/rm /dev/shm/cut/where; : >/dev/shm/cut/now; exec sleep 100
fi
exec $real "\\$@"
END
  chmod 755 /shim/$tool
done
keep_disk() { rm -rf /dev/shm/disk; mkdir /dev/shm/disk; cp -a /opt/zeroforce /etc/init.d /etc/sysctl.d /usr/local/share/man /dev/shm/disk; }
same_disk() {
  rm -rf /opt/zeroforce /etc/init.d /etc/sysctl.d /usr/local/share/man
  cp -a /dev/shm/disk/zeroforce /opt; cp -a /dev/shm/disk/init.d /dev/shm/disk/sysctl.d /etc; cp -a /dev/shm/disk/man /usr/local/share
}
cut_at() { # command, release or nothing, where
  same_disk; boot >/dev/null 2>&1
  rm -f /dev/shm/cut/*; echo 0 >/dev/shm/cut/count; echo "$3" >/dev/shm/cut/where
  PATH="/shim:$PATH" /usr/bin/unshare -p -f --kill-child --mount-proc sh /opt/zeroforce/install.sh $1 $2 $Q >/dev/shm/said 2>&1 & machine=$!
  until [ -e /dev/shm/cut/now ] || ! kill -0 $machine 2>/dev/null; do sleep 0.05; done
  kill -9 $machine 2>/dev/null; wait $machine 2>/dev/null; code=$?
  if [ ! -e /dev/shm/cut/now ]; then rm -f /dev/shm/cut/where; echo "ended $code"; cat /dev/shm/said; return 1; fi
  at=$(sed -n 's/^step //p' /opt/zeroforce/journal 2>/dev/null)
  if ! boot >/dev/shm/booted 2>&1; then cat /dev/shm/booted; fi
  echo "$3 \${at:-before}: $(running) $(sound)"
}
# Whether what runs is what is linked, and nothing is half done.
sound() {
  [ "$(running)" = "$(current)" ] || echo "but current is $(current)"
  [ ! -e /opt/zeroforce/journal ] || echo 'and there is a journal'
  installer status | grep -E 'edited|now:'
  # Everything that is laid out is of the version that runs.
  [ "$(tail -n 1 /etc/init.d/S70zeroforce)" = "# of $(current)" ] || echo 'with an init file of another'
  [ "$(cat /usr/local/share/man/man1/tunnel-agent.1)" = "of $(current)" ] || echo 'with a page of another'
}
`;
