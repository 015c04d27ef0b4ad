#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# import and export of images, compressed files and NBD servers: each format
# comes in as it went out; nothing is probed; a file that an image names is
# never opened; a server that stops does not hang a command; and what is killed
# or has no room leaves nothing. test-new-database.sh has what --create makes.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy qemu-img qemu-nbd gzip xz zstd python3 cmp mkfifo
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
cd "$tmp"
export TMPDIR=$tmp

size=$((6 * 1024 * 1024 + 512 * 5))
python3 - "$size" <<'EOF2'
import random, sys
random.seed(3)
size = int(sys.argv[1])
with open("raw", "wb") as file:
    file.truncate(size)
    for i in range(12):
        length = random.randint(1, 100000)
        file.seek(random.randrange(size - length))
        file.write(random.randbytes(length))
    file.seek(size - 100)
    file.write(random.randbytes(100))
EOF2
db=d.sqlite
sqlblock create -q "$db" empty --size=1M

# remove DISK...
remove ()
{
  local name
  for name; do
    sqlblock delete -q "$db" "$name"
  done
}

# same DISK FILE: the disk has these bytes.
same ()
{
  sqlblock export -q "$db" "$1" - | cmp - "$2" || fail "$1 is not $2"
}

# --- Each format in ----------------------------------------------------------

for format in qcow2 vmdk vdi vhdx; do
  qemu-img convert -f raw -O "$format" raw "image.$format"
done
qemu-img convert -c -f raw -O qcow2 raw packed.qcow2
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw stream.vmdk
gzip -k raw
xz -T1 -1 -k raw
zstd -qk raw
mv raw.gz image.gzip
mv raw.xz image.xz
mv raw.zst image.zstd

for file in image.* packed.qcow2 stream.vmdk; do
  format=${file#*.}
  fails 1 "--format=$format" import "$db" "$file" "$file"
  sqlblock import -n --format="$format" "$db" "$file" "$file" >err
  grep -q "would import $file" err || fail "dry run of $file: $(cat err)"
  sqlblock import --format="$format" "$db" "$file" "$file"
  same "$file" raw
  sqlblock import -q --format="$format" "$db" "in-$file" - <"$file"
  same "in-$file" raw
  # Named as another one, or as what it is on the outside.
  for other in qcow2 vmdk vdi vhdx gzip xz zstd; do
    [ "$other" = "$format" ] ||
      fails 1 "not of the format $other" import --format="$other" "$db" x "$file"
  done
  sqlblock import -q --format=raw "$db" "raw-$file" "$file"
  same "raw-$file" "$file"
  remove "$file" "in-$file" "raw-$file"
done
# Through a pipe: what is compressed, but no image.
for format in gzip xz zstd; do
  cat "image.$format" | sqlblock import -q --format=$format "$db" piped -
  same piped raw
  sqlblock import -q --overwrite --format=$format "$db" piped "image.$format"
  # Cut short, and damaged: nothing comes of it.
  head -c 50000 "image.$format" >short
  fails 1 "unpacking" import --format=$format "$db" x short
  ! env --ignore-signal=CHLD sqlblock import --format=$format "$db" x short \
    2>err || fail "a $format that was cut short, where SIGCHLD is ignored"
  grep -q "unpacking" err || fail "a $format that was cut short: $(cat err)"
  got=0
  head -c 50000 "image.$format" |
    sqlblock import -q --format=$format "$db" x - 2>err || got=$?
  [ "$got" = 1 ] || fail "a $format that was cut short: $got $(cat err)"
  got=0
  echo "this is something else" |
    sqlblock import -q --format=$format "$db" x - 2>err || got=$?
  [ "$got" = 1 ] || fail "what is no $format: $got $(cat err)"
  fails 1 "ended after" import --size=100M --format=$format "$db" x \
    "image.$format"
  fails 1 "more than the disk" import --size=1M --format=$format "$db" x \
    "image.$format"
  remove piped
done
xz --format=lzma -k raw
got=0
cat raw.lzma | sqlblock import -q --format=xz "$db" x - 2>err || got=$?
[ "$got" = 1 ] || fail "a piped file of another format: $got $(cat err)"
got=0
cat image.qcow2 | sqlblock import --format=qcow2 "$db" x - 2>err || got=$?
[ "$got" = 1 ] && grep -q "from a pipe" err || fail "a piped image: $(cat err)"
# What is inside of a compressed file is not probed either, nor taken.
gzip -c image.qcow2 >inside.gz
fails 1 "what is compressed in inside.gz is a qcow2 image" \
  import --format=gzip "$db" x inside.gz
fails 2 "no format" import --format=vpc "$db" x raw
fails 2 "is empty" import --format= "$db" x raw
fails 2 "--raw is --format=raw" import --raw --format=qcow2 "$db" x image.qcow2
fails 2 "seconds" import --timeout=0 "$db" x raw
fails 2 "leave out" import --increment --format=raw "$db" x raw
: >nothing
fails 1 "empty" import --format=qcow2 "$db" x nothing
truncate -s 1M zeroes
fails 1 "not of the format" import --format=qcow2 "$db" x zeroes

# Holes are kept: a large image with little in it.
qemu-img create -q -f qcow2 huge.qcow2 1T
sqlblock import -q --format=qcow2 "$db" huge huge.qcow2
[ "$(query "$db" 'SELECT size FROM disk WHERE name = "huge"')" = \
  1099511627776 ] || fail "the size of a large image"
remove huge

# --- Images that name other files --------------------------------------------

echo "secret" >hidden
truncate -s 6M hidden
made=0
# refused FORMAT FILE TEXT: and nobody opens the file "hidden".
refused ()
{
  local got=0
  made=$((made + 1))
  sqlblock import --timeout=10 --format="$1" "$db" x "$2" 2>err || got=$?
  [ "$got" = 1 ] && grep -q "$3" err || fail "$2: $got $(cat err)"
  if type -P strace >/dev/null; then
    strace -f -qq -e trace=open,openat,openat2 -o opened \
      sqlblock import --timeout=20 --format="$1" "$db" x "$2" 2>err || :
    ! grep hidden opened || fail "$2: the file that it names was opened"
  fi
}

qemu-img create -q -f qcow2 -F raw -b "$tmp/hidden" based.qcow2
refused qcow2 based.qcow2 "backing file"
qemu-img create -q -f qcow2 -o data_file="$tmp/hidden",data_file_raw=on \
  outside.qcow2 6M
echo "secret" | dd of=hidden conv=notrunc status=none
refused qcow2 outside.qcow2 "another file"
qemu-img create -q -f vmdk -F vmdk -b image.vmdk based.vmdk
refused vmdk based.vmdk "parent"
# One whose header says that it has no size: QEMU then reads the list.
python3 - "$tmp/hidden" <<'EOF2'
import struct, sys
image = bytearray(open("image.vmdk", "rb").read(65536 * 2))
text = ('# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
        'createType="monolithicFlat"\nRW 12288 FLAT "%s" 0\n' % sys.argv[1])
struct.pack_into("<Q", image, 12, 0)
image[512:512 + 20 * 512] = text.encode().ljust(20 * 512, b"\0")
open("list.vmdk", "wb").write(image)
open("flat.vmdk", "w").write(text)
# Marked as something that it is not, or with impossible numbers.
qcow2 = bytearray(open("image.qcow2", "rb").read())
def change (name, *changes):
    other = bytearray(qcow2)
    for offset, form, value in changes:
        struct.pack_into(form, other, offset, value)
    open(name, "wb").write(other)
change("old.qcow2", (4, ">I", 1))
change("new.qcow2", (4, ">I", 9))
change("unknown.qcow2", (72, ">Q", 1 << 40))
change("corrupt.qcow2", (72, ">Q", 2))
change("secret.qcow2", (32, ">I", 1))
change("name.qcow2", (8, ">Q", 400), (16, ">I", 1023))
change("tables.qcow2", (36, ">I", 0x7fffffff))
change("clusters.qcow2", (20, ">I", 63))
change("far.qcow2", (40, ">Q", 1 << 60))
change("wide.qcow2", (24, ">Q", (1 << 63) - 512))
open("short.qcow2", "wb").write(qcow2[:100])
vdi = bytearray(open("image.vdi", "rb").read())
struct.pack_into("<I", vdi, 76, 4)
open("diff.vdi", "wb").write(vdi)
vhdx = bytearray(open("image.vhdx", "rb").read())
at = vhdx.find(b"metadata")
struct.pack_into("<I", vhdx, at + 65536 + 4, 2)
open("parent.vhdx", "wb").write(vhdx)
EOF2
refused vmdk list.vmdk "one file"
refused vmdk flat.vmdk "one file"
refused qcow2 old.qcow2 "version 1"
refused qcow2 new.qcow2 "version 9"
refused qcow2 unknown.qcow2 "has failed"
refused qcow2 corrupt.qcow2 "damaged"
refused qcow2 secret.qcow2 "encrypted"
refused qcow2 name.qcow2 "backing file"
for file in tables clusters far wide short; do
  refused qcow2 $file.qcow2 ""
done
refused vdi diff.vdi "a parent"
refused vhdx parent.vhdx ""
[ "$made" = 18 ] || fail "not all images were tried: $made"
# What was cut off would read as zeroes.
for format in qcow2 vmdk vdi vhdx; do
  head -c $(($(stat -c %s image.$format) * 3 / 4)) image.$format >cut.$format
  fails 1 "" import --format=$format "$db" x cut.$format
done
# Also inside the last cluster, which QEMU does not mind.
python3 -c 'open("ends", "wb").write(b"end!" * 1048576)'
for format in qcow2 vmdk vdi; do
  qemu-img convert -f raw -O $format ends ends.$format
  sqlblock import -q --format=$format "$db" ends ends.$format
  sqlblock export -q "$db" ends - | cmp - ends ||
    fail "ends.$format"
  remove ends
  head -c $(($(stat -c %s ends.$format) - 4096)) ends.$format >cut.$format
  fails 1 "was cut off" import --format=$format "$db" x cut.$format
done
qemu-img convert -f raw -O vhdx ends ends.vhdx
head -c -1 ends.vhdx >cut.vhdx
fails 1 "was cut off" import --format=vhdx "$db" x cut.vhdx
qemu-img create -q -f qcow2 -o preallocation=metadata full.qcow2 3M
sqlblock import -q --format=qcow2 "$db" full full.qcow2
remove full
# One whose tables lead to themselves a million times: that has an end.
python3 - <<'EOF2'
import struct
cluster = 512
l1 = 1 << 15
with open("loop.qcow2", "wb") as file:
    table = 1024
    below = table + l1 * 8
    file.write(struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 9,
                           l1 * 64 * cluster, 0, l1, table, 512, 1, 0, 0))
    file.seek(table)
    file.write(struct.pack(">Q", below | 1 << 63) * l1)
    file.write(struct.pack(">Q", below | 1 << 63) * 64)
EOF2
start=$SECONDS
fails 1 "" import --timeout=2 --format=qcow2 "$db" x loop.qcow2
[ $((SECONDS - start)) -lt 15 ] || fail "loop.qcow2 took too long"
# One that names a file only when it has been looked at: the kernel keeps QEMU
# from that, where it can (Landlock).
# turn NUMBER: its header says that the data is in "hidden" (4), or not (0).
turn ()
{
  python3 -c 'import sys
with open("turns.qcow2", "r+b") as file:
    file.seek(79)
    file.write(bytes([int(sys.argv[1])]))' "$1"
}
if type -P strace >/dev/null && python3 -c 'import ctypes, sys
sys.exit(ctypes.CDLL(None).syscall(444, 0, 0, 1) < 1)'; then
  cp outside.qcow2 turns.qcow2
  turn 0
  strace -f -qq -e trace=open,openat,execve \
    -e inject=execve:delay_enter=500000 -o opened \
    sqlblock import --timeout=20 --format=qcow2 "$db" x turns.qcow2 2>err &
  pid=$!
  started_pids+=("$pid")
  wait_for grep -q '"turns.qcow2", O_RDONLY' opened
  turn 4
  got=0
  wait "$pid" || got=$?
  [ "$got" = 1 ] || fail "an image that turns: $got $(cat err)"
  grep -q 'hidden' opened || fail "nobody tried to open what it names"
  ! grep 'hidden.*= [0-9]' opened || fail "an image that turns was followed"
fi
# stop_at FILE: stop what was started last, as $pid, when it has FILE open.
stop_at ()
{
  pid=$!
  started_pids+=("$pid")
  until [ -n "$(find "/proc/$pid/fd" -lname "$1" 2>/dev/null)" ]; do
    kill -CONT "$pid" || fail "it has ended before it had $1 open"
    sleep 0.005
    kill -STOP "$pid"
  done
}
# What changes while it is read: an image in any way, another file shorter.
head -c 80000000 < <(yes) >changing
qemu-img convert -f raw -O qcow2 changing changing.qcow2
for file in changing changing.qcow2; do
  format=raw
  [ $file = changing ] || format=qcow2
  sqlblock import -q --format=$format "$db" x $file 2>err &
  stop_at "*/$file"
  if [ $file = changing ]; then
    truncate -s 70000000 $file
  else
    touch $file
  fi
  kill -CONT "$pid"
  got=0
  wait "$pid" || got=$?
  [ "$got" = 1 ] && grep -q "while it was read" err ||
    fail "$file changed: $got $(cat err)"
done
# Names that mean something to QEMU are files of that name.
cp image.qcow2 "json:{}"
cp image.qcow2 "nbd:x,y"
for name in "json:{}" "nbd:x,y"; do
  sqlblock import -q --format=qcow2 "$db" odd "$name"
  same odd raw
  remove odd
done
[ "$(sqlblock list "$db" --names)" = empty ] || fail "something is left"

# --- Servers -----------------------------------------------------------------

# at NAME: the URI of that server.
at ()
{
  uri "socket-$1"
}

# serve NAME ARGUMENT...: start nbdkit, as $server.
serve ()
{
  local name=$1
  shift
  nbdkit -f -P "$tmp/$name.pid" -U "$tmp/socket-$name" "$@" &
  server=$!
  started_pids+=("$server")
  wait_for test -e "$tmp/$name.pid"
}
serve file file raw
sqlblock import "$db" remote "$(at file)"
same remote raw
[ "$(query "$db" 'SELECT count (*) FROM block')" -lt 500 ] ||
  fail "the holes of a server were stored"
fails 1 "is read as a raw disk" import --format=qcow2 "$db" x "$(at file)"
serve image file image.qcow2
fails 1 "is a qcow2 image" import "$db" x "$(at image)"
sqlblock import --format=raw "$db" as-is "$(at image)"
same as-is image.qcow2
# Without extents, and in blocks of 64k.
serve plain --filter=noextents file raw
sqlblock import -q "$db" plain "$(at plain)"
same plain raw
serve blocks --filter=blocksize-policy memory 8M blocksize-minimum=65536 \
  blocksize-error-policy=error blocksize-maximum=1M blocksize-preferred=65536
sqlblock import -q "$db" aligned "$(at blocks)"

# Out: a server that is empty, one that is not, one too small, one read-only.
serve out memory 8M
sqlblock export "$db" remote "$(at out)"
nbdcopy "$(at out)" after
head -c "$size" after | cmp - raw || fail "what went to a server"
fails 4 "overwrite" export "$db" remote "$(at out)"
python3 - <<'EOF2'
with open("ones", "wb") as file:
    file.write(b"\1" * (8 << 20))
EOF2
nbdcopy ones "$(at out)"
sqlblock export --overwrite "$db" remote "$(at out)"
nbdcopy "$(at out)" after
head -c "$size" after | cmp - raw || fail "over what was there"
tail -c +$((size + 1)) after | cmp - <(tail -c +$((size + 1)) ones) ||
  fail "what is behind the disk was changed"
serve nozero --filter=nozero memory 8M
nbdcopy ones "$(at nozero)"
sqlblock export -q --overwrite "$db" remote "$(at nozero)"
nbdcopy "$(at nozero)" after
head -c "$size" after | cmp - raw || fail "without requests to zero"
serve small memory 1M
fails 1 "has 1048576 bytes" export "$db" remote "$(at small)"
serve readonly -r memory 8M
fails 1 "read-only" export "$db" remote "$(at readonly)"
fails 1 "ends inside one" export "$db" remote "$(at blocks)"
fails 1 "a raw disk" export --format=qcow2 "$db" remote "$(at out)"
fails 3 "No such file" export "$db" remote "nbd+unix:///?socket=$tmp/none"
serve broken --filter=error memory 8M error-pwrite=EIO error-pwrite-rate=100%
fails 1 "" export "$db" remote "$(at broken)"

# One whose blocks are larger than the disk's, also with zeroes as bytes.
python3 - <<'EOF2'
with open("specks", "wb") as file:
    file.truncate(2 << 20)
    for i in range(100):
        file.seek(i * 7 * 512 + i // 50 * (1 << 20))
        file.write(b"%03d" % i * 128 + b"." * 128)
EOF2
sqlblock import -q --block-size=512 "$db" specks specks
truncate -s 4M ones
for filter in "" --filter=nozero; do
  cp ones large-blocks
  serve large-blocks --filter=blocksize-policy $filter file large-blocks \
    blocksize-minimum=4096 blocksize-error-policy=error \
    blocksize-preferred=4096 blocksize-maximum=1M
  sqlblock export -q --overwrite "$db" specks "$(at large-blocks)"
  cat specks <(tail -c +$(((2 << 20) + 1)) ones) | cmp - large-blocks ||
    fail "in blocks of 4096 bytes $filter"
  kill "$server"
  rm -f "$tmp/large-blocks.pid" "$tmp/socket-large-blocks"
done
remove specks

# A server that is stopped: in each place, and with increments.
for when in open read; do
  serve stopped --filter=delay memory 8M delay-read="$([ $when = read ] &&
    echo 100 || echo 0)"
  kill -STOP "$server"
  start=$SECONDS
  fails 1 "not answered for 2 s" import --timeout=2 "$db" x "$(at stopped)"
  fails 1 "not answered for 2 s" export --timeout=2 "$db" remote \
    "$(at stopped)"
  fails 1 "not answered for 2 s" import --timeout=2 --increment "$db" x \
    "$(at stopped)"
  [ $((SECONDS - start)) -lt 30 ] || fail "a stopped server was waited for"
  kill -CONT "$server"
  kill "$server"
  rm -f "$tmp/stopped.pid" "$tmp/socket-stopped"
done
# In the middle.
serve middle --filter=rate memory 64M rate=4M
sqlblock import --timeout=2 "$db" x "$(at middle)" 2>err &
pid=$!
started_pids+=("$pid")
sleep 0.7
kill -STOP "$server"
got=0
wait "$pid" || got=$?
kill -CONT "$server"
[ "$got" = 1 ] && grep -q "not answered" err || [ "$got" = 0 ] ||
  fail "stopped in the middle: $got $(cat err)"

# The map of an increment is no pipe.
cp raw increment
mkfifo increment.map
fails 1 "no regular file" import --increment "$db" x increment
mkfifo pipe
fails 1 "no regular file" import --increment "$db" x pipe

# --- qcow2 out ---------------------------------------------------------------

sqlblock export --format=qcow2 "$db" remote out.qcow2
qemu-img check -q out.qcow2 || fail "out.qcow2 is damaged"
qemu-img compare -q -f raw -F qcow2 raw out.qcow2 || fail "out.qcow2 differs"
[ "$(qemu-img info -f qcow2 --output=json out.qcow2 |
  python3 -c 'import json, sys; print(json.load(sys.stdin)["virtual-size"])'
)" = "$size" ] || fail "the size of out.qcow2"
fails 4 "overwrite" export --format=qcow2 "$db" remote out.qcow2
head -c 3000000 < <(yes) >text
sqlblock import -q "$db" text text
sqlblock export --overwrite --format=qcow2 "$db" text out.qcow2 2>err
grep -q "multiple of 512" err || [ $((3000000 % 512)) = 0 ] ||
  fail "an odd size: $(cat err)"
sqlblock export --format=qcow2 --compress "$db" text small.qcow2
for file in out small; do
  qemu-img check -q $file.qcow2
  qemu-img compare -q -f raw -F qcow2 text $file.qcow2 || fail "$file differs"
done
[ "$(stat -c %s small.qcow2)" -lt $(($(stat -c %s out.qcow2) / 2)) ] ||
  fail "the image was not compressed"
sqlblock export --format=qcow2 --compress "$db" remote small2.qcow2
qemu-img compare -q -f raw -F qcow2 raw small2.qcow2 || fail "small2 differs"
sqlblock import -q --format=qcow2 "$db" again small2.qcow2
same again raw
fails 2 "goes with" export --compress "$db" remote x.raw
fails 1 "no file" export --format=qcow2 "$db" remote -
fails 2 "no format" export --format=vdi "$db" remote x
fails 4 "database" export --format=qcow2 --overwrite "$db" remote "$db"
# Nor what belongs to one.
sqlblock create -q other.sqlite web --size=1M
for part in wal shm journal lock; do
  [ -e other.sqlite-$part ] || echo part >other.sqlite-$part
  fails 1 "belongs to the database" export --overwrite "$db" remote \
    other.sqlite-$part
  rm other.sqlite-$part
done
ls -A | grep "new-" && fail "a temporary file is left" || :

# --- kill -9 -----------------------------------------------------------------

mkdir killed
head -c 102400000 < <(yes) >large
sqlblock import -q "$db" large large
# A file that becomes a database while it is to be replaced stays.
echo old >becomes
sqlblock export -q --overwrite "$db" large becomes 2>err &
stop_at "$tmp/#*"
mv other.sqlite becomes
kill -CONT "$pid"
got=0
wait "$pid" || got=$?
[ "$got" = 4 ] || fail "a file that became a database: $got $(cat err)"
sqlblock check -q becomes
qemu-img convert -f raw -O qcow2 large large.qcow2
for i in 1 2 3 4 5; do
  sqlblock export --format=qcow2 "$db" large killed/out &
  pid=$!
  sleep 0.$((RANDOM % 4))$((RANDOM % 10))
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  rm -f killed/out.new-*
  if [ -e killed/out ]; then
    qemu-img compare -q -f raw -F qcow2 large killed/out
    rm killed/out
  fi
  [ -z "$(ls -A killed)" ] || fail "left behind: $(ls killed)"
  sqlblock import --format=qcow2 "$db" new large.qcow2 &
  pid=$!
  sleep 0.$((RANDOM % 4))$((RANDOM % 10))
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  if sqlblock list "$db" --names | grep -qx new; then
    same new large
    remove new
  fi
done
# Nothing runs on, and nothing lies about.
gone ()
{
  ! pgrep -f "qemu-nbd.*/proc/self/fd/4" -P 1 >/dev/null
}
wait_for gone
[ -z "$(find "$tmp" -maxdepth 1 -name 'sqlblock-??????')" ] ||
  fail "a directory is left"
sqlblock check -q "$db"

# --- Through a server --------------------------------------------------------

start_nbdkit c "$plugin" "$db" control="$tmp/control"
sqlblock import --control="$tmp/control" --format=qcow2 "$db" far image.qcow2
sqlblock import --control="$tmp/control" --format=xz "$db" far2 - <image.xz
sqlblock export --control="$tmp/control" --format=qcow2 "$db" far went.qcow2
qemu-img compare -q -f raw -F qcow2 raw went.qcow2
sqlblock export --control="$tmp/control" "$db" far2 - | cmp - raw
stop_nbdkit

# --- What is missing, and what is full ---------------------------------------

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: missing programs were not tried"
  exit
fi
export -f fails fail
export db
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir small
mount -t tmpfs -o size=4M none small
fails 1 "" export --format=qcow2 "$db" large small/file
[ -z "$(ls -A small)" ] || fail "left behind: $(ls small)"
touch no
for program in qemu-nbd qemu-img xz; do
  for directory in /usr/bin /bin /usr/local/bin; do
    [ ! -e "$directory/$program" ] ||
      mount --bind no "$directory/$program" 2>/dev/null || :
  done
done
fails 1 "install the package qemu-utils" import --format=qcow2 "$db" x \
  image.qcow2
fails 1 "install the package qemu-utils" export --format=qcow2 "$db" large x
fails 1 "install the package xz-utils" import --format=xz "$db" x image.xz
EOF2
