#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A real kernel's block device on our disks: nbd-client in a guest makes,
# fills, trims and checks file systems, while the test stops and kills the
# server in between. What was written must be there each time.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"

need nbdkit nbdinfo
need_package nbd-client nbd-client
need_package fdisk fdisk sfdisk
need_package dosfstools mkfs.vfat fsck.vfat
need_package util-linux mkfs.minix fsck.minix fstrim
need_package e2fsprogs mkfs.ext4 fsck.ext4
need_guest

# What the guest may ask for.

# host_start: start the server; the answer is its port.
host_start ()
{
  start_nbdkit_tcp "$plugin" db="$tmp/disks.sqlite"
  reply=$nbdkit_port
}

# host_kill: a crash, whatever clients there are.
host_kill ()
{
  kill_nbdkit
}

# host_stop: as a service manager would. No client may be left.
host_stop ()
{
  local i
  kill -TERM "$nbdkit_pid"
  for i in $(seq 300); do
    kill -0 "$nbdkit_pid" 2>/dev/null || return 0
    sleep 0.1
  done
  fail "nbdkit does not end after SIGTERM"
}

# host_data DISK: how many bytes of it are not holes.
host_data ()
{
  reply=$(nbdinfo --map --totals "nbd://127.0.0.1:$nbdkit_port/$1" |
    awk '$4 == "data" { sum += $1 } END { print sum + 0 }')
}

# Three disks in one database. The first one's size is no multiple of its
# block size.
for disk in vfat:67109376 minix:32M ext4:256M; do
  nbdkit -U - "$plugin" db="$tmp/disks.sqlite" \
    export="${disk%:*}" size="${disk#*:}" --run true
done

make_tree "$tmp/tree" nbd-client fdisk sfdisk mkfs.vfat fsck.vfat \
  mkfs.minix fsck.minix mkfs.ext4 fsck.ext4 fstrim
make_initrd "$tmp/initrd" "$tmp/tree" <<'EOF'

say ()
{
  echo "$(cut -d' ' -f1 /proc/uptime): $*"
}

start_server ()
{
  port=$(host start)
}

# attach DISK [OPTION...]: it becomes /dev/nbd0.
attach ()
{
  disk=$1
  shift
  /tools/nbd-client 10.0.2.2 "$port" /dev/nbd0 -N "$disk" "$@"
  for i in $(seq 100); do
    [ "$(cat /sys/block/nbd0/size)" = 0 ] || return 0
    sleep 0.1
  done
  return 1
}

# detach: afterwards nothing of the disk is cached.
detach ()
{
  /tools/nbd-client -d /dev/nbd0
  for i in $(seq 100); do
    if ! [ -e /sys/block/nbd0/pid ]; then
      echo 3 >/proc/sys/vm/drop_caches
      return 0
    fi
    sleep 0.1
  done
  return 1
}

# write_files: about 6 MB of files to /mnt, their checksums to /tmp/sums.
write_files ()
{
  mkdir -p /mnt/docs/old
  seq 1 3 600000 >/mnt/docs/numbers
  seq 9999999 -9 7900000 >/mnt/docs/old/down
  cp /bin/busybox /mnt/program
  : >/mnt/docs/empty
  (cd /mnt && find . -type f -exec sha256sum {} +) >/tmp/sums
}

# check_files DEVICE TYPE: they are there, and nothing else is wrong.
check_files ()
{
  mount -t "$2" -o ro "$1" /mnt
  [ "$(cd /mnt && find . -type f | wc -l)" = 4 ]
  (cd /mnt && sha256sum -c /tmp/sums)
  umount /mnt
}

# trim DISK: delete a large file; the trim that follows must free its
# space in the database.
trim ()
{
  dd if=/dev/urandom of=/mnt/large bs=1M count=8
  sync
  before=$(host data "$1")
  rm /mnt/large
  sync
  /tools/fstrim -v /mnt
  after=$(host data "$1")
  say "data before fstrim: $before, after: $after"
  [ "$after" -le $((before - 7 * 1024 * 1024)) ]
}

ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0

say "vfat, and a server that is killed with the disk attached"
start_server
/tools/nbd-client -l 10.0.2.2 "$port" | tee /tmp/list
for disk in vfat minix ext4; do
  grep -qx "$disk" /tmp/list
done
if /tools/nbd-client 10.0.2.2 "$port" /dev/nbd0 -N nobody; then
  say "there is no disk called nobody"
  false
fi
attach vfat
/tools/fdisk -l /dev/nbd0 | tee /tmp/fdisk
grep -q "^Disk /dev/nbd0: 64 MiB, 67109376 bytes" /tmp/fdisk
/tools/mkfs.vfat /dev/nbd0
mount -t vfat /dev/nbd0 /mnt
write_files
umount /mnt
host kill
detach
start_server
attach vfat
/tools/fsck.vfat -n /dev/nbd0
check_files /dev/nbd0 vfat
mount -t vfat /dev/nbd0 /mnt
trim vfat
umount /mnt
/tools/fsck.vfat -n /dev/nbd0
detach

say "minix over four connections, and a server that is stopped"
attach minix -C 4
[ "$(grep -c "$(printf ':%04X 01' "$port")" /proc/net/tcp)" = 4 ]
/tools/fdisk -l /dev/nbd0 | tee /tmp/fdisk
grep -q "^Disk /dev/nbd0: 32 MiB, 33554432 bytes" /tmp/fdisk
/tools/mkfs.minix -3 /dev/nbd0
mount -t minix /dev/nbd0 /mnt
write_files
umount /mnt
detach
host stop
start_server
attach minix -C 4
/tools/fsck.minix -f /dev/nbd0
check_files /dev/nbd0 minix
detach

say "ext4 in a partition, and a server that is killed with it mounted"
attach ext4 -C 4
echo ",,L" | /tools/sfdisk /dev/nbd0
/tools/fdisk -l /dev/nbd0 | tee /tmp/fdisk
grep -q "^Disk /dev/nbd0: 256 MiB, 268435456 bytes" /tmp/fdisk
grep -q "^/dev/nbd0p1 .* Linux$" /tmp/fdisk
/tools/mkfs.ext4 /dev/nbd0p1
mount -t ext4 /dev/nbd0p1 /mnt
write_files
sync
host kill
umount /mnt
detach
start_server
attach ext4 -C 4
# From its journal, no more: with 2 or more, something needed repair.
/tools/fsck.ext4 -fp /dev/nbd0p1 || [ $? = 1 ]
check_files /dev/nbd0p1 ext4
mount -t ext4 /dev/nbd0p1 /mnt
trim ext4
umount /mnt
/tools/fsck.ext4 -fn /dev/nbd0p1
check_files /dev/nbd0p1 ext4
detach
host stop
EOF

run_guest 300 "$tmp/initrd" "$tmp/console" \
  -netdev user,id=net -device virtio-net-pci,netdev=net,romfile=
