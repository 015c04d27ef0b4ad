#!/bin/bash
# guestfish: a Linux kernel in a small virtual machine partitions the disk,
# makes ext4 on it, writes files, removes some and trims, first over a unix
# socket; after a crash of the server the files are read over TCP. What
# fstrim gives back is gone from the database.

. "${srcdir:-$(dirname "$0")}/functions.sh"
need nbdkit guestfish nbdinfo nbdcopy sha256sum

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
start_nbdkit s "$plugin" db="$db" export=$export size=200M

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

kill_nbdkit
start_nbdkit_tcp "$plugin" "$db"

fish "over TCP" --format=raw -a "nbd://127.0.0.1:$nbdkit_port/$export" <<EOF2
run
fsck ext4 /dev/sda1
mount /dev/sda1 /
checksum sha256 /large
checksum sha256 /etc/directory/small
cat /etc/motd
find /etc
EOF2
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
