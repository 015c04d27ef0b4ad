#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What import, export and backup must not do without a word: take the container
# of an image for a disk, take half a disk for a whole one, need more than the
# quota where nothing more is stored in the end, call a file "-", or give a file
# to another owner.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need qemu-img python3 cmp gzip xz bzip2

PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=disks.sqlite
unset fails_input
sqlblock create -q "$db" web --size=1M
disks=1

# no_new_disk: nothing was made, or left behind.
no_new_disk ()
{
  [ "$(query "$db" 'SELECT count (*) FROM disk')" = "$disks" ] ||
    fail "there is a disk that was not to be: $*"
}

# --- Other formats -------------------------------------------------------------

head -c 3000000 /dev/urandom >raw
truncate -s 4M raw
for format in qcow2 qed vmdk vdi vhdx vpc parallels; do
  qemu-img convert -f raw -O "$format" raw "image.$format" 2>/dev/null ||
    echo "qemu-img cannot make $format"
done
qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat raw flat.vmdk
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on raw fixed.vpc
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw stream.vmdk
gzip -k raw
xz -k raw
bzip2 -k raw
if type -P zstd >/dev/null; then zstd -q -k raw -o raw.zst; fi
if type -P lz4 >/dev/null; then lz4 -q -k raw raw.lz4; fi
sqlblock import -q "$db" whole raw
sqlblock snapshot create -q "$db" whole@a
sqlblock send -q "$db" whole@a >raw.stream
disks=2
cp "$db" raw.sqlite
python3 -c '
import zipfile
with zipfile.ZipFile("raw.zip", "w") as file:
    file.write("raw")'

# refused TEXT FILE: as a file, from standard input, and through a pipe.
refused ()
{
  local text=$1 file=$2 got
  fails 1 "$text" import "$db" new "$file"
  grep -qF -- "--format=raw" err || fail "no word of raw: $(cat err)"
  fails_input=$file fails 1 "$text" import "$db" new -
  got=0
  (cat "$file" 2>/dev/null || :) |
    sqlblock import "$db" new - >out 2>err || got=$?
  [ "$got" = 1 ] && grep -qF -- "$text" err ||
    fail "$file through a pipe: $got: $(cat err)"
  fails 1 "$text" import --overwrite "$db" web "$file"
  no_new_disk "$file"
}

for format in qcow2 vmdk vdi vhdx; do
  [ ! -s "image.$format" ] ||
    refused "give --format=$format" "image.$format"
done
for format in qed parallels vpc; do
  [ ! -s "image.$format" ] ||
    refused "qemu-img convert -f $format -O raw" "image.$format"
done
refused "give --format=vmdk" flat.vmdk
refused "give --format=vmdk" stream.vmdk
refused "gzip file, not a raw disk; give --format=gzip" raw.gz
refused "xz file, not a raw disk; give --format=xz" raw.xz
refused "bzip2 file, not a raw disk; unpack it" raw.bz2
[ ! -e raw.zst ] || refused "zstd file, not a raw disk; give --format=zstd" raw.zst
[ ! -e raw.lz4 ] || refused "lz4 file, not a raw disk; unpack it" raw.lz4
refused "zip" raw.zip
refused "sqlblock receive" raw.stream
refused "SQLite" raw.sqlite
# What is advised works.
fails 1 "give --format=gzip" import "$db" new raw.gz
zcat raw.gz | sqlblock import -q "$db" new -
sqlblock export "$db" new - | cmp - raw
sqlblock delete -q "$db" new
# So it does for a stream that was compressed, and for one that is a database.
gzip -k raw.stream
fails_input=raw.stream.gz fails 1 "zcat FILE | sqlblock receive $db copy" \
  receive "$db" copy
zcat raw.stream.gz | sqlblock receive -q "$db" copy
sqlblock delete -q "$db" copy --snapshots
fails_input=$db fails 1 "an SQLite database, not a stream" receive "$db" copy
fails_input=raw fails 1 "this is not a stream" receive "$db" copy
# What is there is replaced when that is asked for.
fails 4 "--overwrite" import "$db" web raw
# A fixed VHD has its mark only at the end, which a pipe does not show before.
fails 1 "qemu-img convert -f vpc -O raw" import "$db" new fixed.vpc
fails_input=fixed.vpc fails 1 "qemu-img convert -f vpc -O raw" import "$db" new -
got=0
(cat fixed.vpc 2>/dev/null || :) | sqlblock import "$db" new - 2>err || got=$?
[ "$got" = 1 ] && grep -qF "qemu-img convert" err ||
  fail "a fixed VHD through a pipe: $got: $(cat err)"
no_new_disk "a fixed VHD"
# Whoever wants the container itself gets it.
sqlblock import -q --raw "$db" container image.qcow2
sqlblock export "$db" container - | cmp - image.qcow2
cat fixed.vpc | sqlblock import -q --raw "$db" container2 -
sqlblock export "$db" container2 - | cmp - fixed.vpc
disks=4
# What only resembles them is a disk: zeroes, boot sectors, file systems, short
# files.
python3 - <<'EOF2'
import random
random.seed(7)
files = [b"\0" * 4096, b"\xeb\x63\x90" + bytes(509), b"Q", b"QFI", b"QFI\0",
         b"\x1f\x8b", b"BZh9", b"\xfd7zX", b"K", b"conectix"[:7], b"(\xb5/",
         b"XFSB" + bytes(508), b"LUKS\xba\xbe" + bytes(506), bytes(64) + b"\x7f",
         b"PK", b"# a script\n"]
for i, contents in enumerate(files):
    with open("plain%d" % i, "wb") as file:
        file.write(contents)
EOF2
for file in plain*; do
  sqlblock import -q "$db" plain "$file" || fail "$file: $(head -c 9 "$file")"
  sqlblock export "$db" plain - | cmp - "$file"
  (cat "$file") | sqlblock import -q "$db" plain2 -
  sqlblock export "$db" plain2 - | cmp - "$file"
  sqlblock delete -q "$db" plain
  sqlblock delete -q "$db" plain2
done

# --- Half a disk ---------------------------------------------------------------

# short TEXT ARGUMENT...: what comes through a pipe is too short.
short ()
{
  local text=$1 got=0
  shift
  (head -c 1000000 raw; exit 1) | sqlblock import "$@" - 2>err || got=$?
  grep -qF -- "$text" err || fail "exit code $got: $(cat err)"
  no_new_disk "$@"
}
set +o pipefail
short "ended after 1000000 of 4194304 bytes" --size=4M "$db" new
got=0
true | sqlblock import --size=4M "$db" new - 2>err || got=$?
[ "$got" = 1 ] || fail "nothing came, exit code $got"
no_new_disk "nothing"
# Of a disk that is there nothing is lost.
sqlblock export "$db" whole - | cmp - raw
short "ended after 1000000 of 4194304 bytes" --overwrite "$db" whole
sqlblock export "$db" whole - | cmp - raw || fail "the rest was made zeroes"
set -o pipefail
cat raw | sqlblock import -q --size=4M "$db" new -
sqlblock export "$db" new - | cmp - raw
sqlblock delete -q "$db" new
(cat raw) | sqlblock import -q --overwrite "$db" whole -
# Of a file it is known how long it is.
head -c 1000000 raw >part
sqlblock import -q --size=4M "$db" new part
sqlblock delete -q "$db" new

# --- The quota -----------------------------------------------------------------

head -c 3000000 /dev/urandom >other
truncate -s 4M other
for kind in compression=none compression=lz4 dedup=on; do
  rm -f quota.sqlite*
  sqlblock create -q quota.sqlite web --size=4M
  sqlblock set -q quota.sqlite web "$kind"
  sqlblock import -q --overwrite quota.sqlite web raw
  sqlblock set -q quota.sqlite web quota=4M
  for file in other raw other; do
    sqlblock import -q --overwrite quota.sqlite web "$file" ||
      fail "$kind: the quota does not suffice for what was there before"
    sqlblock export quota.sqlite web - | cmp - "$file"
  done
  # A snapshot keeps what it has: together it would be too much.
  sqlblock snapshot create -q quota.sqlite web@a
  fails 1 "quota" import --overwrite quota.sqlite web raw
  sqlblock export quota.sqlite web - | cmp - other
  # What neither had before counts as ever.
  sqlblock set -q quota.sqlite web quota=7M
  sqlblock import -q --overwrite quota.sqlite web raw
  sqlblock import -q --overwrite quota.sqlite web other
  sqlblock set -q quota.sqlite web quota=5M
  fails 1 "quota" import --overwrite quota.sqlite web raw
  sqlblock snapshot delete -q quota.sqlite web@a
  sqlblock import -q --overwrite quota.sqlite web raw
  sqlblock set -q quota.sqlite web quota=2M
  fails 1 "quota" import --overwrite quota.sqlite web other
  sqlblock export quota.sqlite web - | cmp - raw
  [ "$(query quota.sqlite 'SELECT quota FROM disk')" = 2097152 ] ||
    fail "the quota has changed"
  sqlblock check -q quota.sqlite || fail "a check finds something"
done
# The same where what was written since is given up for what comes in.
rm -f there.sqlite* here.sqlite*
sqlblock import -q --create here.sqlite web part
sqlblock resize -q here.sqlite web 4M
sqlblock snapshot create -q here.sqlite web@a
sqlblock send -q here.sqlite web@a | sqlblock receive -q there.sqlite
sqlblock import -q --overwrite here.sqlite web raw
sqlblock snapshot create -q here.sqlite web@b
sqlblock send -q here.sqlite web@b --from a >stream
sqlblock import -q --overwrite there.sqlite web other
sqlblock set -q there.sqlite web quota=5M
sqlblock receive -q --rollback there.sqlite <stream ||
  fail "the quota does not suffice for what is given up"
sqlblock export there.sqlite web - | cmp - raw

# --- A file called "-" ---------------------------------------------------------

fails 2 "./-" backup "$db" -
fails 2 "./-" check "$db" --salvage=-
fails 2 "./-" create - web --size=1M
fails 2 "./-" import --create - web raw
fails_input=raw.stream fails 2 "./-" receive -
fails 2 "./-" list -
[ ! -e - ] || fail 'there is a file called "-"'
sqlblock backup -q "$db" ./-
[ -s ./- ] || fail "./- was not made"
rm ./-

# --- Owner and mode ------------------------------------------------------------

for mode in 600 640 604 777; do
  sqlblock export "$db" whole kept.raw --force
  chmod "$mode" kept.raw
  sqlblock export "$db" web kept.raw --force
  [ "$(stat -c %a kept.raw)" = "$mode" ] ||
    fail "the mode $mode became $(stat -c %a kept.raw)"
done
sqlblock export "$db" web - | cmp - kept.raw
ln -s kept.raw link.raw
sqlblock export "$db" whole link.raw --force
[ -L link.raw ] && [ "$(stat -c %a kept.raw)" = 777 ] || fail "a link"
if [ "$(id -u)" = 0 ]; then
  chown 12345:54321 kept.raw
  chmod 6640 kept.raw
  sqlblock export "$db" whole kept.raw --force
  [ "$(stat -c %u:%g:%a kept.raw)" = 12345:54321:6640 ] ||
    fail "owner and mode became $(stat -c %u:%g:%a kept.raw)"
  # Who cannot keep the owner leaves the file as it is.
  chmod 711 "$tmp"
  mkdir open
  chmod 777 open
  cp "$db" open/db.sqlite
  chmod 666 open/db.sqlite
  cp part open/theirs.raw
  chmod 666 open/theirs.raw
  if type -P setpriv >/dev/null; then
    got=0
    setpriv --reuid=12345 --regid=12345 --clear-groups \
      "$(type -P sqlblock)" export open/db.sqlite whole open/theirs.raw \
      --force 2>err || got=$?
    if grep -q "Permission denied" err && [ ! -s open/db.sqlite-lock ]; then
      echo "the build is not for other users: their files were not tried"
    else
      [ "$got" = 1 ] && grep -q "belongs to another" err ||
        fail "$got: $(cat err)"
      cmp part open/theirs.raw
      [ "$(stat -c %u open/theirs.raw)" = 0 ]
    fi
  fi
else
  echo "not root: other owners were not tried"
fi
exit 0
