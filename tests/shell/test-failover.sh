#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Failover of a file: the database is on ext4, on an RBD volume of a cluster,
# and one of two machines serves it, with the units that the manual has. In each
# round the machine that serves loses its power, or is stopped, or goes on
# without knowing that it was given up; it is fenced off as the manual says, and
# the other one takes over. What was flushed must be there, and as the writes
# came. A machine that comes back after that can write nothing, and says so with
# the first flush.
#
# First the kernels of the machines have the volume, as on hosts; then QEMU has
# it, as of virtual machines whose disks are on the cluster. At the end of each,
# all writes are durable (durable=always): nothing acknowledged may be lost.
#
# Before that an OSD is killed, a monitor restarted, and the pool full, while
# a client writes: it waits, and goes on.
#
# Takes half an hour, 4 GiB of memory and the packages of a Ceph
# cluster, so it runs in the soak. The argument is the number of rounds.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"
. "$srcdir/lib/systemd-guest.sh"
need_package ceph-mon ceph-mon
need_package ceph-mgr ceph-mgr
need_package ceph-osd ceph-osd
need_package ceph-common ceph rados rbd
need_package jq jq
need_package e2fsprogs mkfs.ext4 fsck.ext4
need_package iproute2 ip
need nbdkit python3 unshare
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
guest_modules+=" rbd"
need_guest
need_systemd
qemu-img info rbd:none/none 2>&1 | grep -q "Unknown protocol" &&
  skip "QEMU has no rbd (the package qemu-block-extra)"

# The network is the test's own: machines can reach a cluster at an address
# that is none of the loopback's, and nobody else can.
if [ -z "${own_network-}" ]; then
  unshare=(unshare --net)
  [ "$(id -u)" = 0 ] || unshare+=(--map-root-user)
  "${unshare[@]}" true 2>/dev/null || skip "a network of its own needs root"
  own_network=yes "${unshare[@]}" bash "$0" "$@"
  exit
fi
ip link set lo up
cluster_address=192.0.2.1
ip addr add "$cluster_address/32" dev lo
. "$srcdir/lib/three-osds.sh"

rounds=${1-6}
seed=${SEED-$RANDOM}
echo "SEED=$seed"
RANDOM=$seed
cd "$tmp"
: >journal

# Machines. Each has a name, a process, and a port that leads to its server. It
# does one order after the other, told on its second serial line, and says how
# each ended.

declare -A process=() orders=() answers=() port=([a]=10801 [b]=10802)

# boot MACHINE: what was in a machine of that name is gone. $volume says who
# has the volume: "kernel" or "qemu".
boot ()
{
  local to from disk=()
  if [ "$volume" = qemu ]; then
    disk=(-drive "file=rbd:rbd/disks:conf=$CEPH_CONF,format=raw,if=virtio")
  fi
  rm -f "$1.in" "$1.out"
  mkfifo "$1.in" "$1.out"
  qemu-system-x86_64 "${guest_machine[@]}" -m 512 \
    -kernel "$guest_kernel" -initrd initrd \
    -append "console=ttyS0 quiet panic=-1" \
    -serial "file:$1.console" \
    -chardev "pipe,id=test,path=$tmp/$1" -serial chardev:test \
    -netdev "user,id=net,hostfwd=tcp:127.0.0.1:${port[$1]}-:10809" \
    -device virtio-net-pci,netdev=net,romfile= "${disk[@]}" \
    >"$1.qemu" 2>&1 &
  process[$1]=$!
  started_pids+=($!)
  exec {to}<>"$1.in" {from}<>"$1.out"
  orders[$1]=$to answers[$1]=$from
  await "$1" ready
}

# await MACHINE ANSWER: its next one, within four minutes.
await ()
{
  local answer=nothing
  read -r -t 240 -u "${answers[$1]}" answer || :
  [ "$answer" = "$2" ] || {
    tail -n 30 "$1.qemu" "$1.console" >&2
    fail "the machine $1 says $answer, not $2"
  }
}

# order MACHINE COMMAND...: it must succeed there.
order ()
{
  local machine=$1
  shift
  echo "$*" >&"${orders[$machine]}"
  await "$machine" "done 0"
}

# power_cut MACHINE
power_cut ()
{
  local to=${orders[$1]} from=${answers[$1]}
  kill -9 "${process[$1]}"
  wait "${process[$1]}" 2>/dev/null || :
  exec {to}>&- {from}<&-
}

# The client, and what it was told.

# start_writer MACHINE JOURNAL
start_writer ()
{
  python3 "$srcdir/lib/journal.py" write "nbd://127.0.0.1:${port[$1]}" "$2" \
    "$RANDOM" &
  writer=$!
  started_pids+=("$writer")
}

# stop_writer [-9]: when it has its answer; or now, since there is none.
stop_writer ()
{
  kill "${1--TERM}" "$writer" 2>/dev/null || :
  wait "$writer" 2>/dev/null || :
}

# flushes JOURNAL: how many clients were told of.
flushes ()
{
  grep -c ^f "$1" || :
}

has_flushed ()
{
  [ "$(flushes "$2")" -ge "$1" ]
}

# await_flushes COUNT: so many more.
await_flushes ()
{
  until_ceph 120 has_flushed $(($(flushes journal) + $1)) journal
}

# failed JOURNAL: has its client ended with an error?
failed ()
{
  tail -n 1 "$1" | grep -q ^e
}

# await_end MACHINE JOURNAL: the client of a machine that was fenced off hears
# of an error. Or of nothing, where a request hangs: seen in pwrite of the log, in
# the kernel's balance_dirty_pages, which waits until ext4 has written pages that
# it cannot write any more. Then say where it does.
await_end ()
{
  local _
  for _ in {1..60}; do
    ! failed "$2" || return 0
    sleep 1
  done
  echo "the machine $1 answers no more; its server:"
  order "$1" 'cat /proc/$(cat /run/sqlblock/main/pid)/task/*/stack'
  tail -n 60 "$1.console"
}

# compare MACHINE: what it serves must be right; the line that says so.
compare ()
{
  python3 "$srcdir/lib/journal.py" check "nbd://127.0.0.1:${port[$1]}" \
    journal | tee compared
}

# What happens.

# trouble MACHINE: the cluster has its own; the client only waits.
trouble ()
{
  start_writer "$1" journal
  await_flushes 5
  kill_osd 1
  await_flushes 5
  start_osd 1
  restart_monitor
  await_flushes 5
  fill_pool rbd
  sleep 10
  empty_pool rbd
  await_flushes 5
  await_clean
  kill -0 "$writer" || fail "the client has ended: $(tail -n 1 journal)"
  stop_writer
  echo "an OSD killed, the monitor restarted, the pool full: $SECONDS s"
}

# take_over HOW OLD NEW: the machine NEW serves in place of OLD.
take_over ()
{
  local how=$1 old=$2 new=$3 began
  start_writer "$old" journal
  await_flushes $((3 + RANDOM % 10))
  case $how in
    killed) power_cut "$old" ;;
    stopped) kill -STOP "${process[$old]}" ;;
    alive) [ "$volume" = qemu ] || refuse "$new" ;;
  esac
  began=$SECONDS
  bash ./fence rbd/disks
  [ "$volume/$how" = kernel/alive ] || boot "$new"
  order "$new" systemctl start sqlblock@main
  echo "$volume, $how: $((SECONDS - began)) s until $new serves"
  [ "$how" != alive ] || await_end "$old" journal
  stop_writer -9
  compare "$new"
  order "$new" su sqlblock -c "'sqlblock check /var/lib/sqlblock/main.sqlite'"
  [ "$how" = killed ] || come_back "$how" "$old" "$new"
}

# refuse MACHINE: while another one has the volume, it does not get it.
refuse ()
{
  boot "$1"
  order "$1" ! systemctl start sqlblock@main
  kill -0 "$writer" || fail "the client has ended: $(tail -n 1 journal)"
}

# come_back HOW OLD NEW: what OLD does after it was fenced off leaves no trace,
# and nobody is told that it does.
come_back ()
{
  local how=$1 old=$2 new=$3 fenced_off
  : >late
  [ "$how" = alive ] || kill -CONT "${process[$old]}"
  start_writer "$old" late
  fenced_off=$writer
  start_writer "$new" journal
  await_flushes 5
  stop_writer
  writer=$fenced_off
  await_end "$old" late
  power_cut "$old"
  stop_writer
  [ "$(flushes late)" = 0 ] || fail "what was fenced off has flushed"
  compare "$new"
}

# write_through MACHINE: from now on, acknowledged is durable.
write_through ()
{
  order "$1" \
    echo SQLBLOCK_PARAMETERS=durable=always \>\>/etc/sqlblock/main.conf
  order "$1" systemctl restart sqlblock@main
}

# fail_over: all of it with one $volume, which $now serves.
fail_over ()
{
  local round next how
  for ((round = 0; round <= rounds; round++)); do
    how=(killed stopped alive)
    how=${how[round % 3]}
    if [ "$round" = "$rounds" ]; then
      write_through "$now"
      how=killed
    fi
    next=$([ "$now" = a ] && echo b || echo a)
    take_over "$how" "$now" "$next"
    now=$next
  done
  grep "gone: 0$" compared || fail "what was acknowledged is gone"
}

# What the manual has, and the machines.

# manual FILE: what it says that is in it.
manual ()
{
  awk -v title="F<$1>:" '$0 == title { found = 1; next }
    found && /^[^ ]/ { exit }
    found { print substr ($0, 2) }' \
    "$srcdir/../nbdkit-sqlblock-plugin.pod" | sed '1d;$d' | grep "" ||
    fail "the manual does not have $1"
}

# put FILE: what the manual has as this file, into the tree.
put ()
{
  mkdir -p "tree${1%/*}"
  manual "$1" >"tree$1"
}

make_machines ()
{
  local directory
  directory=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
  make_systemd_tree tree "$top_builddir/tool/sqlblock" mkfs.ext4 fsck.ext4
  add_files tree "$(type -P nbdkit)" "$(type -P rbd)" \
    "$(nbdkit --dump-config | sed -n 's/^filterdir=//p')/nbdkit-fua-filter.so" \
    /lib/udev/rules.d/50-rbd.rules "$(type -P ceph-rbdnamer)"
  mkdir -p "tree$directory" tree/etc/{ceph,sqlblock}
  cp "$plugin" "tree$directory"
  add_libraries tree "$plugin"
  echo sqlblock:x:990:990::/var/lib/sqlblock:/bin/sh >>tree/etc/passwd
  echo sqlblock:x:990: >>tree/etc/group
  echo "NBDKIT_LISTEN=-p 10809" >tree/etc/sqlblock/main.conf
  printf '%s\n' "[global]" "$(grep ^mon_host "$CEPH_CONF")" \
    >tree/etc/ceph/ceph.conf
  cp user tree/etc/ceph/ceph.client.sqlblock.keyring
  cp "$srcdir/../packaging/sqlblock@.service" tree/lib/systemd/system
  put /etc/systemd/system/sqlblock-volume.service
  put /etc/systemd/system/var-lib-sqlblock.mount
  put /etc/systemd/system/sqlblock@main.service.d/volume.conf
  cat >tree/orders <<'END'
PATH=/tools:/usr/bin:/usr/sbin:/bin:/sbin
exec 3<>/dev/ttyS1
echo ready >&3
while read -r order <&3; do
  status=0
  (eval "$order") >/dev/console 2>&1 || status=$?
  echo "done $status" >&3
done
END
  make_initrd initrd tree <<'END'
trap - EXIT
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
if [ -e /dev/vda ]; then
  # QEMU has the volume, the machine a disk.
  cat >/etc/systemd/system/var-lib-sqlblock.mount <<'MOUNT'
[Mount]
What=/dev/vda
Where=/var/lib/sqlblock
Type=ext4
MOUNT
fi
exec /lib/systemd/systemd
END
}

manual /usr/local/sbin/fence >fence
start_three_osds rbd
rbd pool init rbd
rbd create --size 1G rbd/disks
ceph auth get-or-create client.sqlblock \
  mon 'profile rbd' osd 'profile rbd pool=rbd' >user
cat user >>"$cluster/keyring"
make_machines
echo "the cluster is there: $SECONDS s"

volume=kernel now=a
boot a
order a systemctl start sqlblock-volume
order a mkfs.ext4 -q /dev/rbd/rbd/disks
order a systemctl start var-lib-sqlblock.mount
order a chown sqlblock:sqlblock /var/lib/sqlblock
order a su sqlblock -c \
  "'sqlblock create /var/lib/sqlblock/main.sqlite web --size=64M'"
order a systemctl start sqlblock@main
trouble a
fail_over

# What is free goes back; stopping the volume stops what is on it.
order "$now" fstrim /var/lib/sqlblock
order "$now" systemctl stop sqlblock-volume
order "$now" ! systemctl is-active sqlblock@main
power_cut "$now"

volume=qemu
boot "$now"
order "$now" systemctl start sqlblock@main
fail_over
order "$now" systemctl stop sqlblock@main
order "$now" umount /var/lib/sqlblock
order "$now" fsck.ext4 -fn /dev/vda
