#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# import --create makes a new database beside its name, without a log. It must
# be what it would be if the disk had been imported into an empty one, be there
# complete or not at all, and leave nothing when it is killed, interrupted or
# has no room.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp mkfifo sqlite3

PATH=$top_builddir/tool:$PATH
cd "$tmp"

python3 - <<'EOF2'
import random
random.seed(5)
with open("image", "wb") as file:
    file.truncate(9 * 1024 * 1024 + 12345)
    for i in range(40):
        file.seek(random.randrange(9 << 20))
        file.write(random.choice((random.randbytes(30000), b"text " * 9000)))
    file.seek(3 << 20)
    file.write(b"the same " * 4096 * 20)
    file.truncate(9 * 1024 * 1024 + 12345)
EOF2

# shown FILE: all that counts in it, without times, ids and random numbers.
shown ()
{
  for table in disk layer snapshot block content counted reclaim feature; do
    echo "--- $table"
    case $table in
      disk)
        sqlite3 "$1" "SELECT id, name, size, block_size, layer, description,
          compression, level, deduplicate, quota, epoch FROM disk" 2>/dev/null ||
          sqlblock info "$1" web | grep -vi created
        ;;
      *) sqlite3 "$1" "SELECT * FROM $table" | sha256sum ;;
    esac
  done
  sqlite3 "$1" "SELECT kind, owner, key FROM property"
  for pragma in page_size auto_vacuum journal_mode encoding application_id \
    user_version freelist_count integrity_check; do
    echo "$pragma: $(sqlite3 "$1" "PRAGMA $pragma")"
  done
  sqlite3 "$1" .schema
}

for options in "" "-b 64k" "-c none" "--dedup" "-b 512 -c none" \
  "--size=12M -d words"; do
  rm -f new.sqlite* usual.sqlite*
  sqlblock import -q --create $options new.sqlite web image
  [ "$(ls new.sqlite*)" = new.sqlite ] || fail "beside it: $(ls new.sqlite*)"
  [ "$(stat -c %a new.sqlite)" = 600 ] || fail "the mode of a new database"
  block_size=$(sed -n 's/.*-b \([^ ]*\).*/\1/p' <<<"$options")
  sqlblock create -q usual.sqlite x --size=1M \
    ${block_size:+--block-size=$block_size}
  sqlblock delete -q usual.sqlite x
  sqlblock import -q $options usual.sqlite web image
  sqlblock check -q new.sqlite || fail "new with $options: check"
  for name in new usual; do
    sqlblock export -q $name.sqlite web $name.raw
    cp $name.sqlite copy.sqlite
    shown copy.sqlite | sed 's/^[0-9]*|web/web/' |
      grep -v -e "^--- " >$name.shown
    rm -f copy.sqlite*
  done
  cmp new.raw usual.raw
  # A disk that had another before it has other ids, so rows are not compared.
  for word in page_size auto_vacuum journal_mode encoding application_id \
    user_version freelist_count integrity_check CREATE; do
    diff <(grep "$word" new.shown) <(grep "$word" usual.shown) ||
      fail "$word differs with '$options'"
  done
  [ "$(query new.sqlite 'SELECT count (*), sum (length (data)) FROM block')" = \
    "$(query usual.sqlite 'SELECT count (*), sum (length (data)) FROM block')" ] ||
    fail "other rows with '$options'"
  grep -q "auto_vacuum: 2" new.shown && grep -q "journal_mode: wal" new.shown ||
    fail "settings of the file: $(cat new.shown)"
  # It is served, written, and goes on like any other.
  start_nbdkit n "$plugin" new.sqlite
  nbdsh -u "$(uri n web)" -c 'h.pwrite(b"y" * 5000, 1000); h.flush()'
  stop_nbdkit
  sqlblock check -q new.sqlite
  rm -f *.raw
done

# Data in pieces that are shorter than a block: a block that is written again
# gives up what it shared.
python3 - <<'EOF2'
with open("pieces", "wb") as file:
    for i in range(64):
        file.seek(i * 12288)
        file.write(b"%d" % (i % 8) * 4096)
EOF2
sqlblock import -q --create --dedup -b 64k pieces.sqlite web pieces
sqlblock export pieces.sqlite web - | cmp - pieces
sqlblock check -q pieces.sqlite || fail "pieces of blocks that are shared"

# Through a pipe, of a size that nobody knows before, and with one.
cat image | sqlblock import -q --create pipe.sqlite web -
sqlblock export pipe.sqlite web - | cmp - image
sqlblock check -q pipe.sqlite
[ "$(query pipe.sqlite 'SELECT size FROM disk')" = "$(stat -c %s image)" ] ||
  fail "the size of what came through a pipe"
got=0
head -c 100000 image | sqlblock import -q --create --size=1M new2.sqlite web - \
  2>err || got=$?
[ "$got" = 1 ] && grep -q "ended after" err || fail "cut short: $got"
[ -z "$(ls | grep new2)" ] || fail "left behind: $(ls)"

# Where something is there already, it is as it was.
fails 4 "already" import --create pipe.sqlite web image
sqlblock import -q --create pipe.sqlite other image
sqlblock export pipe.sqlite other - | cmp - image
echo "precious" >file
fails 1 "not an SQLite database" import --create file web image
[ "$(cat file)" = precious ] || fail "a file was overwritten"
ln -s nowhere link
fails 3 "symbolic link" import --create link web image
echo log >orphan.sqlite-wal
fails 4 "another database" import --create orphan.sqlite web image
[ "$(cat orphan.sqlite-wal)" = log ] && [ ! -e orphan.sqlite ] ||
  fail "another database's log"
# A name that another database's file has, or the other way round.
cp pipe.sqlite owner.sqlite
for part in wal shm journal lock; do
  fails 1 "belongs to the database" import --create owner.sqlite-$part web image
  fails 1 "belongs to the database" create owner.sqlite-$part web --size=1M
  fails 1 "belongs to the database" backup pipe.sqlite owner.sqlite-$part
  fails 1 "belongs to" export pipe.sqlite web owner.sqlite-$part
  sqlblock create -q beside.sqlite-$part web --size=1M
  fails 4 "beside.sqlite-$part" import --create beside.sqlite web image
  sqlblock check -q beside.sqlite-$part
  rm beside.sqlite-$part*
done
[ -z "$(ls beside.* 2>/dev/null)" ] || fail "left behind: $(ls beside.*)"
# What only looks like it is no matter.
echo text >notes
sqlblock create -q notes-wal web --size=1M
sqlblock export -q pipe.sqlite web notes-lock
rm -f notes*
fails 3 "" import --create no/such/directory web image
fails 1 "power of two" import --create -b 1000 bad.sqlite web image
fails 1 "but the disk" import --create --size=1M bad.sqlite web image
sqlblock import -n --create bad.sqlite web image
[ ! -e bad.sqlite ] || fail "a database that was only to be tried"
# To try it has the same exit codes.
fails 3 "no/such" import -n --create no/such/directory web image
fails 4 "another database" import -n --create orphan.sqlite web image
fails 1 "belongs to the database" import -n --create pipe.sqlite-wal web image
fails 4 "already" import -n pipe.sqlite web image
start_nbdkit p "$plugin" pipe.sqlite
nbdsh -u "$(uri p web)" -c 'import time; time.sleep(30)' &
client=$!
started_pids+=("$client")
for i in $(seq 100); do
  got=0
  sqlblock import -q --overwrite pipe.sqlite web image 2>err || got=$?
  [ "$got" = 0 ] || break
done
[ "$got" = 5 ] || fail "over a disk that is open: $got $(cat err)"
fails 5 "" import -n --overwrite pipe.sqlite web image
kill "$client"
stop_nbdkit

# Two at a time: one wins, and the other changes nothing.
mkfifo fifo
sqlblock import -q --create race.sqlite slow fifo 2>err &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c 3000000 image >&9
sqlblock import -q --create race.sqlite fast image
exec 9>&-
got=0
wait "$pid" || got=$?
[ "$got" = 4 ] || fail "the second one: $got $(cat err)"
[ "$(sqlblock list race.sqlite --names)" = fast ] || fail "both are there"
sqlblock check -q race.sqlite
! ls race.sqlite.new-* 2>/dev/null || fail "the loser has left its file"

# Interrupted, and killed.
sqlblock import -q --create stopped.sqlite web fifo 2>err &
pid=$!
started_pids+=("$pid")
exec 9>fifo
head -c 5000000 image >&9
sleep 0.3
kill "$pid"
got=0
wait "$pid" || got=$?
exec 9>&-
[ "$got" = 143 ] || fail "SIGTERM: exit code $got"
[ -z "$(ls | grep stopped)" ] || fail "left behind: $(ls)"
head -c 60000000 < <(yes) >large
for i in $(seq 12); do
  sqlblock import -q --create killed.sqlite web large &
  pid=$!
  sleep 0.$((RANDOM % 3))$((RANDOM % 10))
  kill -9 "$pid" 2>/dev/null || :
  wait "$pid" 2>/dev/null || :
  if [ -e killed.sqlite ]; then
    sqlblock check -q killed.sqlite
    sqlblock export -q killed.sqlite web - | cmp - large
    rm killed.sqlite
  fi
  rm -f killed.sqlite.new-* killed.sqlite-*
  [ -z "$(ls | grep killed)" ] || fail "left behind: $(ls)"
done

# What fails in the middle, in any of the threads, ends the command at once, and
# nothing is left: the file cannot grow, memory is short, the source ends, or
# its server does. Each has more than is on its way at a time.
head -c 30000000 /dev/urandom >random
sqlblock import -q --create whole.sqlite web random
sqlblock check -q whole.sqlite
sqlblock export -q whole.sqlite web - | cmp - random
# nothing_left CODE WHY: and it was not a matter of time.
nothing_left ()
{
  [ "$got" = "$1" ] || fail "$2: exit code $got: $(cat err)"
  [ -z "$(ls | grep broken)" ] || fail "$2 has left: $(ls)"
}
for blocks in 200 20000 30000; do
  got=0
  (ulimit -f $blocks && exec timeout 60 sqlblock import -q --create \
    broken.sqlite web random) 2>err || got=$?
  nothing_left 1 "a file of at most $blocks KiB"
done
succeeded=
for kib in 30000 50000 70000 100000 150000 1000000; do
  got=0
  (ulimit -v $kib && exec timeout 60 sqlblock import -q --create \
    broken.sqlite web random) 2>err || got=$?
  if [ "$got" = 0 ]; then
    sqlblock export -q broken.sqlite web - | cmp - random
    rm broken.sqlite*
    succeeded=yes
  elif [ "$got" = 124 ] || [ "$got" -ge 128 ]; then
    fail "with $kib KiB of memory: exit code $got: $(cat err)"
  fi
  nothing_left "$got" "$kib KiB of memory"
done
[ "$succeeded" ] || fail "it needs more than a GiB of memory"
got=0
head -c 28000000 random | timeout 60 sqlblock import -q --create \
  --size=30000000 broken.sqlite web - 2>err || got=$?
nothing_left 1 "a pipe that ends early"
grep -q "ended after 28000000" err || fail "a pipe that ends: $(cat err)"
# It answers requests for what lies before the middle.
start_nbdkit e eval get_size="echo 30000000" \
  pread='[ $4 -lt 28000000 ] || { echo EIO broken >&2; exit 1; }
    head -c $3 /dev/zero | tr "\\0" x'
got=0
timeout 60 sqlblock import -q --create broken.sqlite web "$(uri e)" 2>err ||
  got=$?
nothing_left 1 "a server that fails"
stop_nbdkit

if ! "${own_mounts[@]}" true 2>/dev/null; then
  echo "mounting needs root: full file systems were not tried"
  exit
fi
export -f fails fail
"${own_mounts[@]}" bash -euo pipefail <<'EOF2'
mkdir small
mount -t tmpfs -o size=3M none small
fails 1 "full" import -c none --create small/d.sqlite web large
[ -z "$(ls -A small)" ] || fail "left behind: $(ls -A small)"
EOF2
