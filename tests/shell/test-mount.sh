#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# "sqlblock mount" without root: by nbdfuse, and fuse2fs or guestmount. What it
# mounts can be read and, where that is right, written; "umount" undoes all of
# it, whatever somebody has done in between. test-attach.sh has the kernel's way.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

need nbdkit nbdfuse fuse2fs fusermount3 mkfs.ext4 debugfs sfdisk mkswap jq pgrep
[ -c /dev/fuse ] || skip "there is no /dev/fuse"
grep -q "define HAVE_MOUNT 1" "$top_builddir/config.h" ||
  skip "sqlblock was built without libnbd, libnl or libblkid"

# Another user, who need not reach the build.
as=()
if [ "$(id -u)" = 0 ]; then
  need setpriv
  as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 755 "$tmp"
fi
mkdir "$tmp/user" "$tmp/programs"
cp "$top_builddir/tool/sqlblock" "$plugin" "$tmp/programs"
export SQLBLOCK_PLUGIN=$tmp/programs/${plugin##*/}
export SQLBLOCK_MOUNTED=$tmp/user/mounted SQLBLOCK_ATTACHED=$tmp/user/attached
[ -z "${as-}" ] || chown 65534:65534 "$tmp/user"
cd "$tmp/user"
db=$tmp/user/disks.sqlite

path=$PATH

sqlblock ()
{
  "${as[@]}" env PATH="$path" "$tmp/programs/sqlblock" "$@"
}

# At the end of a test that has failed, too.
unmount_all ()
{
  local status=$? directory
  set +e
  for directory in "$tmp"/user/{here,"a place"} "$SQLBLOCK_MOUNTED"/*/disk; do
    "${as[@]}" fusermount3 -uz "$directory" 2>/dev/null
  done
  (exit "$status")
  cleanup
}
trap unmount_all EXIT

# Nothing is left of what was mounted.
nothing_left ()
{
  local left
  left=$(ls "$SQLBLOCK_MOUNTED" 2>/dev/null || :)
  [ -z "$left" ] || fail "this is left: $left"
  ! pgrep -f "$SQLBLOCK_MOUNTED/[0-9]" || fail "processes are left"
  ! grep "$tmp" /proc/mounts || fail "this is mounted still"
}

# see FILE TEXT: that is in the file, as the user sees it.
see ()
{
  [ "$("${as[@]}" cat "$1")" = "$2" ] || fail "$1 is not $2"
}

# --- Disks --------------------------------------------------------------------

# A file system that was not unmounted, with a file that root alone can read.
evil=$'\e[7m\xff\n;rm'
mkdir tree
echo monday >tree/day
chmod 600 tree/day
truncate -s 16M ext.img
mkfs.ext4 -q -d tree -E root_owner=65534:65534 ext.img
sqlblock import -q --create "$db" web ext.img
cp ext.img dirty.img
debugfs -w -R "feature needs_recovery" dirty.img >/dev/null 2>&1
sqlblock import -q "$db" dirty dirty.img
for disk in web dirty; do
  sqlblock snapshot create -q "$db" $disk@monday
done

truncate -s 64M parts.img
sfdisk -q parts.img <<'END'
label: gpt
start=2048, size=16M, name=boot
size=16M, name="the root"
size=4M, name=swap
END
echo sunday >tree/day
truncate -s 16M second.img
mkfs.ext4 -q -d tree -L "$evil" second.img
truncate -s 4M swap.img
mkswap -q swap.img 2>/dev/null
offset=$(sfdisk -J parts.img | jq '.partitiontable.partitions[].start')
set -- $offset
dd if=ext.img of=parts.img bs=512 seek="$1" conv=notrunc status=none
dd if=second.img of=parts.img bs=512 seek="$2" conv=notrunc status=none
dd if=swap.img of=parts.img bs=512 seek="$3" conv=notrunc status=none
sqlblock import -q "$db" parts parts.img
sqlblock create -q "$db" empty --size=1M
"${as[@]}" mkdir here "a place" full
"${as[@]}" touch full/file

# --- A snapshot ---------------------------------------------------------------

place="$tmp/user/a place"
sqlblock mount -q "$db" dirty@monday "a place"
see "a place/day" monday
sqlblock umount "a place"
sqlblock mount "$db" web@monday "a place" 2>said
grep -q "by fuse2fs: -t ext4 .*,ro,norecovery" said || fail "$(cat said)"
see "a place/day" monday
expect_error "Read-only" "${as[@]}" touch "a place/new"
sqlblock umount "a place"
sqlblock mount -q "$db" "web@$(date +%FT%T)" "a place"
sqlblock attached --json >list
[ "$(jq -r '.attached[0] | [.state, .disk, .mounted[0]] | join (",")' list)" \
  = "mounted,web@monday,$place" ] || fail "$(cat list)"
sqlblock attached -H -o STATE,WHAT,MOUNTED | grep -qF "$place" || fail "attached"
fails 4 "web@monday is mounted there already" mount "$db" web "a place"

# In use: nothing changes.
"${as[@]}" bash -c 'cd "a place" && exec sleep 1000' &
sleeping=$!
started_pids+=("$!")
in_place ()
{
  [ "$("${as[@]}" readlink "/proc/$sleeping/cwd")" = "$place" ]
}
wait_for in_place
fails 5 "is in use" umount "a place"
see "a place/day" monday
sqlblock umount --force "a place/"
kill -9 "$sleeping"
wait "$sleeping" 2>/dev/null || :
nothing_left
fails 3 "nothing was mounted on $place by sqlblock" umount "a place"

# An encrypted disk.
if can_encrypt; then
  head -c 32 /dev/urandom >key
  chmod 644 key
  sqlblock import -q "$db" secret ext.img --encrypt --key-file=key
  sqlblock mount -q "$db" secret "a place" --key-file=key
  see "a place/day" monday
  sqlblock umount "a place"
  fails 1 "is encrypted" mount "$db" secret "a place"
  fails 2 "give one file" mount "$db" secret "a place" --passphrase=-
  nothing_left
fi

# --- The disk -----------------------------------------------------------------

sqlblock mount -q "$db" web here
"${as[@]}" bash -c 'echo tuesday >here/new'
fails 5 "has web open for writing" mount "$db" web "a place"
sqlblock mount --read-only "$db" web "a place" 2>said
grep -q "warning: .* has web open for writing" said || fail "no warning"
sqlblock umount "a place"
(cd here && sqlblock umount "a place") 2>/dev/null && fail "a wrong directory"
sqlblock umount here
nothing_left
sqlblock mount -q "$db" web here
see here/new tuesday
sqlblock umount "$tmp/user/here"
sqlblock check -q "$db"

# The export of a server.
start_nbdkit s "$plugin" "$db"
[ -z "${as-}" ] || chmod 666 "$tmp/s"
sqlblock mount -q "$(uri s web@monday)" here
see here/day monday
expect_error "Read-only" "${as[@]}" touch here/new
sqlblock umount here
nothing_left
kill_nbdkit

# --- What others do in between ------------------------------------------------

sqlblock mount -q "$db" web here
"${as[@]}" fusermount3 -u here
[ "$(sqlblock attached -H -o STATE)" = gone ] || fail "it is not gone"
sqlblock umount here
nothing_left

# It is not what was mounted since that is unmounted; and mounting again cleans
# up.
sqlblock mount -q "$db" web here
"${as[@]}" fusermount3 -u here
sqlblock mount -q "$db" web@monday here
see here/day monday
[ "$(ls "$SQLBLOCK_MOUNTED")" = 0 ] || fail "two are there"

# All that holds it is killed.
pgrep -f "$SQLBLOCK_MOUNTED/0/disk" >pids
[ -s pids ] || fail "there are no processes"
kill -9 $(cat pids)
is_dead ()
{
  ! "${as[@]}" ls here >/dev/null 2>&1
}
wait_for is_dead
sqlblock umount here
nothing_left

# --- Directories --------------------------------------------------------------

fails 3 "nowhere: No such file" mount "$db" web nowhere
fails 1 "ext.img: Not a directory" mount "$db" web ext.img
fails 4 "full is not empty" mount "$db" web full
fails 2 "which disk" mount "$db" here
fails 2 "the disk is in the URI" mount nbd://localhost/web web here
fails 3 "there is no disk 'none'" mount "$db" none here
fails 3 "no snapshot 'none'" mount "$db" web@none here
fails 2 "cannot be the name of a disk" mount "$db" a/b here
fails 3 "no.sqlite" mount no.sqlite web here

# --- Partitions ---------------------------------------------------------------

list="1 (ext4, boot), 2 (ext4, the root), 3 (swap, swap)"
fails 1 "choose one with --partition=: it has the partitions $list" \
  mount "$db" parts here
fails 3 "it has no such partition: it has the partitions 1" \
  mount "$db" parts here --partition=7
fails 1 "swap is no file system that is mounted here" \
  mount "$db" parts here --partition=3
fails 3 "it has no partitions" mount "$db" web here --partition=1
fails 3 "no file system is found" mount "$db" empty here
for partition in 2 "the root"; do
  sqlblock mount -q "$db" parts here --partition="$partition"
  see here/day sunday
  sqlblock umount here
done
sqlblock mount -q "$db" parts here --partition=boot
see here/day monday
sqlblock umount here

# Its label does to nobody's terminal what it likes.
sfdisk -q --part-label parts.img 2 ""
sqlblock import -q --overwrite "$db" parts parts.img
fails 1 "2 (ext4, " mount "$db" parts here
! grep -q $'\e' err || fail "an escape sequence is printed"
nothing_left

# --- The plan, and what may be missing ----------------------------------------

before=$(sha256sum "$db")
sqlblock mount --dry-run --json -o noatime "$db" web@monday here >plan 2>/dev/null
[ "$(jq -r .options plan)" = \
  "nosuid,nodev,offset=0${as:+,fakeroot},noatime,ro,norecovery" ] ||
  fail "$(cat plan)"
awk '/^=head2 A mounted disk/, /^=head2 A report/ {
  if (/^ [a-z]/) { sub(/  .*/, ""); gsub(/[ ,]+/, "\n"); print } }' \
  "$srcdir/../sqlblock.pod" | grep . | sort >documented
jq -r 'keys[]' plan | sort | diff documented - || fail "keys of a plan"
sqlblock mount -n "$db" web@monday here 2>/dev/null | grep -q "is to be mounted"
sqlblock mount -n "$db" web here 2>/dev/null | grep -q "is to be mounted"
[ "$(sha256sum "$db")" = "$before" ] || fail "a plan has changed the database"
nothing_left

mkdir few
for program in nbdkit nbdfuse fusermount3 fusermount; do
  ln -s "$(type -P $program)" few
done
path=$tmp/user/few
fails 1 "fuse2fs or guestmount is needed for ext4" mount "$db" web here
ln -s "$(type -P fuse2fs)" few
fails 1 "cannot replay its journal; install" mount "$db" dirty here
rm few/fuse2fs
cat >few/guestmount <<'END'
#!/bin/bash
printf '<%s>' "$@" >&2
echo >&2
exit 1
END
chmod +x few/guestmount
file=$SQLBLOCK_MOUNTED/0/disk/disk
fails 1 "<$tmp/user/here><--format=raw><-a><$file><-m></dev/sda2:/:ro:ext4>" \
  mount -r -o noatime "$db" parts here --partition=2
options="<-o><nosuid><-o><nodev><-o><fsname=$file><-o><noatime><-o><ro>"
fails 1 "<--ro>$options" mount -r -o noatime "$db" parts here --partition=2
fails 1 "</dev/sda:/:rw:ext4><--rw>" mount "$db" web here

# A signal leaves nothing.
printf '%s\n' '#!/bin/bash' ": >$tmp/user/asked" 'exec /bin/sleep 1000' \
  >few/guestmount
"${as[@]}" env PATH="$path" "$tmp/programs/sqlblock" mount "$db" web here \
  2>said &
mounting=$!
wait_for test -e asked
kill -TERM "$mounting"
! wait "$mounting" || fail "it was mounted"
nothing_left
rm few/nbdfuse
fails 1 "install the package libnbd-bin" mount "$db" web here
nothing_left
