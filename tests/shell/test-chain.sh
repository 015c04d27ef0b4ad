#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A chain of increments: an NBD client, that of the manual, keeps them as files,
# and "sqlblock import --increment" puts them together again; it also reads them
# from the server. Each step is equal. What does not fit, is cut off, damaged or
# interrupted changes nothing.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo nbdsh python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"

# The client of the manual: the lines from "import nbd" to "file=map".
sed -n '/^ import nbd, os, sys$/,/^With it as/p' "$srcdir/../sqlblock.pod" |
  sed '/^[^ ]/d; s/^ //' >increment.py
grep -q "file=map" increment.py || fail "the manual has no client"

seed=$RANDOM
echo "seed $seed"

# change DISK
change ()
{
  python3 "$srcdir/lib/change.py" "$tmp/s" "$1" "$((seed++))" 25
}

# keep DISK I: take the snapshot sI, and keep what changed since the one before.
keep ()
{
  sqlblock snapshot create -q disks.sqlite "$1@s$2"
  local from=
  [ "$2" = 0 ] || from=s$(($2 - 1))
  python3 increment.py "$(uri s "$1@$from..s$2")" "$1.$2"
}

# guid DATABASE SNAPSHOT
guid ()
{
  sqlblock info "$1" "$2" --json | grep '"guid"'
}

# same DATABASE DISK I: it is at the snapshot sI, as it was in disks.sqlite.
same ()
{
  sqlblock export -q disks.sqlite "${4-$2}@s$3" wanted --force
  for target in "$2" "$2@s$3"; do
    sqlblock export -q "$1" "$target" got --force
    cmp wanted got || fail "$1: $target is not what it was"
  done
  [ "$(guid disks.sqlite "${4-$2}@s$3")" = "$(guid "$1" "$2@s$3")" ] ||
    fail "$1: $2@s$3 is another snapshot"
}

# --- Each kind of disk -------------------------------------------------------

start_nbdkit s "$plugin" disks.sqlite size=1M
sqlblock create -q disks.sqlite plain --size=3000001 --compression=none
sqlblock create -q disks.sqlite dedup --size=2M --block-size=16k --dedup
sqlblock create -q disks.sqlite small --size=1999872 --block-size=512
sqlblock create -q disks.sqlite origin --size=2500000
change origin
sqlblock snapshot create -q disks.sqlite origin@was
sqlblock clone -q disks.sqlite origin@was clone

for disk in plain dedup small clone; do
  change $disk
  keep $disk 0
  change $disk
  keep $disk 1
  nbdsh -u "$(uri s $disk)" -c 'h.trim (h.get_size (), 0)'
  change $disk
  keep $disk 2
  sqlblock resize -q disks.sqlite $disk 4000100
  change $disk
  keep $disk 3
  sqlblock rollback -q disks.sqlite $disk@s1
  change $disk
  keep $disk 4
  sqlblock resize -q disks.sqlite $disk 1000300 --shrink
  change $disk
  keep $disk 5
done

# From files: as they were; with other blocks, under another name; in the same
# order by URI, with the server's block size.
for disk in plain dedup small clone; do
  for i in 0 1 2 3 4 5; do
    sqlblock import -q --increment --create files.sqlite $disk $disk.$i
    same files.sqlite $disk $i
    sqlblock import -q --increment --create other.sqlite my-$disk $disk.$i \
      --block-size=32k --compression=none
    same other.sqlite my-$disk $i $disk
    from=
    [ $i = 0 ] || from=s$((i - 1))
    sqlblock import -q --increment --create uris.sqlite $disk \
      "$(uri s $disk@$from..s$i)"
    same uris.sqlite $disk $i
  done
done
[ "$(sqlblock info uris.sqlite dedup --json | grep block_size)" = \
  "$(sqlblock info disks.sqlite dedup --json | grep block_size)" ] ||
  fail "a new disk has other blocks than the server's"
for file in files other uris; do
  sqlblock check -q $file.sqlite || fail "$file.sqlite is damaged"
done

# Only what changed is in them.
[ "$(stat -c %b dedup.5)" -lt "$(stat -c %b dedup.0)" ] ||
  echo "the last increment is as large as the first"

# Up to now: no snapshot, and then from the same one again.
change plain
sqlblock import -q --increment uris.sqlite plain "$(uri s plain@s5..)"
sqlblock export -q disks.sqlite plain wanted --force
sqlblock export -q uris.sqlite plain got --force
cmp wanted got || fail "an increment up to now"
change plain
sqlblock snapshot create -q disks.sqlite plain@s6
fails 1 "was written since its snapshot 's5'" import --increment uris.sqlite \
  plain "$(uri s plain@s5..s6)"
sqlblock import -q --increment --rollback uris.sqlite plain \
  "$(uri s plain@s5..s6)"
same uris.sqlite plain 6
fails 2 "--rollback goes with --increment only" import uris.sqlite x plain.0 -F
fails 2 "leave out --size" import --increment uris.sqlite x plain.0 --size=1M

# --- What does not fit -------------------------------------------------------

sqlblock import -q --increment --create test.sqlite web plain.0
state ()
{
  sqlblock list test.sqlite --all --json
  sqlblock export -q test.sqlite web - | cksum
}
before=$(state)

# refused CODE TEXT ARGUMENT...: and nothing has changed.
refused ()
{
  local code=$1 text=$2
  shift 2
  fails "$code" "$text" import --increment test.sqlite "$@"
  [ "$(state)" = "$before" ] || fail "something has changed: $*"
}
refused 1 "does not have the snapshot 's1' with which plain.2 begins" \
  web plain.2
refused 1 "does not have the snapshot 's0' with which dedup.1 begins" \
  web dedup.1
refused 4 "has this snapshot already, as 's0'" web plain.0
refused 3 "there is no disk 'mail'" mail plain.1
refused 3 "opening nothing: No such file" web nothing
refused 3 "opening increment.py.map: No such file" web increment.py
refused 1 "is no regular file" web "$tmp"
refused 1 "plain?socket=$tmp/s is no increment" web "$(uri s plain)"
refused 3 "server has no export named 'plain@s9..s1'" web \
  "$(uri s plain@s9..s1)"
cp test.sqlite old.sqlite
printf 'changes of web@/%016d..a/%016d/1\n0 9 3\n' 0 1 >test.sqlite.map
refused 1 "test.sqlite is the database test.sqlite" web test.sqlite
rm test.sqlite.map

# The map: cut off, with a gap, longer, with nonsense.
map ()
{
  cp plain.1 bad
  sed "$1" plain.1.map >bad.map
}
map '$d'
refused 1 "but bad has 3000001 bytes" web bad
map '3d'
refused 1 "makes no sense" web bad
map '2p'
refused 1 "makes no sense" web bad
map '$p'
refused 1 "makes no sense" web bad
map '4s/ [0-9]*$/ 4/'
refused 1 "makes no sense" web bad
map '4s/ [0-9]/ -&/'
refused 1 "is no extent" web bad
map '4s/ .*//'
refused 1 "is no extent" web bad
map '1d'
refused 1 "bad is no increment: the first line of its map" web bad
map '1s/\.\./../;1s/^/ /'
refused 1 "is no increment" web bad
map ''
truncate -s -1 bad.map
refused 1 "cut off in its last line" web bad
map ''
truncate -s -1 bad
refused 1 "makes no sense" web bad
: >bad.map
refused 1 "is no increment" web bad
# Nothing but the first line, as where there was no space for more.
: >bad
head -n 1 plain.1.map >bad.map
refused 1 "bad is empty" web bad

# Random changes of a map: refused, or taken for what they say; no harm is done.
cat >mutate.py <<'EOF2'
import random, sys
random.seed(int(sys.argv[1]))
map = bytearray(open("plain.1.map", "rb").read())
for _ in range(1 + random.randrange(3)):
    at = random.randrange(len(map))
    what = random.randrange(3)
    if what == 0:
        map[at] = random.randrange(256)
    elif what == 1:
        del map[at:at + 1 + random.randrange(9)]
    else:
        map[at:at] = random.choice([b"0", b"9", b"\n", b" ", b"-", b"\0"])
open("bad.map", "wb").write(map)
EOF2
cp plain.1 bad
taken=0
for i in $(seq 60); do
  python3 mutate.py $((seed++))
  code=0
  sqlblock import -q --increment test.sqlite web bad 2>err || code=$?
  case $code in
    0) taken=$((taken + 1)); cp old.sqlite test.sqlite; rm -f test.sqlite-* ;;
    1) [ "$(state)" = "$before" ] || fail "changed by a bad map: seed $seed" ;;
    *) cat err >&2; fail "a bad map: exit code $code, seed $seed" ;;
  esac
done
echo "$taken of 60 changed maps were taken"

# --- Interrupted -------------------------------------------------------------

# While it reads from a slow server, that is killed, or it is killed itself.
kill_nbdkit
slow=(--filter=delay "$plugin" disks.sqlite delay-read=1)
start_nbdkit slow "${slow[@]}"
sqlblock import --increment test.sqlite web "$(uri slow plain@s0..s1)" 2>err \
  & import=$!
started_pids+=("$import")
wait_for is_receiving test.sqlite
kill_nbdkit
code=0
wait "$import" || code=$?
[ "$code" = 1 ] || fail "exit code $code: $(cat err)"
grep -q "plain@s0..s1?socket=$tmp/slow: reading" err || fail "$(cat err)"
[ "$(state)" = "$before" ] || fail "a server that died has changed something"

start_nbdkit slow "${slow[@]}"
sqlblock import -q --increment test.sqlite web "$(uri slow plain@s0..s1)" \
  & import=$!
started_pids+=("$import")
wait_for is_receiving test.sqlite
kill -9 "$import"
wait "$import" 2>/dev/null || :
kill_nbdkit
[ "$(state)" = "$before" ] || fail "a command that died has changed something"
sqlblock import -q --increment test.sqlite web plain.1
same test.sqlite web 1 plain
before=$(state)

# While a server has the disk open for writing.
start_nbdkit t "$plugin" test.sqlite
nbdsh -u "$(uri t web)" -c 'print ("there", flush=True)' \
  -c 'import time; time.sleep (100)' >there & client=$!
started_pids+=("$client")
wait_for grep -q there there
fails 5 "the disk open for writing" import --increment test.sqlite web plain.2
kill -9 "$client"
wait "$client" 2>/dev/null || :
sqlblock import -q --increment test.sqlite web plain.2
same test.sqlite web 2 plain
sqlblock compact -q test.sqlite
sqlblock check -q test.sqlite || fail "test.sqlite is damaged"
