#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A database of 2 GiB with 1,000 snapshots, clones and dedup, made by a program
# of an earlier format, is upgraded while that is killed again and again: every
# disk and snapshot shows what it did.  And with power cuts: no row changes.
#
# SQLBLOCK_OLD in the environment is a build directory of that program, such as
# one of commit c788fd6, the last one that writes format 4.  SQLBLOCK_SEED
# repeats the times of the kills.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
[ "${SOAK-}" = yes ] || skip "it takes minutes: make soak"
[ -n "${SQLBLOCK_OLD-}" ] || skip "SQLBLOCK_OLD names no build that is older"
old_plugin=$SQLBLOCK_OLD/plugin/.libs/nbdkit-sqlblock-plugin.so
old=$SQLBLOCK_OLD/tool/sqlblock
new=$top_builddir/tool/sqlblock
[ -f "$old_plugin" ] && [ -x "$old" ] || fail "no build in $SQLBLOCK_OLD"

# Where there is space for five of them.
rmdir "$tmp"
tmp=$(mktemp -d "${TMPDIR:-/var/tmp}/sqlblock-test.XXXXXX")
cd "$tmp"

# write NAME SEED BYTES COUNT: COUNT times words, random bytes or zeroes, each
# of up to BYTES, into the disk of the server s.
cat >write.py <<'EOF'
import nbd, random, sys
name, seed, most, count = sys.argv[1], *map(int, sys.argv[2:])
r = random.Random(seed)
h = nbd.NBD()
h.set_export_name(name)
h.connect_unix("s")
size = h.get_size()
for i in range(count):
    length = r.randrange(1, most)
    offset = r.randrange(size - length)
    if i % 4 == 3:
        h.zero(length, offset)
    elif i % 4 == 2:
        h.pwrite(r.randbytes(length), offset)
    else:
        words = b"%d block extent hole " % r.randrange(100)
        h.pwrite((words * (length // len(words) + 1))[:length], offset)
h.flush()
EOF

# All of the disk is random.
cat >fill.py <<'EOF'
import nbd, random, sys
r = random.Random(1)
h = nbd.NBD()
h.set_export_name(sys.argv[1])
h.connect_unix("s")
for offset in range(0, h.get_size(), 4 << 20):
    h.pwrite(r.randbytes(min(4 << 20, h.get_size() - offset)), offset)
h.flush()
EOF

# The checksum of each disk and snapshot that the server s has.
cat >sums.py <<'EOF'
import hashlib, nbd, sys
for name in sys.stdin.read().splitlines():
    h = nbd.NBD()
    h.set_export_name(name)
    h.connect_unix("s")
    digest = hashlib.sha256()
    for offset in range(0, h.get_size(), 4 << 20):
        digest.update(h.pread(min(4 << 20, h.get_size() - offset), offset))
    print(digest.hexdigest(), h.get_size(), name)
    h.shutdown()
EOF

# sums PLUGIN TOOL FILE
sums ()
{
  "$2" list --all --json "$3" | python3 -c '
import json, sys
answer = json.load(sys.stdin)
for disk in answer["disks"]:
    print(disk["name"])
for snapshot in answer["snapshots"]:
    print(snapshot["disk"] + "@" + snapshot["snapshot"])' >names
  start_nbdkit s -r "$1" "$3"
  await_answer s
  PYTHONDONTWRITEBYTECODE=1 python3 sums.py <names
  stop_nbdkit
}

# make_database FILE SIZE: 25 disks that have 40 snapshots each, and clones,
# beside one of SIZE.
make_database ()
{
  local db=$1 i disks=() targets
  "$old" create -q "$db" large --size="$2" -c none
  for i in $(seq 25); do
    disks+=("disk$i")
    case $((i % 5)) in
    0) set -- --size=4M --block-size=64k -c zstd:3 ;;
    1) set -- --size=1M --block-size=512 -c none ;;
    2) set -- --size=2M --dedup ;;
    3) set -- --size=2M --quota=20M ;;
    4) set -- --size=3M --block-size=16k --dedup ;;
    esac
    "$old" create -q "$db" "disk$i" "$@"
  done
  start_nbdkit s "$old_plugin" "$db"
  await_answer s
  python3 fill.py large
  for i in $(seq 40); do
    for disk in "${disks[@]}"; do
      python3 write.py "$disk" "$i" 6000 4
    done
    python3 write.py large "$i" 40000 4
    targets=("${disks[@]/%/@round$i}")
    [ $((i % 20)) != 0 ] || targets+=("large@round$i")
    "$old" snapshot create -q "$db" "${targets[@]}"
    if [ $((i % 4)) = 0 ]; then
      "$old" clone -q "$db" "disk$((i / 2))@round$i" "clone$i"
      python3 write.py "clone$i" "$i" 20000 4
    fi
  done
  "$old" clone -q "$db" large "copy"
  python3 write.py copy 1 100000 40
  stop_nbdkit
  "$old" rollback -q "$db" disk7@round20
  "$old" rollback -q "$db" disk9@round30
}

echo "seed ${SQLBLOCK_SEED:=$RANDOM}"
RANDOM=$SQLBLOCK_SEED

make_database large.sqlite 2G
[ "$(stat -c %s large.sqlite)" -ge $((2 << 30)) ] || fail "it is too small"
[ "$(query large.sqlite 'SELECT count (*) FROM snapshot')" -ge 1000 ] ||
  fail "it has too few snapshots"
sums "$old_plugin" "$old" large.sqlite >wanted
echo "$(stat -c %s large.sqlite) bytes, $(wc -l <wanted) disks and snapshots"

# compare FILE: it shows what it did, and all of it is right.
compare ()
{
  sums "$plugin" "$new" "$1" | diff wanted - >difference || {
    head difference
    fail "disks or snapshots have changed"
  }
  "$new" check "$1" >out 2>&1 && grep -q " 0 problems" out || {
    cat out
    fail "a check finds problems"
  }
}

cp large.sqlite work.sqlite
began=$(date +%s%N)
"$new" upgrade -q work.sqlite
longest=$((($(date +%s%N) - began) / 1000000))
echo "upgraded in $longest ms, $(stat -c %s work.sqlite) bytes"
compare work.sqlite

# kill_upgrade: it is killed at a random moment, again and again, until it has
# ended before that; then the next one comes sooner.  What a kill leaves can be
# read.
kill_upgrade ()
{
  local pid delay
  while true; do
    delay=$((RANDOM % (longest + 10)))
    "$new" upgrade -q work.sqlite &
    pid=$!
    sleep $((delay / 1000)).$(printf %03d $((delay % 1000)))
    kill -9 $pid 2>/dev/null || :
    if wait $pid 2>/dev/null; then
      longest=$((longest * 2 / 3))
      return
    fi
    kills=$((kills + 1))
    longest=$((longest * 9 / 8 + 2))
    "$new" list work.sqlite >/dev/null || fail "after a kill it does not open"
  done
}

for round in 1 2 3; do
  kills=0
  while [ $kills -lt 8 ]; do
    cp large.sqlite work.sqlite
    rm -f work.sqlite-*
    kill_upgrade
  done
  compare work.sqlite
  echo "round $round: $kills kills, all is equal"
done
rm work.sqlite*

# Power cuts: some, where there is memory for what the rig keeps of it; and many
# in the same without the large disk.
power_cuts=$top_builddir/tests/power-cuts
cut ()
{
  TMPDIR=$tmp "$power_cuts" --upgrade "$@" >out 2>&1 || {
    cat out >&2
    fail "power cuts in an upgrade of $1"
  }
  echo "$1: $(tail -n 1 out)"
}
if [ -x "$power_cuts" ]; then
  memory=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  [ "$memory" -lt $((10 << 20)) ] || cut large.sqlite --rounds 1 --places 2
  rm large.sqlite*
  make_database small.sqlite 1M
  cut small.sqlite --rounds 4 --places 24
fi
