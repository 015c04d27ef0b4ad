# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What a guest of test-attach.sh does with "sqlblock mount"; sourced after
# guest.sh.

guest_mount_tools="sfdisk mkfs.xfs tune2fs losetup"
guest_modules+=" xfs loop"
guest_machine+=(-m 384)

# guest_mount: a part of its script. It has say, fail, $SQLBLOCK_PLUGIN, and
# /tools in $PATH.
guest_mount ()
{
  cat <<'EOF'
mounts ()
{
  grep "^/dev/nbd" /proc/mounts || :
}

# fails CODE ARGUMENT...
fails ()
{
  code=$1 status=0
  shift
  sqlblock "$@" 2>/tmp/said || status=$?
  [ $status = $code ] || fail "$status: sqlblock $*: $(cat /tmp/said)"
}

# nothing_left: no device, no server, nothing that tells of them.
nothing_left ()
{
  [ "$(ls /run/sqlblock-mounted)" = "" ] || fail "left: $(sqlblock attached)"
  [ "$(sqlblock attached -H)" = "" ] || fail "$(sqlblock attached)"
  [ "$(mounts)" = "" ] || fail "$(mounts)"
  ! grep -l "nbdki[t]" /proc/[0-9]*/cmdline || fail "a server is left"
}

cd /tmp
mkdir live "a snapshot" data
sqlblock create -q m.sqlite disk --size=64M
device=$(sqlblock attach m.sqlite disk)
mkfs.ext4 -q $device
tune2fs -e panic $device >/dev/null
sqlblock detach $device

say "a dirty ext4, and its disk"
sqlblock mount m.sqlite disk live -o noatime
seq 20000 >live/old
sync
seq 30000 >live/new
sync live/new
sqlblock snapshot create -q m.sqlite disk@s
sqlblock mount --json m.sqlite disk@s "a snapshot" | grep '"by": "kernel"'
cmp live/old "a snapshot/old"
! touch "a snapshot/file" || fail "a snapshot was written"
mounts
mounts | grep "live ext4 rw,.*nosuid,nodev,.*noatime.*errors=remount-ro"
mounts | grep 'a\\040snapshot ext4 ro,nosuid,nodev,.*norecovery'
sqlblock attached -H -o MOUNTED | grep -x "/tmp/a snapshot"
fails 4 mount m.sqlite disk@s live
(cd live && fails 5 umount /tmp/live)
kill -9 $(cat /run/sqlblock-attached/nbd0.lock)
kill -9 $(cat /run/sqlblock-attached/nbd1.pid)
cat "a snapshot/old" >/dev/null
sqlblock umount live
umount "a snapshot"
sqlblock umount "a snapshot"
nothing_left

say "partitions"
sqlblock create -q m.sqlite parts --size=400M
device=$(sqlblock attach m.sqlite parts)
printf 'label: gpt\nsize=16M, name=boot\nsize=320M, name=root\n' |
  sfdisk -q $device
dd if=$device of=/dev/null bs=512 count=1 2>/dev/null
mkfs.ext4 -q ${device}p1
mkfs.xfs -q -L files ${device}p2
sqlblock detach $device
nothing_left
fails 1 mount m.sqlite parts live
grep "1 (ext4, boot), 2 (xfs, root)" /tmp/said
sqlblock mount m.sqlite parts live --partition=2
seq 10000 >live/numbers
sync
sqlblock mount m.sqlite parts data --partition=boot
mounts
mounts | grep p2 | grep "live xfs rw,"
mounts | grep p1 | grep "data ext4 rw,"
sqlblock attached --json | grep '"/tmp/data"'
umount live
sqlblock mount m.sqlite parts live --partition=files
seq 10000 | cmp - live/numbers
sync
sqlblock snapshot create -q m.sqlite parts@s
sqlblock mount m.sqlite parts@s "a snapshot" --partition=files
seq 10000 | cmp - "a snapshot/numbers"
mounts | grep "xfs ro,.*nouuid"
sqlblock umount "a snapshot"
sqlblock umount live
[ "$(mounts | wc -l)" = 1 ]
sqlblock umount --force data
nothing_left

say "a device that was attached before stays"
device=$(sqlblock attach m.sqlite disk)
sqlblock mount m.sqlite disk live
seq 30000 | cmp - live/new
sqlblock umount live
sqlblock detach $device
nothing_left
say "and so does another one that came in its place"
sqlblock mount m.sqlite disk live
umount live
sqlblock detach $device
sqlblock attach m.sqlite parts $device
sqlblock umount live
[ "$(sqlblock attached -H -o WHAT)" = "/tmp/m.sqlite parts" ]
sqlblock detach $device
nothing_left
say "a plan writes nothing, and what is only read is not mounted for writing"
before=$(sha256sum m.sqlite)
sqlblock mount -n m.sqlite disk live | grep "live by kernel: -t ext4"
[ "$(sha256sum m.sqlite)" = "$before" ] || fail "a plan has written"
nothing_left
sqlblock mount -r m.sqlite disk live
fails 5 mount m.sqlite disk data
grep "/dev/nbd0 has it already, and only for reading" /tmp/said
sqlblock umount live
nothing_left

say "what others have mounted in it and over it stays"
sqlblock mount m.sqlite disk live
mkdir live/sub
for directory in live/sub live; do
  mount -t tmpfs none $directory
  echo precious >$directory/file
  fails 5 umount live
  fails 5 umount --force live
  grep "none on /tmp/$directory was mounted since" /tmp/said
  grep precious $directory/file
  umount $directory
done
sqlblock umount live
long=$(printf '%0250d' 0 | sed 's/0/ /g')
directory=/tmp
for i in 1 2 3 4 5 6; do directory="$directory/$long"; done
mkdir -p "$directory"
sqlblock mount m.sqlite disk "$directory"
[ -d "$directory/sub" ]
sqlblock umount "$directory"
nothing_left

say "a mount that is ended or killed while it attaches"
for signal in TERM KILL; do
  sqlblock mount -q m.sqlite disk live &
  mounting=$!
  until [ -e /run/sqlblock-attached/nbd0.pid ]; do sleep 0.01; done
  kill -$signal $mounting
  ! wait $mounting || fail "it was mounted"
  # What it had begun ends with it, or goes on; a server that it had started is
  # ended by who takes the device next.
  [ $signal = TERM ] || {
    for i in $(seq 50); do
      [ "$(sqlblock attached -H -o STATE)" != connected ] || break
      sleep 0.1
    done
    sqlblock umount live || [ $? = 3 ]
    sqlblock detach $(sqlblock attach m.sqlite disk)
  }
  nothing_left
done

say "what stands on a loop device is not detached below it"
device=$(sqlblock attach m.sqlite disk)
loop=$(losetup -f)
losetup $loop $device
fails 5 detach $device
grep "$loop is made of it" /tmp/said
losetup -d $loop
sqlblock detach $device
nothing_left
sqlblock check m.sqlite
EOF
}
