#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# guestfish: a Linux kernel in a small virtual machine partitions the disk,
# makes ext4 on it, writes files, removes some and trims, first over a unix
# socket; after a crash of the server the files are read over TCP. What
# fstrim gives back is gone from the database. So with two more disks that
# got the image of a file system with 3000 files, by nbdcopy and qemu-img.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit guestfish nbdinfo nbdcopy qemu-img mkfs.ext4 sha256sum python3

# libguestfs builds its appliance around an installed kernel.
kernel=$(find /boot -name 'vmlinu[xz]-*' -readable 2>/dev/null | head -n 1)
[ -n "$kernel" ] || skip "no kernel that this user can read in /boot"
# Works everywhere, also where /dev/kvm exists but cannot be used.
export LIBGUESTFS_BACKEND_SETTINGS=force_tcg
export TMPDIR=$tmp

db=$tmp/disk.sqlite
export=root

# In guestfish a line with ! runs here, outside, between the requests.
map="!nbdinfo --map --totals '$(uri s $export)'"

# data_bytes FILE: the bytes of data in such a map.
data_bytes ()
{
  awk '$3 == 0 { data = $1 } END { print data + 0 }' "$1"
}

# fish WHAT ARGUMENT...: run the commands on standard input in one launch.
fish ()
{
  local what=$1
  shift
  timeout 120 guestfish "$@" >"$tmp/fish.out" 2>"$tmp/fish.err" || {
    cat "$tmp/fish.out" "$tmp/fish.err" >&2
    fail "guestfish $what"
  }
}

head -c 8000000 /dev/urandom >"$tmp/large"
head -c 300000 /dev/urandom >"$tmp/small"
nbdkit -U - "$plugin" db="$db" export=$export size=200M --run true
start_nbdkit s "$plugin" db="$db"

fish "over a unix socket" <<EOF2
add-drive $export format:raw protocol:nbd server:unix:$tmp/s discard:enable
run
part-disk /dev/sda mbr
mkfs ext4 /dev/sda1
mount /dev/sda1 /
mkdir-p /etc/directory
upload $tmp/large /large
upload $tmp/large /etc/removed-later
upload $tmp/small /etc/directory/small
write /etc/motd "a disk in a database"
sync
$map >$tmp/map.before
rm /etc/removed-later
fstrim /
sync
$map >$tmp/map.after
umount-all
shutdown
EOF2

before=$(data_bytes "$tmp/map.before")
after=$(data_bytes "$tmp/map.after")
echo "data before fstrim: $before, after: $after"
[ "$before" -ge 16300000 ] || fail "$before bytes of data before fstrim"
[ "$after" -ge 8300000 ] || fail "only $after bytes of data after fstrim"
[ $((before - after)) -ge 7900000 ] ||
  fail "fstrim gave back only $((before - after)) bytes"

make_files "$tmp/files"
truncate -s 96M "$tmp/image"
mkfs.ext4 -q -F -d "$tmp/files" "$tmp/image"
(cd "$tmp/files" && find . -type f -exec sha256sum {} + | sort) >"$tmp/sums"
for disk in copied converted; do
  nbdkit -U - "$plugin" db="$db" export=$disk size=96M --run true
done
nbdcopy --flush "$tmp/image" "$(uri s copied)"
qemu-img convert -n -f raw -O raw "$tmp/image" "$(uri s converted)"

kill_nbdkit
start_nbdkit_tcp "$plugin" "$db"
for disk in copied converted; do
  qemu-img compare -f raw -F raw "$tmp/image" \
    "nbd://127.0.0.1:$nbdkit_port/$disk" || fail "$disk differs"
done

nbd=nbd://127.0.0.1:$nbdkit_port
fish "over TCP" --format=raw -a "$nbd/$export" -a "$nbd/copied" \
  -a "$nbd/converted" <<EOF2
run
fsck ext4 /dev/sda1
mount /dev/sda1 /
checksum sha256 /large
checksum sha256 /etc/directory/small
cat /etc/motd
find /etc
umount-all
mount-ro /dev/sdb /
checksums-out sha256 / $tmp/sums.copied
umount-all
mount-ro /dev/sdc /
checksums-out sha256 / $tmp/sums.converted
EOF2
for disk in copied converted; do
  sort "$tmp/sums.$disk" | diff - "$tmp/sums" ||
    fail "other files on the disk $disk"
done
cat >"$tmp/expected" <<EOF2
0
$(sha256sum <"$tmp/large" | cut -d' ' -f1)
$(sha256sum <"$tmp/small" | cut -d' ' -f1)
a disk in a database
/directory
/directory/small
/motd
EOF2
diff <(grep . "$tmp/fish.out") "$tmp/expected" ||
  fail "other files after a restart"
