#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A day in the life of two disks, with machines that boot from them: a
# snapshot of both at once while they are written, a file system that is
# destroyed, a roll-back, a clone that boots beside its origin, the disk as
# it was a while ago mounted beside what it is now, and what has changed
# sent to another database.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"

need nbdkit nbdcopy
need_package e2fsprogs mkfs.ext4 debugfs
need_guest

sqlblock=$top_builddir/tool/sqlblock
db=$tmp/disks.sqlite

# The root file system. Its init does what the test says, on two disks:
# itself and /data, which has a file system, too.
make_tree "$tmp/root"
mkdir "$tmp/root/sbin" "$tmp/root/data"
{
  cat <<'EOF2'
#!/bin/sh -e
host ()
{
  echo "$*" >&3
  read -t 60 -r answer <&3
  echo "$answer"
}
EOF2
  guest_finish
  cat <<'EOF2'

# count: a number goes up on the first disk and then on the second one, both
# synced, until the file /tmp/stop is there.
count ()
{
  number=0
  while ! [ -e /tmp/stop ]; do
    number=$((number + 1))
    echo "$number" >/count
    sync
    echo "$number" >/data/count
    sync
  done
}

mount -t tmpfs tmpfs /tmp
mount -o remount,rw /
step=$(host step)
echo "$step"
[ "$step" = twin ] || mount -t ext4 /dev/vdb /data
case $step in
  first)
    seq 1 7 2000000 >/important
    sha256sum /important >/sums
    sync
    count &
    sleep 2
    host snapshot
    sleep 1
    touch /tmp/stop
    wait $!
    cat /count
    # The end of both file systems.
    dd if=/dev/zero of=/dev/vda bs=1M count=8
    dd if=/dev/zero of=/dev/vdb bs=1M count=8
    ;;
  again)
    sha256sum -c /sums
    first=$(cat /count)
    second=$(cat /data/count)
    echo "$first on the first disk, $second on the second"
    [ "$first" -gt 0 ]
    # One instant: the second disk was never ahead, or two behind.
    [ "$second" = "$first" ] || [ "$second" = "$((first - 1))" ]
    echo original >/name
    ;;
  twin)
    sha256sum -c /sums
    ! [ -e /name ]
    echo twin >/name
    ;;
  past)
    sha256sum -c /sums
    [ "$(cat /name)" = original ]
    rm /important
    mkdir /tmp/past
    mount -t ext4 -o ro,noload /dev/vdc /tmp/past
    (cd /tmp/past && sed 's|/|./|' sums | sha256sum -c)
    ! [ -e /important ]
    umount /tmp/past
    ;;
esac
umount /data || :
sync
mount -o remount,ro / || :
EOF2
} >"$tmp/root/sbin/init"
chmod 755 "$tmp/root/sbin/init"
mkfs.ext4 -q -E root_owner=0:0 -d "$tmp/root" "$tmp/machine.img" 96M
mkfs.ext4 -q "$tmp/data.img" 32M

make_tree "$tmp/tree"
make_initrd "$tmp/initrd" "$tmp/tree" <<'EOF2'
mount -t ext4 /dev/vda /mnt
for dir in proc sys dev; do
  mount --move "/$dir" "/mnt/$dir"
done
exec switch_root /mnt /sbin/init
EOF2

# What the guest may ask for.

host_step ()
{
  reply=$step
}

# Both disks at the same instant, while the guest writes them.
host_snapshot ()
{
  "$sqlblock" snapshot create "$db" machine@before data@before >&2
  reply=done
}

# boot STEP EXPORT[,OPTION]...: a machine with these disks does this step.
boot ()
{
  local drives=() export name options
  step=$1
  shift
  for export; do
    IFS=, read -r name options <<<"$export"
    drives+=(-drive "file=$(uri server "$name"),format=raw,if=virtio,$options")
  done
  echo "== $step"
  run_guest 150 "$tmp/initrd" "$tmp/console-$step" "${drives[@]}"
}

"$sqlblock" create "$db" machine --size=96M
"$sqlblock" create "$db" data --size=32M
start_nbdkit server "$plugin" db="$db"
nbdcopy --flush "$tmp/machine.img" "$(uri server machine)"
nbdcopy --flush "$tmp/data.img" "$(uri server data)"

boot first machine data
nbdcopy "$(uri server machine)" "$tmp/image"
[ -z "$(debugfs -R "cat /sums" "$tmp/image" 2>/dev/null)" ] ||
  fail "the file system was not destroyed"

for disk in machine data; do
  "$sqlblock" rollback "$db" "$disk@before"
done
"$sqlblock" clone "$db" machine@before twin
boot again machine data
boot twin twin
nbdcopy "$(uri server twin)" "$tmp/image"
[ "$(debugfs -R "cat /name" "$tmp/image")" = twin ] ||
  fail "the clone does not have what it wrote"

# As of now, which then is a while ago.
"$sqlblock" snapshot create "$db" machine@middle
sleep 1
now=$(date +%Y-%m-%dT%H:%M:%S)
sleep 1
boot past machine data "machine@$now,readonly=on"
"$sqlblock" snapshot create "$db" machine@after
"$sqlblock" diff "$db" machine@middle machine@after

# Elsewhere: all of the first snapshot, then only what has changed.
"$sqlblock" send "$db" machine@before >"$tmp/full"
"$sqlblock" send "$db" machine@after --from=before >"$tmp/changes"
"$sqlblock" receive "$tmp/other.sqlite" machine <"$tmp/full"
"$sqlblock" receive "$tmp/other.sqlite" machine <"$tmp/changes"
[ "$(stat -c %s "$tmp/changes")" -lt "$(stat -c %s "$tmp/full")" ] ||
  fail "what has changed is not smaller than all"
start_nbdkit other "$plugin" db="$tmp/other.sqlite"
for snapshot in before after; do
  for name in server other; do
    nbdcopy "$(uri $name "machine@$snapshot")" "$tmp/image"
    sha256sum <"$tmp/image" >"$tmp/sum-$name"
  done
  cmp "$tmp/sum-server" "$tmp/sum-other" ||
    fail "machine@$snapshot differs after it was sent"
done
