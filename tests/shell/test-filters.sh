#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# nbdkit's filters on top of the plugin: with each, what a client writes it
# reads again, and what is then on the disk is what the filter promises.
# The table of filters in the manual says what is tried here.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdinfo python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

cd "$tmp"
seed=${SQLBLOCK_SEED:-$RANDOM}
echo "seed: $seed (set SQLBLOCK_SEED to repeat)"

# requests.py URI SHADOW OPERATIONS KINDS SEED: random requests, compared
# with the file SHADOW; where that exists, the disk must first be the same.
cat >requests.py <<'EOF2'
import nbd, os, random, sys
uri, shadow_file, operations, kinds, seed = sys.argv[1:]
random.seed(int(seed))
h = nbd.NBD()
h.connect_uri(uri)
size = h.get_size()
if os.path.exists(shadow_file):
    shadow = bytearray(open(shadow_file, "rb").read())
    if h.pread(size, 0) != shadow:
        sys.exit("other bytes than were written")
else:
    shadow = bytearray(h.pread(size, 0))
for number in range(int(operations)):
    count = random.randint(1, 40000)
    start = random.randrange(size - count)
    end = start + count
    what = random.choice(kinds)
    old = shadow[start:end]
    if what == "w":
        shadow[start:end] = random.randbytes(count)
        fua = h.can_fua() and random.choice((0, nbd.CMD_FLAG_FUA))
        h.pwrite(shadow[start:end], start, fua)
    elif what == "z" and h.can_zero():
        shadow[start:end] = bytes(count)
        h.zero(count, start)
    elif what == "t" and h.can_trim():
        h.trim(count, start)
        got = h.pread(count, start)
        if any(new not in (0, byte) for new, byte in zip(got, old)):
            sys.exit("trim made new bytes, request %d" % number)
        shadow[start:end] = got
    if h.can_cache():
        h.cache(count, start)
    if h.pread(count, start) != shadow[start:end]:
        sys.exit("difference after request %d: %s, %d bytes at %d"
                 % (number, what, count, start))
if operations != "0" and h.can_flush():
    h.flush()
if h.pread(size, 0) != shadow:
    sys.exit("difference at the end")
open(shadow_file, "wb").write(shadow)
EOF2

# requests SHADOW OPERATIONS [EXPORT]: the same to the server. The kinds are
# write, read, zero and trim.
kinds=wwwrzt
requests ()
{
  timeout 30 python3 requests.py "$(uri s "${3-}")" "$1" "$2" $kinds "$seed"
}

# has FILTER: is this filter installed?
filters=$(nbdkit --dump-config | sed -n 's/^filterdir=//p')
has ()
{
  [ -e "$filters/nbdkit-$1-filter.so" ]
}

# serve ARGUMENT...: a server in place of the one before.
nbdkit_pid=
serve ()
{
  [ -z "$nbdkit_pid" ] || kill_nbdkit 2>/dev/null || :
  start_nbdkit s "$@"
}

# exchange FILE: the two sectors that map is told to exchange.
exchange ()
{
  python3 - "$1" <<'EOF2'
import sys
with open(sys.argv[1], "r+b") as file:
    data = bytearray(file.read())
    data[0:512], data[4096:4608] = data[4096:4608], data[0:512]
    file.seek(0)
    file.write(data)
EOF2
}

printf '0 64K\n128K 128K hole\n' >extents
tried=
timeout 20 nbdkit -U - "$plugin" disks.sqlite size=256K --run true
timeout 20 nbdkit -U - "$plugin" disks.sqlite export=other size=256K --run true

# Filters that change nothing about the data: what goes through them is on
# the disk, flushed, and stays there when the server is killed.
while read -r filter parameters; do
  has "$filter" || continue
  rm -f shadow
  # The cache goes on showing what was trimmed on the disk below.
  [ "$filter" = cache ] && kinds=wwwrz || kinds=wwwrzt
  # shellcheck disable=SC2086 # several parameters
  serve --filter="$filter" "$plugin" disks.sqlite $parameters
  requests shadow 60 || fail "filter $filter $parameters"
  # A second connection; exitlast has ended the server by then.
  [ "$filter" = exitlast ] || requests shadow 10 ||
    fail "filter $filter $parameters, second connection"
  serve "$plugin" disks.sqlite
  case $parameters in
    map=*) exchange shadow ;;
  esac
  requests shadow 0 || fail "after filter $filter $parameters"
  tried="$tried $filter"
done <<'EOF2'
blocksize minblock=4096 maxdata=8192
blocksize-policy blocksize-preferred=4096
cache cache=writeback
cache cache=writethrough
cache cache=writethrough cache-on-read=true
cacheextents
count
delay delay-read=1ms delay-write=1ms delay-zero=1ms delay-trim=1ms
error error-pwrite-rate=0
evil evil-probability=0
exitlast
exitwhen exit-when-file-created=/nonexistent/file
extentlist extentlist=extents
exportname exportname=disk exportname-strict=false
fua fuamode=force
fua fuamode=emulate
fua
ip allow=all
limit limit=3
log logfile=/dev/null
map
map map=0-511:4096 map=4096-4607:0
multi-conn multi-conn-mode=emulate
multi-conn multi-conn-mode=disable
nocache cachemode=none
nocache cachemode=emulate
noextents
nofilter
noparallel serialize=requests
nozero
nozero zeromode=emulate
nozero zeromode=notrim
openonce
rate rate=800M
readahead
readonly readonly-file=/nonexistent
retry retry-delay=1
retry-request retry-request-delay=1
rotational
scan
spinning min-seek-time=0 half-seek-time=0 max-seek-time=0
stats statsfile=/dev/null
time-limit time-limit=3600
EOF2
kinds=wwwrzt

# Several at once, with one that makes errors under one that tries again
# (it waits a second before it does: so only a few of them). One of them tries
# only twice when it is not told: too often both are errors, too.
for retry in retry retry-request; do
  has error && has $retry && has blocksize && has stats || continue
  more=()
  [ $retry = retry ] || more=(retry-request-retries=6)
  rm -f shadow
  serve --filter=stats --filter=$retry --filter=error --filter=blocksize \
    "$plugin" disks.sqlite statsfile=/dev/null maxdata=16384 \
    $retry-delay=1 "${more[@]}" error-pwrite-rate=8% error-zero-rate=8% \
    error-trim-rate=8%
  requests shadow 30 || fail "errors with filter $retry"
  serve "$plugin" disks.sqlite
  requests shadow 0 || fail "after errors with filter $retry"
done

# cow keeps the writes to itself. It has one overlay for all disks (until
# nbdkit 1.44), as has cache: so pin one disk.
if has cow; then
  rm -f before shadow
  serve "$plugin" disks.sqlite
  requests before 10 other
  cp before shadow
  serve --filter=cow "$plugin" disks.sqlite export=other
  requests shadow 60 || fail "filter cow"
  requests shadow 10 || fail "filter cow, second connection"
  if cmp -s before shadow; then
    fail "the requests changed nothing"
  fi
  serve "$plugin" disks.sqlite
  requests before 0 other || fail "filter cow changed the disk"
  tried="$tried cow"
fi

# part START COUNT: these bytes of the file data.
part ()
{
  dd if=data iflag=skip_bytes,count_bytes skip="$1" count="$2" status=none
}

# offset and truncate: a part of the disk, or more than the disk.
head -c 262144 /dev/urandom >data
serve "$plugin" disks.sqlite
nbdcopy --flush data "$(uri s)"
if has offset; then
  serve --filter=offset "$plugin" disks.sqlite offset=10000 range=50001
  part 10000 50001 >shadow
  requests shadow 60 || fail "filter offset"
  { head -c 10000 data; cat shadow; tail -c +60002 data; } >expected
  serve "$plugin" disks.sqlite
  requests expected 0 || fail "filter offset wrote somewhere else"
  cp expected data
  tried="$tried offset"
fi
if has truncate; then
  serve --filter=truncate "$plugin" disks.sqlite round-up=1M
  { cat data; head -c 786432 /dev/zero; } >expected
  requests expected 0 || fail "filter truncate"
  serve --filter=truncate "$plugin" disks.sqlite truncate=100K
  part 0 102400 >shadow
  requests shadow 60 || fail "filter truncate=100K"
  { cat shadow; tail -c +102401 data; } >expected
  serve "$plugin" disks.sqlite
  requests expected 0 || fail "filter truncate wrote somewhere else"
  tried="$tried truncate"
fi
if has swab; then
  serve "$plugin" disks.sqlite
  nbdcopy --flush data "$(uri s)"
  serve --filter=swab "$plugin" disks.sqlite swab-bits=16
  nbdcopy "$(uri s)" swapped
  dd if=data of=expected conv=swab status=none
  cmp swapped expected || fail "filter swab"
  tried="$tried swab"
fi
if has protect; then
  serve --filter=protect "$plugin" disks.sqlite protect=512-4607
  if python3 -c "import nbd; h = nbd.NBD(); h.connect_uri('$(uri s)')
h.pwrite(b'x', 4607)" 2>/dev/null; then
    fail "filter protect"
  fi
  python3 -c "import nbd; h = nbd.NBD(); h.connect_uri('$(uri s)')
h.pwrite(b'x', 4608)" || fail "filter protect"
  tried="$tried protect"
fi

# openonce keeps each disk open, and knows one from the other.
if has openonce; then
  serve "$plugin" disks.sqlite
  nbdcopy data "$(uri s other)"
  head -c 262144 /dev/urandom >expected
  nbdcopy expected "$(uri s disk)"
  serve --filter=openonce "$plugin" disks.sqlite
  for _ in 1 2; do
    requests data 0 other || fail "filter openonce, the other disk"
    requests expected 10 || fail "filter openonce"
  done
fi

# readonly, where it is told so: from the start, or when a file appears.
if has readonly; then
  for file in '' switch; do
    rm -f switch
    serve --filter=readonly "$plugin" disks.sqlite \
      ${file:+"readonly-file=$tmp/switch"}
    python3 - "$(uri s)" "$file" <<'EOF2' || fail "filter readonly $file"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
assert h.is_read_only() == (sys.argv[2] == "")
if sys.argv[2]:
    h.pwrite(h.pread(512, 0), 0)
    open(sys.argv[2], "w").close()
h.set_strict_mode(0)
try:
    h.pwrite(b"x", 0)
except nbd.Error as error:
    assert error.errno in ("EPERM", "EROFS"), error.errno
else:
    sys.exit("it was written")
EOF2
  done
  tried="$tried readonly"
fi
if has rotational; then
  serve --filter=rotational "$plugin" disks.sqlite
  python3 -c "import nbd; h = nbd.NBD(); h.connect_uri('$(uri s)')
assert h.is_rotational()" || fail "filter rotational"
fi

# time-limit ends a connection, and with that no other one.
if has time-limit; then
  serve --filter=time-limit "$plugin" disks.sqlite time-limit=1
  python3 - "$(uri s)" <<'EOF2' || fail "filter time-limit"
import nbd, sys, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.pwrite(h.pread(512, 0), 0)
time.sleep(1.5)
try:
    h.pread(512, 0)
except nbd.Error:
    h = nbd.NBD()
    h.connect_uri(sys.argv[1])
    h.pread(512, 0)
else:
    sys.exit("the time has no limit")
EOF2
fi

# exitwhen ends the server.
if has exitwhen; then
  serve --filter=exitwhen "$plugin" disks.sqlite \
    exit-when-file-created="$tmp/enough" exit-when-poll=1
  touch enough
  wait_for eval '! kill -0 "$nbdkit_pid" 2>/dev/null'
fi

# ddrescue shows what its map says was saved.
if has ddrescue; then
  serve "$plugin" disks.sqlite
  nbdcopy --flush data "$(uri s)"
  printf '%s\n' '# Mapfile.' '0x0 + 1' '0x00000000 0x00030000 +' \
    '0x00030000 0x00010000 -' >map
  serve --filter=ddrescue "$plugin" disks.sqlite ddrescue-mapfile=map
  python3 - "$(uri s)" <<'EOF2' || fail "filter ddrescue"
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
assert h.is_read_only()
assert h.pread(0x30000, 0) == open("data", "rb").read(0x30000)
try:
    h.pread(512, 0x30000)
except nbd.Error as error:
    assert error.errno == "EIO", error.errno
else:
    sys.exit("what was not saved was read")
EOF2
  tried="$tried ddrescue"
fi

# tls-fallback: the disk is there for clients with TLS only.
if has tls-fallback && nbdkit --dump-config | grep -qx tls=yes; then
  printf 'alice:%s\n' "$(printf %064d 1)" >keys.psk
  serve --tls=on --tls-psk=keys.psk --filter=tls-fallback "$plugin" disks.sqlite
  size=$(nbdinfo --size "$(uri s)")
  [ "$size" -lt 262144 ] || fail "filter tls-fallback, without TLS: $size"
  nbdcopy "nbds+unix://alice@/?socket=$tmp/s&tls-psk-file=$tmp/keys.psk" out
  cmp data out || fail "filter tls-fallback, with TLS"
  tried="$tried tls-fallback"
fi

# xor: other bytes are on the disk than clients see.
if has xor; then
  serve --filter=xor "$plugin" disks.sqlite xor=0xff xorlen=1
  nbdcopy --flush data "$(uri s)"
  rm -f shadow
  kinds=wwwr
  requests shadow 30 || fail "filter xor"
  kinds=wwwrzt
  serve "$plugin" disks.sqlite
  python3 -c "import sys
data = open('shadow', 'rb').read()
open('shadow', 'wb').write(bytes(255 - byte for byte in data))"
  requests shadow 0 || fail "after filter xor"
  tried="$tried xor"
fi

# evil changes what is read, and nothing on the disk.
if has evil; then
  serve "$plugin" disks.sqlite
  nbdcopy --flush data "$(uri s)"
  serve --filter=evil "$plugin" disks.sqlite evil-probability=1e-4
  nbdcopy "$(uri s)" out
  if cmp -s data out; then
    fail "filter evil changed nothing"
  fi
  serve "$plugin" disks.sqlite
  requests data 0 || fail "filter evil changed the disk"
fi

# partition: the second of two in an MBR.
if has partition; then
  python3 - data <<'EOF2'
import struct, sys
with open(sys.argv[1], "r+b") as disk:
    def entry(start, count):
        return struct.pack("<BBBBBBBBII", 0, 0, 2, 0, 0x83, 0, 2, 0,
                           start, count)
    disk.seek(446)
    disk.write(entry(8, 100) + entry(128, 200) + bytes(32) + b"\x55\xaa")
EOF2
  serve "$plugin" disks.sqlite
  nbdcopy --flush data "$(uri s)"
  serve --filter=partition "$plugin" disks.sqlite partition=2
  part 65536 102400 >shadow
  requests shadow 60 || fail "filter partition"
  { head -c 65536 data; cat shadow; tail -c +167937 data; } >expected
  serve "$plugin" disks.sqlite
  requests expected 0 || fail "filter partition wrote somewhere else"
  tried="$tried partition"
fi

# checkwrite accepts what is on the disk, and nothing else.
if has checkwrite; then
  serve "$plugin" disks.sqlite
  nbdcopy "$(uri s)" data
  serve --filter=checkwrite "$plugin" disks.sqlite
  nbdcopy data "$(uri s)" || fail "filter checkwrite"
  printf 'other' | dd of=data bs=1 seek=200000 conv=notrunc status=none
  if nbdcopy data "$(uri s)" 2>/dev/null; then
    fail "filter checkwrite accepted other data"
  fi
  tried="$tried checkwrite"
fi

# exportname gives another disk to clients that name none.
if has exportname; then
  serve "$plugin" disks.sqlite
  nbdcopy "$(uri s other)" expected
  serve --filter=exportname "$plugin" disks.sqlite default-export=other
  requests expected 0 || fail "filter exportname"
fi

# pause stops the requests, and lets them go on.
if has pause; then
  serve --filter=pause "$plugin" disks.sqlite pause-control="$tmp/control"
  python3 - "$(uri s)" "$tmp/control" <<'EOF2' || fail "filter pause"
import nbd, socket, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
control = socket.socket(socket.AF_UNIX)
control.connect(sys.argv[2])
control.sendall(b"p")
assert control.recv(1) == b"P"
cookie = h.aio_pwrite(nbd.Buffer.from_bytearray(b"later"), 0)
for _ in range(3):
    h.poll(100)
assert not h.aio_command_completed(cookie)
control.sendall(b"r")
assert control.recv(1) == b"R"
while not h.aio_command_completed(cookie):
    h.poll(-1)
assert h.pread(5, 0) == b"later"
EOF2
  tried="$tried pause"
fi

# A filter may open a disk while there is no client, whose export it would be:
# then it is the default one.
early=$top_builddir/tests/.libs/nbdkit-early-filter.so
for export in '' other; do
  serve "$plugin" disks.sqlite
  nbdcopy data "$(uri s disk)"
  nbdcopy data "$(uri s other)"
  serve --filter="$early" "$plugin" disks.sqlite ${export:+"export=$export"}
  { printf early; tail -c +6 data; } >expected
  requests expected 0 "$export" ||
    fail "a disk is opened before there is a client, export='$export'"
  requests expected 20 "$export" || fail "clients past filter early"
  stop_nbdkit
  serve "$plugin" disks.sqlite
  requests expected 0 "${export:-disk}" || fail "after filter early"
done

# Filters that look into what is stored on a disk.
copy_in ()
{
  rm -rf inside.sqlite*
  serve "$plugin" inside.sqlite size="$(stat -c %s "$1")"
  nbdcopy --flush "$1" "$(uri s)"
}
head -c 200000 /dev/urandom >inside
for program in bzip2 gzip lzip xz; do
  has $program && type -P $program >/dev/null || continue
  $program -c inside >packed
  copy_in packed
  serve -r --filter=$program "$plugin" inside.sqlite
  nbdcopy "$(uri s)" out
  cmp inside out || fail "filter $program"
  tried="$tried $program"
done
if has indexed-gzip && type -P gzip >/dev/null; then
  gzip -c inside >packed
  copy_in packed
  serve -r --filter=indexed-gzip "$plugin" inside.sqlite \
    gzip-index-path="$tmp/index"
  nbdcopy "$(uri s)" out
  cmp inside out || fail "filter indexed-gzip"
  tried="$tried indexed-gzip"
fi
if has qcow2dec && type -P qemu-img >/dev/null; then
  truncate -s 262144 inside.raw
  dd if=inside of=inside.raw conv=notrunc status=none
  rm -f packed
  qemu-img convert -f raw -O qcow2 inside.raw packed
  copy_in packed
  serve -r --filter=qcow2dec "$plugin" inside.sqlite
  nbdcopy "$(uri s)" out
  cmp inside.raw out || fail "filter qcow2dec"
  tried="$tried qcow2dec"
fi
if has tar && type -P tar >/dev/null; then
  tar cf packed inside data
  copy_in packed
  serve --filter=tar "$plugin" inside.sqlite tar-entry=inside
  nbdcopy "$(uri s)" out
  cmp inside out || fail "filter tar"
  tried="$tried tar"
fi
if has ext2 && type -P mkfs.ext4 >/dev/null; then
  mkdir files
  cp inside files
  truncate -s 10M packed
  mkfs.ext4 -q -F -d files packed
  copy_in packed
  serve --filter=ext2 "$plugin" inside.sqlite ext2file=/inside
  nbdcopy "$(uri s)" out
  cmp inside out || fail "filter ext2"
  tried="$tried ext2"
fi
# qemu-img measures how fast this machine is, and cannot always.
make_luks ()
{
  for _ in $(seq 20); do
    qemu-img create -q -f luks --object secret,id=key,data=password \
      -o key-secret=key,iter-time=100 packed 1M 2>luks.log && return
  done
  cat luks.log >&2
  return 1
}
rm -f packed
if has luks && type -P qemu-img >/dev/null && make_luks; then
  copy_in packed
  serve --filter=luks "$plugin" inside.sqlite passphrase=password
  head -c 1M /dev/urandom >secret
  nbdcopy --flush secret "$(uri s)"
  serve --filter=luks "$plugin" inside.sqlite passphrase=password
  nbdcopy "$(uri s)" out
  cmp secret out || fail "filter luks"
  tried="$tried luks"
fi

for filter in $tried; do
  grep -q "^ $filter  *yes\b" "$srcdir/../nbdkit-sqlblock-plugin.pod" ||
    fail "the manual's table does not have filter $filter"
done
echo "tried:$(printf '%s\n' $tried | sort -u | tr '\n' ' ')"
