#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What programs that know nothing of us make of the export DISK@A..B: nbdcopy
# and qemu-img with each combination of the options that matter, to files, to
# other servers, and over a copy of A. What the manual calls right must be; what
# it calls wrong is only told if it is not any more. And a chain of increments
# in qcow2 files, by qemu-img alone.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy qemu-img python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"

size=$((2 * 1024 * 1024 - 512))
sqlblock create -q disks.sqlite web --size=$size

# change SEED: parts of blocks, blocks and ranges of them, also to zeroes.
change ()
{
  python3 - "$tmp/s" "$1" <<'EOF2'
import nbd, random, sys
random.seed(int(sys.argv[2]))
h = nbd.NBD()
h.connect_unix(sys.argv[1])
size = h.get_size()
for _ in range(12):
    offset = random.randrange(size - 100000)
    count = 1 + random.randrange(100000)
    if random.randrange(2):
        h.pwrite(random.randbytes(1 + random.randrange(20000)), offset)
    else:
        h.trim(count, offset)
for _ in range(5):
    h.pwrite(random.randbytes(70000), random.randrange(size - 70000))
h.trim(8192, 4096 * random.randrange(400))
h.trim(131072, 65536 * random.randrange(25))
h.zero(50, size - 60)
h.pwrite(random.randbytes(30), size - 30)
# More zeroes than nbdcopy asks for at once, where there was data.
if sys.argv[2] == "4":
    h.pwrite(random.randbytes(1 << 20), 1 << 18)
if sys.argv[2] == "5":
    h.trim(3 << 18, 1 << 18)
EOF2
}

start_nbdkit s "$plugin" disks.sqlite
for i in 0 1 2 3 4 5; do
  change "$i"
  sqlblock snapshot create -q disks.sqlite "web@s$i"
  sqlblock export -q disks.sqlite "web@s$i" "s$i"
done
ln s4 a
ln s5 b
increment=$(uri s web@s4..s5)

# right WHAT FILE: FILE must be b.
right ()
{
  cmp b "$2" >&2 || fail "$1"
}

# wrong WHAT FILE: the manual says that it is not.
wrong ()
{
  ! cmp -s b "$2" || echo "this is right here: $1"
}

# raw FILE: the qcow2 file as a raw one, "raw".
raw ()
{
  qemu-img convert -O raw "$1" raw
}

# --- nbdcopy -----------------------------------------------------------------

# over FILE: "laid" is a with the data of the file, without its holes.
over ()
{
  python3 - "$1" <<'EOF2'
import os, sys
laid = bytearray(open("a", "rb").read())
file, at = os.open(sys.argv[1], os.O_RDONLY), 0
while at < len(laid):
    try:
        start = os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        break
    at = os.lseek(file, start, os.SEEK_HOLE)
    laid[start:at] = os.pread(file, at - start, start)
open("laid", "wb").write(laid)
EOF2
}

for extents in "" --no-extents; do
  for zero in "" --destination-is-zero; do
    for allocated in "" --allocated; do
      for how in "" --sparse=0 --sparse=4096 --synchronous \
        "--connections=1 --requests=1" --request-size=65536; do
        options="$extents $zero $allocated $how"
        rm -f new
        nbdcopy $options "$increment" new
        right "nbdcopy$options to a new file" new
        over new
        [ -n "$allocated" ] || [ "$how" = --sparse=0 ] ||
          wrong "nbdcopy$options to a new file, which is laid over" laid
        rm -f new
        timeout 20 nbdkit -U - memory $size \
          --run "nbdcopy $options '$increment' \"\$uri\" && nbdcopy \"\$uri\" new"
        right "nbdcopy$options to a server with zeroes" new
        cp a old
        nbdcopy $options "$increment" -- [ nbdkit --exit-with-parent file old ]
        if [ -z "$zero" ]; then
          right "nbdcopy$options over a copy, in a server" old
        else
          wrong "nbdcopy$options over a copy, in a server" old
        fi
        [ -z "$zero" ] || continue
        cp a old
        nbdcopy $options "$increment" old
        right "nbdcopy$options over a copy" old
      done
    done
  done
done

# --- qemu-img ----------------------------------------------------------------

convert=(qemu-img convert -f raw)
qemu-img convert -f raw -O qcow2 a a.qcow2
backed=(-b a.qcow2 -F qcow2)
for sparse in "" "-S 0" "-S 4k" "-S 64k" "-W -m 4"; do
  rm -f new
  "${convert[@]}" $sparse -O raw "$increment" new
  right "convert $sparse" new
  over new
  [ "$sparse" = "-S 0" ] || wrong "convert $sparse, laid over" laid
  "${convert[@]}" $sparse -O qcow2 "$increment" new.qcow2
  raw new.qcow2
  right "convert $sparse to qcow2" raw
  qemu-img rebase -u "${backed[@]}" new.qcow2
  raw new.qcow2
  [ "$sparse" = "-S 0" ] || wrong "convert $sparse to qcow2, rebase -u" raw
  "${convert[@]}" $sparse -O qcow2 -B a.qcow2 -F qcow2 "$increment" new.qcow2
  raw new.qcow2
  right "convert $sparse -B" raw
  cp a old
  "${convert[@]}" $sparse -n -O raw "$increment" old
  right "convert $sparse -n over a copy" old
  cp a.qcow2 old.qcow2
  "${convert[@]}" $sparse -n -O qcow2 "$increment" old.qcow2
  raw old.qcow2
  right "convert $sparse -n over a copy in qcow2" raw
  for base in "" "-B a.qcow2"; do
    qemu-img create -q -f qcow2 "${backed[@]}" new.qcow2
    "${convert[@]}" $sparse -n $base -O qcow2 "$increment" new.qcow2
    raw new.qcow2
    right "convert $sparse -n $base to an empty one on a copy" raw
  done
  rm -f new
  truncate -s $size new
  "${convert[@]}" $sparse -n --target-is-zero -O raw "$increment" new
  right "convert $sparse -n --target-is-zero to zeroes" new
  cp a old
  "${convert[@]}" $sparse -n --target-is-zero -O raw "$increment" old
  [ "$sparse" = "-S 0" ] ||
    wrong "convert $sparse -n --target-is-zero over a copy" old
  qemu-img create -q -f qcow2 "${backed[@]}" new.qcow2
  "${convert[@]}" $sparse -n --target-is-zero -O qcow2 "$increment" new.qcow2
  raw new.qcow2
  [ "$sparse" = "-S 0" ] ||
    wrong "convert $sparse -n --target-is-zero to an empty one on a copy" raw
done

# --- A chain -----------------------------------------------------------------

"${convert[@]}" -O qcow2 "$(uri s web@..s0)" 0.qcow2
for i in 1 2 3 4 5; do
  "${convert[@]}" -O qcow2 -B $((i - 1)).qcow2 -F qcow2 \
    "$(uri s web@s$((i - 1))..s$i)" $i.qcow2
done
for i in 0 1 2 3 4 5; do
  qemu-img compare -f raw -F qcow2 s$i $i.qcow2 >out || fail "s$i: $(cat out)"
done
