#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# "sqlblock attach" with a real kernel: a disk is a block device that outlives
# its server. In a guest a file system is written, with sums of all that was
# synced, while the server outside of it is killed, stopped, frozen and started
# anew, while the supervisor is killed, the disk grows, and connections are cut. No
# error reaches the file system. Where acknowledged writes may be lost, the device
# fails. "sqlblock mount" is tried in the same guest.
#
# The argument is how often the server is killed. With SOAK=yes in the environment
# it is 100 times, with all else between them, and OTHER_PLUGIN can name a plugin
# of another build.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"
. "$srcdir/lib/guest-mount.sh"

need nbdkit nbdinfo python3
need_package e2fsprogs mkfs.ext4 fsck.ext4 resize2fs tune2fs
need_package xfsprogs mkfs.xfs
need_package fdisk sfdisk
need_guest
need_attach

kills=${1-10}
soak=${SOAK-no}
seconds=800
if [ "$soak" = yes ]; then
  kills=${1-100}
  seconds=$((800 + 60 * kills))
fi
# How many connections it gets that wants three.
several=3
# Before 1.34 nbdkit may not survive that a connection is cut (test-disconnect).
serial=
nbdkit_is 1.34 || several=1 serial=--threads=1
db=$tmp/disks.sqlite
sqlblock=$top_builddir/tool/sqlblock

# What the guest may ask for.

served=${OTHER_PLUGIN-$plugin}

# host_start [PARAMETER...]: always on the same port; the answer is that.
host_start ()
{
  if [ -z "${nbdkit_port-}" ]; then
    start_nbdkit_tcp "$served" "$db"
  else
    launch_nbdkit tcp -i 127.0.0.1 -p "$nbdkit_port" "$served" "$db" "$@" ||
      fail "nbdkit does not start again: $(cat "$tmp/tcp.log")"
  fi
  reply=$nbdkit_port
}

# host_upgrade: servers are of this build from now on, and not of another one.
host_upgrade ()
{
  cp "$plugin" "$tmp/upgraded.so"
  served=$tmp/upgraded.so
}

# host_elsewhere [PARAMETER...]: the same on a machine that was started anew, as
# far as the server can tell.
host_elsewhere ()
{
  sed 's/^./f/; s/.$/0/' /proc/sys/kernel/random/boot_id >"$tmp/boot"
  nbdkit ()
  {
    exec unshare --mount bash -c 'mount --bind "$0" \
      /proc/sys/kernel/random/boot_id && exec nbdkit "$@"' "$tmp/boot" "$@"
  }
  host_start "$@"
  unset -f nbdkit
}

# host_root: can the test have such a machine?
host_root ()
{
  reply=$(id -u)
}

host_database ()
{
  reply=$db
}

host_kill ()
{
  kill_nbdkit
}

# host_stop: as a service manager would, with the client there.
host_stop ()
{
  local i
  kill -TERM "$nbdkit_pid"
  for i in $(seq 50); do
    kill -0 "$nbdkit_pid" 2>/dev/null || return 0
    sleep 0.1
  done
  fail "nbdkit does not end after SIGTERM"
}

# host_relay: what passes on the bytes between the server and a port of its own,
# anew; the answer is that. Connections through the one before it are cut.
host_relay ()
{
  [ -z "${relay_pid-}" ] || kill_nbdkit "$relay_pid"
  rm -f "$tmp/relay"
  python3 "$tmp/relay.py" "${relay_port-0}" "$nbdkit_port" >"$tmp/relay" &
  relay_pid=$!
  started_pids+=("$relay_pid")
  wait_for test -s "$tmp/relay"
  relay_port=$(cat "$tmp/relay")
  reply=$relay_port
}

cat >"$tmp/relay.py" <<'EOF'
import socket, sys, threading
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for end in a, b:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
while True:
    a = listener.accept()[0]
    b = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for ends in (a, b), (b, a):
        threading.Thread(target=pump, args=ends, daemon=True).start()
EOF

host_freeze ()
{
  kill -STOP "$nbdkit_pid"
}

# host_foreign: a server that tells nothing; the answer is its port.
host_foreign ()
{
  local nbdkit_port nbdkit_pid
  start_nbdkit_tcp memory 16M
  reply=$nbdkit_port
}

host_thaw ()
{
  kill -CONT "$nbdkit_pid"
}

# host_run ARGUMENT...: of sqlblock.
host_run ()
{
  local status=0
  "$sqlblock" "$@" >&2 || status=$?
  reply=$status
}

for name in web other; do
  "$sqlblock" create -q "$db" $name --size=64M
done

make_tree "$tmp/tree" "$sqlblock" mkfs.ext4 fsck.ext4 resize2fs nbdkit \
  $guest_mount_tools
add_files "$tmp/tree" "$libnbd" "$plugin"
make_initrd "$tmp/initrd" "$tmp/tree" <<END
kills=$kills
soak=$soak
plugin=$plugin
several=$several
serial=$serial
$(cat <<'EOF'

say ()
{
  echo "$(cut -d' ' -f1 /proc/uptime): $*"
}

fail ()
{
  say "$*"
  cat /run/sqlblock-attached/*.json /run/sqlblock-attached/*.log || :
  exit 1
}

state ()
{
  /tools/sqlblock attached -H -o STATE,RECONNECTS
}

# await STATE: until the first device has it.
await ()
{
  for i in $(seq 300); do
    case $(state) in
      "$1"*) return 0 ;;
    esac
    sleep 0.1
  done
  fail "the state is not $1: $(state)"
}

# Write files one after the other, each synced, until /tmp/stop is there; each
# is the same as its sum says.
write_files ()
{
  n=0
  while ! [ -e /tmp/stop ]; do
    n=$((n + 1))
    seq $n 3 $((n + 90000)) >/mnt/file$((n % 40)) || return 1
    sync /mnt/file$((n % 40)) || return 1
    (cd /mnt && sha256sum file$((n % 40))) >/tmp/sum.new || return 1
    mv /tmp/sum.new /tmp/sums/$((n % 40))
    echo $n >/tmp/count
  done
}

# progress: until some more files were written.
progress ()
{
  before=$(cat /tmp/count)
  for i in $(seq 600); do
    [ "$(cat /tmp/count)" -lt $((before + 3)) ] || return 0
    sleep 0.1
  done
  fail "nothing is written any more"
}

check_files ()
{
  (cd /mnt && cat /tmp/sums/* | sha256sum -c >/tmp/checked) ||
    fail "$(cat /tmp/checked)"
}

# surprise: with the server away, what else may happen at that time.
surprise ()
{
  case $(($(od -An -N2 -tu2 /dev/urandom) % 8)) in
    0)
      say "round $i: away for 20 seconds"
      sleep 20
      ;;
    1 | 2)
      say "round $i: the supervisor is killed, too"
      kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
      await unattended
      /tools/sqlblock attach $uri/web
      ;;
    3)
      say "round $i: the supervisor is killed, and comes later"
      kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
      await unattended
      host start
      host kill
      host start
      /tools/sqlblock attach $uri/web
      host kill
      ;;
  esac
  [ $i != $((kills / 2)) ] || host upgrade
}

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
mkdir -p /tmp/sums /run
echo 0 >/tmp/count

say "attach"
port=$(host start)
uri=nbd://10.0.2.2:$port
device=$(/tools/sqlblock attach $uri/web)
[ "$device" = /dev/nbd0 ]
[ "$(cat /sys/block/nbd0/size)" = 131072 ]
[ "$(state)" = "connected	0" ] || fail "$(state)"
/tools/mkfs.ext4 -q $device
mount -t ext4 $device /mnt
write_files &
writer=$!
progress

say "the server is killed"
for i in $(seq $kills); do
  host kill
  [ $((i % 5)) != 1 ] || sleep 3
  [ "$soak" != yes ] || surprise
  host start
  progress
  await connected
done
say "$(state)"

say "the server is stopped for 20 seconds, and upgraded"
host stop
sleep 20
host upgrade
host start
progress
await connected

say "the server is frozen"
host freeze
sleep 14
host thaw
progress

say "the supervisor is killed, and then the server"
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
await unattended
host kill
host start
[ "$(/tools/sqlblock attach $uri/web)" = /dev/nbd0 ]
progress
await connected

say "the disk grows, and is written all the time"
reconnects=$(state)
for size in 80 96; do
  [ "$(host run resize "$(host database)" web ${size}M)" = 0 ]
  for i in $(seq 100); do
    [ "$(cat /sys/block/nbd0/size)" != $((size * 2048)) ] || break
    sleep 0.1
  done
  [ "$(cat /sys/block/nbd0/size)" = $((size * 2048)) ] || fail "it did not grow"
  /tools/resize2fs $device
  progress
done
[ "$(/tools/sqlblock attached -H -o SIZE)" = 96M ] ||
  fail "$(/tools/sqlblock attached)"
[ "$(state)" = "$reconnects" ] || fail "it was connected again: $(state)"

say "the supervisor is killed, and the server goes on"
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
await unattended
[ "$(/tools/sqlblock attach $uri/web)" = /dev/nbd0 ]
await connected
progress
[ "$(state)" = "$reconnects" ] || fail "it was connected again: $(state)"

say "in use, and away"
status=0
/tools/sqlblock detach $device || status=$?
[ $status = 5 ]
touch /tmp/stop
wait $writer
check_files
umount /mnt
check=0
/tools/fsck.ext4 -fn $device || fail "the file system is damaged"
mount -t ext4 $device /mnt
check_files
umount /mnt
host kill
await away
status=0
/tools/sqlblock detach $device || status=$?
[ $status = 5 ]
/tools/sqlblock detach --force $device
[ "$(state)" = "" ]
! [ -e /sys/block/nbd0/pid ]

say "two devices, and a snapshot beside its disk"
host start
[ "$(host run snapshot create "$(host database)" web@s)" = 0 ]
a=$(/tools/sqlblock attach $uri/web)
b=$(/tools/sqlblock attach $uri/web@s)
c=$(/tools/sqlblock attach $uri/other /dev/nbd5)
[ "$a $b $c" = "/dev/nbd0 /dev/nbd1 /dev/nbd5" ]
[ "$(cat /sys/block/nbd1/ro)" = 1 ]
mount -t ext4 -o ro,noload $b /mnt
check_files
umount /mnt
dd if=/dev/urandom of=$c bs=1M count=2
cksum=$(dd if=$c bs=1M count=2 | sha256sum)
/tools/sqlblock detach $c
/tools/sqlblock detach $b

say "in use by somebody, and attached twice"
dd if=/dev/urandom of=$a bs=1M count=2
exec 5<>$a
status=0
/tools/sqlblock detach $a || status=$?
[ $status = 5 ]
exec 5>&-
status=0
/tools/sqlblock attach $uri/web || status=$?
[ $status = 5 ]

say "a roll-back: the device fails"
[ "$(host run rollback --force "$(host database)" web@s)" = 0 ]
await failed
! dd if=$a of=/dev/null bs=4096 count=1 iflag=direct
/tools/sqlblock attached --json
[ "$(/tools/sqlblock attach $uri/web)" = $a ]
/tools/sqlblock detach $a
say "deleted: it fails, too"
[ "$(host run create -q "$(host database)" gone --size=1M)" = 0 ]
a=$(/tools/sqlblock attach $uri/gone)
[ "$(host run delete --force "$(host database)" gone)" = 0 ]
await failed
/tools/sqlblock detach $a
say "what tells of a device is lost"
a=$(/tools/sqlblock attach $uri/web)
rm /run/sqlblock-attached/nbd0.json
/tools/sqlblock detach $a
! [ -e /sys/block/nbd0/pid ]
c=$(/tools/sqlblock attach $uri/other)
[ "$(dd if=$c bs=1M count=2 | sha256sum)" = "$cksum" ]
/tools/sqlblock detach $c

say "several connections, where the server lets it have them"
c=$(/tools/sqlblock attach --connections=3 $uri/other)
/tools/sqlblock attached --json | grep "\"connections\": $several," ||
  fail "another number of connections"
for round in 1 2; do
  dd if=/dev/urandom of=/tmp/random bs=1M count=3
  dd if=/tmp/random of=$c bs=64k conv=fsync &
  writer=$!
  host kill
  host start
  wait $writer
  await connected
  echo 3 >/proc/sys/vm/drop_caches
  dd if=$c bs=1M count=3 | cmp - /tmp/random
done
[ "$(state)" = "connected	2" ] || fail "$(state)"
/tools/sqlblock detach $c

say "the connections are cut, and the server goes on"
host kill
host start $serial
relay=$(host relay)
c=$(/tools/sqlblock attach --connections=3 nbd://10.0.2.2:$relay/other)
for round in 1 2 3; do
  dd if=/dev/urandom of=/tmp/random bs=1M count=3
  dd if=/tmp/random of=$c bs=64k conv=fsync &
  writer=$!
  host relay
  wait $writer
  await connected
  echo 3 >/proc/sys/vm/drop_caches
  dd if=$c bs=1M count=3 | cmp - /tmp/random
done
[ "$(state)" = "connected	3" ] || fail "$(state)"
say "and nobody looks after the device meanwhile"
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
host relay
await unattended
[ "$(/tools/sqlblock attach nbd://10.0.2.2:$relay/other)" = $c ]
dd if=$c bs=1M count=3 iflag=direct | cmp - /tmp/random
await connected
cksum=$(dd if=$c bs=1M count=2 | sha256sum)
rm /tmp/random
/tools/sqlblock detach $c

say "a server that lets nobody fence off late requests"
host kill
host start --filter=exportname exportname-strict=true exportname=other \
  exportname=other/lineage
status=0
/tools/sqlblock attach $uri/other 2>/tmp/said || status=$?
[ $status != 0 ] && grep "late requests" /tmp/said
[ "$(state)" = "" ]
host kill
host start

if [ "$(host root)" = 0 ]; then
  say "another boot: acknowledged writes may be lost"
  a=$(/tools/sqlblock attach $uri/other)
  host kill
  host elsewhere
  await failed
  /tools/sqlblock attached -H -o REASON | grep "started anew"
  /tools/sqlblock detach $a
  say "but not where all was synced"
  host kill
  host start durable=always
  a=$(/tools/sqlblock attach $uri/other)
  dd if=/dev/urandom of=$a bs=1M count=2 oflag=direct
  cksum=$(dd if=$a bs=1M count=2 | sha256sum)
  host kill
  host elsewhere durable=always
  [ "$(dd if=$a bs=1M count=2 iflag=direct | sha256sum)" = "$cksum" ]
  await connected
  /tools/sqlblock detach $a
fi

say "a server of its own"
export SQLBLOCK_PLUGIN=$plugin
/tools/sqlblock create /tmp/own.sqlite disk --size=16M
PATH=/tools:/bin
device=$(sqlblock attach /tmp/own.sqlite disk)
mkfs.ext4 -q $device
mount -t ext4 $device /mnt
seq 100000 >/mnt/numbers
sync
kill -9 $(cat /run/sqlblock-attached/nbd0.pid)
seq 100000 >/mnt/more
sync
cmp /mnt/numbers /mnt/more
umount /mnt
sqlblock detach $device
[ "$(ls /run/sqlblock-attached)" = nbd0.lock ] || ls /run/sqlblock-attached
sqlblock check /tmp/own.sqlite

say "a server that runs already"
uri="nbd+unix:///disk?socket=%2Ftmp%2Frunning"
sqlblock create /tmp/own.sqlite more --size=16M

# run_server: of that database; answers when it serves.
run_server ()
{
  rm -f /tmp/running
  nbdkit -U /tmp/running -P /tmp/running.pid $plugin /tmp/own.sqlite
  for i in $(seq 100); do
    sqlblock status /tmp/own.sqlite | grep "^server" >/tmp/said && return
    sleep 0.1
  done
  fail "the server does not run"
}

run_server
device=$(sqlblock attach /tmp/own.sqlite more)
sqlblock attached --json | grep "socket=%2Ftmp%2Frunning"
! [ -e /run/sqlblock-attached/nbd0.pid ]
kill -9 $(cat /tmp/running.pid)
run_server
dd if=/dev/zero of=$device bs=4096 count=1 conv=fsync
await connected
status=0
sqlblock attach /tmp/own.sqlite disk --durable >/tmp/said 2>&1 || status=$?
[ $status = 5 ] && grep "without durable=always" /tmp/said || fail "$(cat /tmp/said)"
other=$(sqlblock attach "$uri")
status=0
sqlblock attach /tmp/own.sqlite disk >/tmp/said 2>&1 || status=$?
[ $status = 5 ] && grep "attach $uri" /tmp/said || fail "$(cat /tmp/said)"
mv /tmp/running /tmp/hidden
! sqlblock attach /tmp/own.sqlite disk >/tmp/said 2>&1
grep "process $(cat /tmp/running.pid)" /tmp/said || fail "$(cat /tmp/said)"
mv /tmp/hidden /tmp/running
sqlblock detach $other
sqlblock detach $device
kill -9 $(cat /tmp/running.pid)

say "another database, where a device failed whose server still runs"
sqlblock create -q /tmp/small.sqlite disk --size=1M
sqlblock snapshot create -q /tmp/own.sqlite disk@s
device=$(sqlblock attach /tmp/own.sqlite disk)
sqlblock rollback -q --force /tmp/own.sqlite disk@s
await failed
[ "$(sqlblock attach --durable /tmp/small.sqlite disk)" = $device ]
[ "$(cat /sys/block/nbd0/size)" = 2048 ] || fail "it is the other one"
grep -a durable=always /proc/$(cat /run/sqlblock-attached/nbd0.pid)/cmdline
sqlblock detach $device

say "two at once"
for round in 1 2 3; do
  sqlblock attach /tmp/small.sqlite disk >/tmp/said &
  second=$!
  sqlblock attach /tmp/small.sqlite disk || :
  wait $second || :
  [ $(sqlblock attached -H -o DEVICE | wc -l) = 1 ] ||
    fail "$(sqlblock attached)"
  sqlblock detach $device
done

say "a server that is back, but not as before"
host kill
host start
uri=nbd://10.0.2.2:$port
[ "$(sqlblock attach $uri/other)" = /dev/nbd0 ]
host kill
host start -r
await away
for i in $(seq 100); do
  ! sqlblock attached -H -o REASON | grep "can only be read" || break
  sleep 0.1
done
[ $i != 100 ] || fail "$(sqlblock attached)"
host kill
host start
dd if=/dev/zero of=/dev/nbd0 bs=4096 count=1 conv=fsync
await connected

say "not there, or not for this client, for now"
[ "$(host run rename -q "$(host database)" other else)" = 0 ]
await away
[ "$(host run rename -q "$(host database)" else other)" = 0 ]
await connected
[ "$(host run set -q "$(host database)" other allow=none)" = 0 ]
await away
[ "$(host run inherit -q "$(host database)" other allow)" = 0 ]
await connected

say "what root alone knows, or nobody any more"
[ "$(ls -l /run/sqlblock-attached/nbd0.json | cut -c1-10)" = -rw------- ]
mv /run/sqlblock-attached/nbd0.json /tmp
! sqlblock attach $uri/other 2>/tmp/said
grep "/dev/nbd0 has it" /tmp/said
echo damaged >/run/sqlblock-attached/nbd0.json
[ "$(sqlblock attached -H -o STATE)" = unknown ]
! sqlblock attach $uri/other 2>/tmp/said
grep "/dev/nbd0 has it" /tmp/said
sqlblock detach /dev/nbd0

say "a server that tells nothing goes on, and nobody looks after the device"
foreign=nbd://10.0.2.2:$(host foreign)
device=$(sqlblock attach $foreign)
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
await unattended
[ "$(sqlblock attach $foreign)" = $device ]
await connected
sqlblock detach $device

say "who asks a device for its server does not keep its lock"
device=$(sqlblock attach /tmp/own.sqlite disk)
sqlblock set -q /tmp/own.sqlite disk limit-bytes=4K
sleep 1.1
dd if=$device of=/dev/null bs=1M count=1 iflag=direct &
sleep 1
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
await unattended
sqlblock attach /tmp/own.sqlite disk
sleep 1.1
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
await unattended
sqlblock attach /tmp/own.sqlite disk
sqlblock inherit -q /tmp/own.sqlite disk limit-bytes
await connected
sqlblock detach --force $device

EOF
)
$(guest_mount)
END

run_guest "$seconds" "$tmp/initrd" "$tmp/console" \
  -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
"$sqlblock" check -q "$db"
