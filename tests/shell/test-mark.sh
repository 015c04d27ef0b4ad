#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A log belongs to its file: a server or a command refuses a file that lost its
# log, or has another's beside it, says what to do, and changes nothing. And
# what is in order is never refused: after a clean end, kill -9 again and
# again, copies by SQLite, several servers.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"

# fill URI SEED: write and flush 4 MiB.
fill ()
{
  nbdsh -u "$1" -c "
import random
r = random.Random($2)
for i in range(64):
    h.pwrite(r.randbytes(65536), i * 65536)
h.flush()"
}

# sums FILE: those of the database and all that belongs to it.
sums ()
{
  cksum "$1" "$1"-* 2>&1 || :
}

# refused FILE TEXT: by all, and nothing is changed.
refused ()
{
  local before
  before=$(sums "$1")
  expect_error "$2" nbdkit "$plugin" "$1" -U - --run true
  expect_error "$2" nbdkit -r "$plugin" "$1" -U - --run true
  expect_error "$2" sqlblock list "$1"
  expect_error "$2" sqlblock backup "$1" copy
  expect_error "$2" sqlblock snapshot create "$1" disk@new
  fails 6 "$2" check "$1"
  fails 6 "$2" check --repair "$1"
  sqlblock check --json "$1" >json 2>err && fail "check --json says nothing"
  grep -q "$2" json || fail "check --json does not say $2"
  [ "$before" = "$(sums "$1")" ] || {
    sums "$1"
    fail "a refused $1 was changed: $before"
  }
}

# accepted FILE: there is nothing wrong with it.
accepted ()
{
  sqlblock check "$1" >out 2>&1 || {
    cat out
    fail "$1 is refused"
  }
}

# crash FILE SEED: a server that is killed after it has written.
crash ()
{
  start_nbdkit crash.sock "$plugin" "$1" size=16M
  fill "$(uri crash.sock)" "$2"
  kill_nbdkit
  [ -s "$1-wal" ] || fail "no log is left of $1"
}

# copy FROM TO: with its log.
copy ()
{
  rm -f "$2" "$2-wal" "$2-shm"
  cp "$1" "$2"
  if [ -e "$1-wal" ]; then
    cp "$1-wal" "$2-wal"
  fi
}

# --- A clean end -------------------------------------------------------------

start_nbdkit a.sock "$plugin" disk.sqlite size=16M
fill "$(uri a.sock)" 1
stop_nbdkit
[ ! -e disk.sqlite-wal ] && [ ! -e disk.sqlite-shm ] ||
  fail "a log is left after a clean end"
accepted disk.sqlite
cp disk.sqlite monday

# --- A file without its log --------------------------------------------------

crash disk.sqlite 2
cp disk.sqlite tuesday
cp disk.sqlite-wal tuesday-wal
copy tuesday lost
rm lost-wal
refused lost "is missing"
# An empty one is none, and one of nonsense neither.
true >lost-wal
refused lost "is missing"
head -c 100000 /dev/urandom >lost-wal
refused lost "is missing"
rm lost-wal
# With it all is well.
cp tuesday-wal lost-wal
accepted lost

# While a server writes, a copy of the file alone is none.
start_nbdkit b.sock "$plugin" tuesday
fill "$(uri b.sock)" 3
cp tuesday torn
fill "$(uri b.sock)" 4
kill_nbdkit
refused torn "is missing"

# A copy of the file alone that was begun while the file was closed, and goes on
# while a server writes: begun with the first 64 KiB, 1 MiB, ....
cp monday closed
start_nbdkit h.sock "$plugin" closed log-size=1M
fill "$(uri h.sock)" 3
stop_nbdkit
accepted closed
for begun in 65536 1048576 4000000; do
  cp closed running
  head -c $begun running >torn
  start_nbdkit h.sock "$plugin" running log-size=1M
  fill "$(uri h.sock)" $begun
  [ $(($(stat -c %s running))) -gt $begun ] || fail "the file is too short"
  tail -c +$((begun + 1)) running >>torn
  refused torn "of different times"
  # When it is closed again, too.
  stop_nbdkit
  head -c $begun closed >torn
  tail -c +$((begun + 1)) running >>torn
  refused torn "of different times"
  # Who accepts it has it checked, and here most is of another time.
  if [ $begun = 4000000 ]; then
    before=$(cksum torn)
    fails 6 "problems" check --accept torn
    [ "$before" = "$(cksum torn)" ] || fail "a torn copy was changed"
    refused torn "of different times"
  fi
  # And what is whole is taken.
  cp running whole
  accepted whole
  head -c $begun closed >whole
  tail -c +$((begun + 1)) closed >>whole
  accepted whole
done
# Where nothing but the stamp is of another time it is accepted, when asked.
cp closed running
start_nbdkit h.sock "$plugin" running
nbdsh -u "$(uri h.sock)" -c 'h.pwrite(bytes(4096), 15 << 20)'
end=$(($(stat -c %s closed) - 4096))
head -c $end closed >torn
tail -c +$((end + 1)) running >>torn
stop_nbdkit
refused torn "of different times"
sqlblock check --accept torn >out 2>err || fail "it was not accepted: $(cat err)"
grep -q "taken as it is" out err || fail "nothing says that it was accepted"
accepted torn
rm torn running whole

# --- The log of another time, or of another file -----------------------------

cp monday mixed
cp disk.sqlite-wal mixed-wal
accepted mixed # it began after Monday
crash disk.sqlite 5
start_nbdkit c.sock "$plugin" disk.sqlite
fill "$(uri c.sock)" 6
stop_nbdkit
crash disk.sqlite 7
rm -f mixed*
cp monday mixed
cp disk.sqlite-wal mixed-wal
refused mixed "does not belong"
rm -f mixed*
crash other.sqlite 8
cp disk.sqlite mixed
cp other.sqlite-wal mixed-wal
refused mixed "does not belong"
# That of the same file, which was copied before the file: meanwhile all of it,
# and more, has been moved, and it would put old pages over new ones.
start_nbdkit g.sock "$plugin" disk.sqlite
fill "$(uri g.sock)" 12
cp disk.sqlite-wal early
fill "$(uri g.sock)" 13
tries=0
while [ -s disk.sqlite-wal ]; do
  [ $((tries += 1)) -lt 300 ] || fail "the log is not closed"
  sleep 0.1
done
rm -f mixed*
cp disk.sqlite mixed
kill_nbdkit
accepted mixed
cp early mixed-wal
refused mixed "does not belong"
rm mixed-wal
crash disk.sqlite 7
# A copy that is complete, too.
copy disk.sqlite whole
sqlblock backup whole copied >/dev/null 2>&1
cp other.sqlite-wal copied-wal
refused copied "does not belong"
rm copied-wal
accepted copied

# --- Accepting ---------------------------------------------------------------

# The sqlite3 shell, as the last one, has moved the log into the file: it is
# whole, but that cannot be seen.
copy disk.sqlite shell
query shell 'SELECT count (*) FROM disk' >/dev/null
[ ! -s shell-wal ] || fail "another program left the log"
refused shell "is missing"
# A log of another one is never thrown away.
cp other.sqlite-wal shell-wal
before=$(sums shell)
fails 6 "does not belong" check --accept shell
[ "$before" = "$(sums shell)" ] || fail "a refused file was changed"
rm -f shell-*
fails 2 "" check --accept --repair shell
sqlblock check --accept shell >out 2>err || fail "it was not accepted"
grep -q "taken as it is" out err || fail "nothing says that it was accepted"
accepted shell
[ ! -e shell-wal ] || fail "a log is left of a command"
# Now there is nothing to accept, which is said; nor is there beside a server.
before=$(cksum shell)
sqlblock check --accept shell >out 2>err || fail "a whole file is refused"
grep -q "nothing to accept" err || fail "it is not said: $(cat out err)"
! grep -q "taken as it is" out err || fail "a whole file was accepted"
[ "$before" = "$(cksum shell)" ] || fail "a whole file was changed"
start_nbdkit d.sock "$plugin" shell
fill "$(uri d.sock)" 9
stop_nbdkit
accepted shell
# Its old log does not fit any more.
cp disk.sqlite-wal shell-wal
refused shell "does not belong"

# What is torn is not accepted.
copy disk.sqlite half
rm half-wal
truncate -s $(($(stat -c %s half) / 8192 * 4096)) half
before=$(cksum half)
fails 6 "" check --accept half
[ "$before" = "$(cksum half)" ] || fail "a damaged file was changed"

# --- What SQLite copies ------------------------------------------------------

start_nbdkit e.sock "$plugin" disk.sqlite
fill "$(uri e.sock)" 10
query disk.sqlite "VACUUM INTO 'vacuumed'"
accepted vacuumed
start_nbdkit f.sock "$plugin" vacuumed
fill "$(uri f.sock)" 11
kill_nbdkit
accepted vacuumed
rm vacuumed-wal
refused vacuumed "is missing"

# --- Never a false alarm -----------------------------------------------------

# Two servers and a command; the servers are killed, or end, at some time.
sqlblock create -q disk.sqlite a --size=4M
sqlblock create -q disk.sqlite b --size=4M
for i in $(seq 9); do
  start_nbdkit one.sock "$plugin" disk.sqlite log-size=1M
  one=$nbdkit_pid
  start_nbdkit two.sock "$plugin" disk.sqlite
  two=$nbdkit_pid
  fill "$(uri one.sock a)" "$i" &
  filler=$!
  fill "$(uri two.sock b)" "$i"
  sqlblock snapshot create -q disk.sqlite "a@s$i"
  wait $filler
  sleep 0.$((RANDOM % 10))
  case $((i % 3)) in
  0) kill_nbdkit "$one" && kill_nbdkit "$two" ;;
  1) stop_nbdkit "$one" && kill_nbdkit "$two" ;;
  2) kill_nbdkit "$one" && stop_nbdkit "$two" ;;
  esac
  copy disk.sqlite again
  accepted again
  [ $((i % 4)) != 0 ] || accepted disk.sqlite
done
