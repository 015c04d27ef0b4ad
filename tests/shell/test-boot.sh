#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A machine whose root file system is one of our disks: it boots, writes
# and powers off, and does so again. The first boot reaches the server
# over TCP, the second over a unix socket; in between it is killed. Then the
# same machine comes as a qcow2 image, boots, and leaves as one.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"

need nbdkit nbdcopy
need_package e2fsprogs mkfs.ext4 e2fsck debugfs
need_guest

# The root file system. Its init expects what the earlier boots wrote,
# writes a file of its own, and reports on the line that it inherits.
make_tree "$tmp/root"
mkdir "$tmp/root/sbin" "$tmp/root/data"
{
  echo '#!/bin/sh -e'
  guest_finish
  cat <<'EOF'

grep "^/dev/vda / ext4 " /proc/mounts
mount -o remount,rw /
touch /boots /sums
boot=$(($(wc -l </boots) + 1))
[ "$(ls /data | wc -l)" = $((boot - 1)) ]
[ "$boot" = 1 ] || sha256sum -c /sums

echo "boot $boot" | tee -a /boots
seq "$boot" 7 3000000 >"/data/$boot"
sha256sum "/data/$boot" >>/sums
sync
mount -o remount,ro /
EOF
} >"$tmp/root/sbin/init"
chmod 755 "$tmp/root/sbin/init"
mkfs.ext4 -q -E root_owner=0:0 -d "$tmp/root" "$tmp/image" 64M

make_tree "$tmp/tree"
make_initrd "$tmp/initrd" "$tmp/tree" <<'EOF'
mount -t ext4 -o ro /dev/vda /mnt
for dir in proc sys dev; do
  mount --move "/$dir" "/mnt/$dir"
done
exec switch_root /mnt /sbin/init
EOF

# boot NUMBER URI: the guest must have come as far as to its last line.
boot ()
{
  run_guest 120 "$tmp/initrd" "$tmp/console$1" \
    -drive "file=$2,format=raw,if=virtio"
  grep -q "^boot $1" "$tmp/console$1" || fail "this was not boot $1"
}

disk=(db="$tmp/disk.sqlite" export=machine)
start_nbdkit_tcp "$plugin" "${disk[@]}" size=64M
nbdcopy --flush "$tmp/image" "nbd://127.0.0.1:$nbdkit_port/machine"
boot 1 "nbd://127.0.0.1:$nbdkit_port/machine"
kill_nbdkit

start_nbdkit unix "$plugin" "${disk[@]}"
boot 2 "$(uri unix machine)"

# What the machine left, seen from here.
rm "$tmp/image"
nbdcopy "$(uri unix machine)" "$tmp/image"
e2fsck -fn "$tmp/image"
[ "$(debugfs -R "cat /boots" "$tmp/image")" = $'boot 1\nboot 2' ] ||
  fail "the disk does not tell of both boots"
for i in 1 2; do
  debugfs -R "cat /data/$i" "$tmp/image" | cmp - <(seq "$i" 7 3000000)
done

# --- A qcow2 image in, booted, and out ---------------------------------------

if ! type -P qemu-img qemu-nbd >/dev/null; then
  echo "qemu-utils is missing: images were not tried"
  exit
fi
kill_nbdkit
PATH=$top_builddir/tool:$PATH
cd "$tmp"
qemu-img convert -c -f raw -O qcow2 image machine.qcow2
sqlblock import --create --format=qcow2 images.sqlite machine machine.qcow2
sqlblock export --format=qcow2 images.sqlite machine same.qcow2
qemu-img compare -f qcow2 -F qcow2 machine.qcow2 same.qcow2
start_nbdkit images "$plugin" images.sqlite
boot 3 "$(uri images machine)"
stop_nbdkit
sqlblock export --format=qcow2 --compress images.sqlite machine after.qcow2
qemu-img check -q after.qcow2
start_nbdkit images "$plugin" images.sqlite
qemu-img compare -f raw -F qcow2 "$(uri images machine)" after.qcow2
stop_nbdkit
sqlblock check -q images.sqlite
run_guest 120 "$tmp/initrd" "$tmp/console4" \
  -drive "file=after.qcow2,format=qcow2,if=virtio"
grep -q "^boot 4" "$tmp/console4" || fail "the image that went out: no boot 4"
