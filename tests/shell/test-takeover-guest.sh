#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A machine whose root file system is one of our disks, on a Ceph cluster that
# keeps everything three times. While it writes, its server is killed, and
# another one takes over: QEMU connects again (reconnect-delay), and the machine
# only waits.
#
#   broken     the lock of the server that was killed is broken, and another one
#              started
#   waiting    one stands by (takeover=wait), and goes on when that lock has
#              ended
#
# What the machine has synced before, between and after must be there, as it
# sees it, and as it lies on the disk that it leaves; its file system must be
# clean. Each round boots what the round before it has left.
#
# Takes five minutes and 2 GiB of memory, so it runs in the soak. The argument
# is the number of rounds of both.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"
need_package ceph-mon ceph-mon
need_package ceph-mgr ceph-mgr
need_package ceph-osd ceph-osd
need_package ceph-common ceph rados
need_package e2fsprogs mkfs.ext4 e2fsck debugfs
need nbdkit nbdcopy timeout
need_guest
. "$srcdir/lib/three-osds.sh"

rounds=${1-2}
cd "$tmp"
export TMPDIR=$tmp
PATH=$top_builddir/tool:$PATH
db=rados:sql/machine

# The disk. An error of it is the end of the machine. Its init writes one file
# after the other, and syncs each before it tells the test, which says when it
# is to stop. In the end it reads all of them from the disk.
make_tree root
mkdir root/sbin root/data
{
  echo '#!/bin/sh -e'
  guest_finish
  cat <<'END'

mount -o remount,rw /
[ ! -e /sums ] || sha256sum -c -s /sums
number=$(ls /data | wc -l)
go=on
while [ "$go" = on ]; do
  number=$((number + 1))
  seq "$number" 3 200000 >"/data/$number"
  set -- $(sha256sum "/data/$number")
  echo "$1  $2" >>/sums
  sync
  echo "synced $number $1" >&3
  read -t 1 -r go <&3 || :
done
sync
echo 3 >/proc/sys/vm/drop_caches
sha256sum -c -s /sums
mount -o remount,ro /
END
} >root/sbin/init
chmod 755 root/sbin/init
mkfs.ext4 -q -e panic -E root_owner=0:0 -d root image 512M

make_tree tree
make_initrd initrd tree <<'END'
mount -t ext4 -o ro /dev/vda /mnt
for dir in proc sys dev; do
  mount --move "/$dir" "/mnt/$dir"
done
exec switch_root /mnt /sbin/init
END

# serve NAME PARAMETER...: on the machine's socket; its process is $server.
serve ()
{
  local name=$1
  shift
  rm -f "$name.pid"
  nbdkit -f -U "$tmp/socket" -P "$name.pid" "$plugin" "$db" "$@" \
    >"$name.log" 2>&1 &
  server=$!
  started_pids+=("$server")
}

# stop: the one that serves.
stop ()
{
  stop_nbdkit "$server"
  rm socket
}

# serves NAME
serves ()
{
  [ -s "$1.pid" ]
}

# take_over: the first server is killed, and the second one serves.
take_over ()
{
  local began=$SECONDS
  kill_nbdkit "$first"
  rm socket
  if [ "$how" = broken ]; then
    sqlblock break-lock -qf "$db"
    serve second
  fi
  until serves second; do
    [ $((SECONDS - began)) -lt 60 ] ||
      fail "the second server does not serve: $(cat second.log)"
    sleep 0.1
  done
  echo "$how: taken over after $((SECONDS - began)) s"
}

# host_synced NUMBER SUM: what the machine has synced. It goes on to write when
# there is no answer for a second.
host_synced ()
{
  echo "$2 $1" >>synced
  count=$((count + 1))
  reply=on
  if [ "$count" = 3 ]; then
    sleep "1.$((RANDOM % 10))"
    take_over
  elif [ "$count" = 10 ]; then
    reply=stop
  fi
}

# has_all: what the disk has, seen from here.
has_all ()
{
  local sum number
  rm -f image
  nbdcopy "nbd+unix:///?socket=$tmp/socket" image
  e2fsck -fn image || fail "the file system is not clean"
  while read -r sum number; do
    [ "$(debugfs -R "cat /data/$number" image 2>/dev/null | sha256sum)" = \
      "$sum  -" ] || fail "the file $number is not what was synced"
  done <synced
  echo "$how: $(wc -l <synced) files synced, lost 0"
}

# run_round HOW
run_round ()
{
  local how=$1 count=0 first
  serve first
  first=$server
  wait_for serves first
  if [ "$how" = waiting ]; then
    serve second takeover=wait
    wait_for grep -q "has it open: waiting" second.log
  fi
  run_guest 300 initrd console \
    -blockdev "driver=nbd,node-name=disk,server.type=unix,\
server.path=$tmp/socket,reconnect-delay=120" \
    -device virtio-blk-pci,drive=disk
  [ "$count" -ge 10 ] || fail "the machine has synced only $count files"
  has_all
  stop
  sqlblock check "$db" >out 2>&1 || fail "check: $(cat out)"
}

start_three_osds sql
echo "the cluster is there: $SECONDS s"
serve first size=512M
wait_for serves first
nbdcopy --flush image "nbd+unix:///?socket=$tmp/socket"
stop
: >synced
for ((round = 0; round < rounds; round++)); do
  run_round broken
  run_round waiting
done
