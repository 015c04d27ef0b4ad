#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A machine that boots with the units: it serves a database, attaches a disk of
# it, and mounts that by /etc/fstab; another disk has a server of its own, and
# is mounted by hand. While files are written, the server and the supervisor are
# started anew and killed. Then the machine is powered off: unmounted, detached
# and stopped, in this order. The second time its server is away by then.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
. "$srcdir/lib/guest.sh"
. "$srcdir/lib/systemd-guest.sh"

need nbdkit nbdcopy
need_package e2fsprogs mkfs.ext4 e2fsck debugfs
need_guest
need_systemd
need_attach

cd "$tmp"
PATH=$top_builddir/tool:$PATH
units=$srcdir/../packaging

# The disks, each with a file system, in a file system of their own.
mkdir var
mkfs.ext4 -q -b 4096 image 64M
for name in main "its own"; do
  sqlblock import -q --create "var/$name.sqlite" web image
done
mkfs.ext4 -q -d var volume 256M

make_systemd_tree tree "$(type -P sqlblock)"
directory=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
add_files tree "$libnbd" "$(type -P nbdkit)" /usr/bin/bash
mkdir -p "tree$directory" tree/{srv,hand,etc/sqlblock} \
  tree/etc/systemd/system/multi-user.target.wants
cp "$plugin" "tree$directory"
add_libraries tree "$plugin"
ln -s /tools/sqlblock tree/bin/sqlblock
echo sqlblock:x:990:990::/var/lib/sqlblock:/bin/sh >>tree/etc/passwd
echo sqlblock:x:990: >>tree/etc/group
cp "$units"/sqlblock*.{service,target} tree/lib/systemd/system
for unit in sqlblock@main sqlblock-attach@nbd0 sqlblock-attach@nbd1; do
  ln -s "/lib/systemd/system/${unit%@*}@.service" \
    "tree/etc/systemd/system/multi-user.target.wants/$unit.service"
done
echo "Wants=multi-user.target remote-fs.target" \
  >>tree/etc/systemd/system/default.target
cp "$units/example-attach.conf" tree/etc/sqlblock/attach-nbd0.conf
echo "ATTACH_DISK='\"/var/lib/sqlblock/its own.sqlite\" web'" \
  >tree/etc/sqlblock/attach-nbd1.conf
cat >tree/etc/fstab <<'EOF'
/dev/vda /var/lib/sqlblock ext4 defaults 0 0
/dev/nbd0 /srv ext4 _netdev,x-systemd.mount-timeout=10s 0 0
EOF

mkdir tree/etc/systemd/system/sqlblock-attach@.service.d
printf '%s\n' '[Service]' StandardError=tty \
  >tree/etc/systemd/system/sqlblock-attach@.service.d/say.conf
cat >init <<'EOF'
trap - EXIT
mount -t ext4 /dev/vda /mnt
chown -R 990:990 /mnt
umount /mnt
# Those of busybox do not know all options, and its shell prefers them.
ln -sf /usr/bin/mount /usr/bin/umount /bin
ln -sf /usr/bin/bash /bin/sh
exec /lib/systemd/systemd
EOF
cat >tree/orders <<'EOF'
PATH=/tools:/usr/bin:/usr/sbin:/bin:/sbin
exec 3<>/dev/ttyS1 >/dev/console 2>&1
say ()
{
  echo "ORDERS $(cut -d' ' -f1 /proc/uptime): $*"
}

fail ()
{
  say "failed: $*"
  cat /run/sqlblock-attached/*.json
  systemctl --no-pager status 'sqlblock*' srv.mount
  echo "result 1" >&3
  poweroff -f
}

# await COMMAND...: until it succeeds.
await ()
{
  for i in $(seq 600); do
    ! "$@" || return 0
    sleep 0.1
  done
  fail "this did not happen: $*"
}

# is DEVICE STATE
is ()
{
  sqlblock attached -H -o DEVICE,STATE | grep -q "^/dev/$1[^0-9]*$2$"
}

since ()
{
  grep -h since /run/sqlblock-attached/$1.json
}

pid ()
{
  systemctl show -P MainPID $1
}

# has_state UNIT STATE
has_state ()
{
  [ "$(systemctl is-active $1)" = $2 ]
}

# Write files one after the other, each synced, until /tmp/stop is there.
write_files ()
{
  n=0
  until [ -e /tmp/stop ]; do
    n=$((n + 1))
    seq $n 3 $((n + 30000)) >$1/file$((n % 20)) || return 1
    sync $1/file$((n % 20)) || return 1
    (cd $1 && sha256sum file$((n % 20))) >$1/sum$((n % 20)) || return 1
    echo $n >/tmp/count
  done
}

has_written ()
{
  [ "$(cat /tmp/count)" -ge $1 ]
}

# progress: until some more files were written.
progress ()
{
  await has_written $(($(cat /tmp/count) + 3))
}

check_files ()
{
  (cd $1 && cat sum* | sha256sum -c -s) || fail "the files of $1"
}

await grep -q "^/dev/nbd0 /srv ext4 " /proc/mounts
await is nbd1 connected
say "booted"
is nbd0 connected || fail "the device is not connected"
EOF
cp tree/orders second
cat >>tree/orders <<'EOF'
mount /dev/nbd1 /hand
echo 0 >/tmp/count
write_files /srv &
writer=$!
progress

say "the server is started anew, and killed"
systemctl restart sqlblock@main
progress
kill -9 $(pid sqlblock@main)
progress

say "the supervisor is killed"
old=$(pid sqlblock-attach@nbd0)
since=$(since nbd0)
kill -9 $old
await is nbd0 unattended
await is nbd0 connected
progress

say "the unit is started anew while the device is in use"
server=$(cat /run/sqlblock-attached/nbd1.pid)
systemctl restart sqlblock-attach@nbd0 sqlblock-attach@nbd1
is nbd0 connected && is nbd1 connected || fail "they are not there"
[ "$(since nbd0)" = "$since" ] || fail "it is another device"
[ "$(cat /run/sqlblock-attached/nbd1.pid)" = $server ] || fail "another server"
systemctl stop sqlblock-attach@nbd0
is nbd0 unattended || fail "$(sqlblock attached)"
has_state sqlblock-attach@nbd0 failed || fail "it is not failed"
systemctl start sqlblock-attach@nbd0
is nbd0 connected || fail "$(sqlblock attached)"
progress

say "and while it is not"
touch /tmp/stop
wait $writer || fail "writing has failed"
check_files /srv
systemctl stop srv.mount
systemctl restart sqlblock-attach@nbd0
[ "$(since nbd0)" != "$since" ] || fail "it is still the same device"
await systemctl start srv.mount
check_files /srv

say "detached by hand"
umount /srv
sqlblock detach /dev/nbd0
await has_state sqlblock-attach@nbd0 inactive
systemctl start sqlblock-attach@nbd0
await systemctl start srv.mount

say "off"
seq 100000 | tee /srv/late >/hand/late
echo "result 0" >&3
systemctl poweroff
EOF
make_initrd first.initrd tree <init

# The second boot.
mv second tree/orders
cat >>tree/orders <<'EOF'
check_files /srv

say "the device fails, and is there again when nobody uses it"
db=/var/lib/sqlblock/main.sqlite
sqlblock snapshot create $db web@s
sqlblock rollback --force $db web@s
await is nbd0 failed
umount /srv
await is nbd0 connected
await systemctl start srv.mount
check_files /srv

say "off, without the server"
seq 100000 >/srv/later
systemctl stop sqlblock@main
await is nbd0 away
echo "result 0" >&3
systemctl poweroff
EOF
make_initrd second.initrd tree <init

# ended UNIT...: those of them that ended well when the machine of the console
# went off, in this order.
ended ()
{
  sed -n '/^ORDERS .*: off/,$s/: Deactivated successfully.*//p' console |
    grep -o "$(printf '%s$\\|' "$@")NONE" | paste -sd' '
}

# ended_before UNIT UNIT
ended_before ()
{
  [ "$(ended "$@")" = "$*" ] || fail "this ended: $(ended "$@")"
}

# whole: what the machine left, seen from here.
whole ()
{
  local name
  rm -rf left
  mkdir left
  e2fsck -fn volume || fail "the file system of the databases is damaged"
  debugfs -R "rdump / left" volume
  for name in main "its own"; do
    sqlblock check -q "left/$name.sqlite"
    sqlblock export -q "left/$name.sqlite" web "left/$name"
    e2fsck -fn "left/$name" || fail "the file system of $name is damaged"
    debugfs -R "cat /late" "left/$name" | cmp - <(seq 100000)
  done
}

boot ()
{
  run_guest 600 "$1.initrd" console -m 512 \
    -drive "file=volume,format=raw,if=virtio"
}

boot first
ended_before srv.mount sqlblock-attach@nbd0.service
ended_before hand.mount sqlblock-attach@nbd1.service
ended_before sqlblock-attach@nbd0.service sqlblock@main.service
whole
boot second
[ "$(ended sqlblock-attach@nbd0.service)" ] || fail "it was not detached"
