#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Other programs on the same database, here sqlite3 shells: one that reads
# delays nothing, though the log cannot be shortened meanwhile; one that
# holds a lock delays writes, and fails them only after 30 seconds; nobody
# waits for a lock when the server is told to end; one that was killed and left
# a journal is named.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh sqlite3 python3
PATH=$top_builddir/tool:$PATH

db=$tmp/disk.sqlite
bound=$((8 << 20))

# write NAME COUNT: write COUNT MiB, the time it took to $tmp/NAME.
write ()
{
  nbdsh -u "$(uri s)" -c "
import os, time
start = time.monotonic()
for i in range($2):
    h.pwrite(os.urandom(1 << 20), (i % 16) << 20)
open('$tmp/$1', 'w').write(str(int(time.monotonic() - start)))" \
    2>"$tmp/$1.err"
}

# shell SQL: a sqlite3 shell that has run the statements and stays open,
# until its input is closed with shell_end.
shell ()
{
  coproc SHELL_ { exec sqlite3 -batch "$db" 2>&1; }
  started_pids+=("$SHELL__PID")
  printf '%s;\n.print ready\n' "$1" >&"${SHELL_[1]}"
  while read -r line <&"${SHELL_[0]}"; do
    [ "$line" != ready ] || return 0
  done
  fail "the shell ended"
}

shell_end ()
{
  local pid=$SHELL__PID
  eval "exec ${SHELL_[1]}>&-"
  wait "$pid" || :
}

log_bytes ()
{
  stat -c %s "$db-wal"
}

# await_log BYTES: the log becomes that short within some seconds.
await_log ()
{
  local i
  for i in $(seq 100); do
    [ "$(log_bytes)" -gt "$1" ] || return 0
    sleep 0.1
  done
  fail "the log still has $(log_bytes) bytes"
}

start_nbdkit s "$plugin" "$db" size=16M log-size=8M

# Without others the bound holds.  A request of 1 MiB may come on top, and
# pages of the tree.
for _ in 1 2 3 4 5 6 7 8; do
  write alone 10
  [ "$(log_bytes)" -le $((bound + (4 << 20))) ] ||
    fail "the log has $(log_bytes) bytes"
done
await_log 0

# A reader pins the log: writes go on past the bound, with a warning.  Then
# it shrinks again.
shell "BEGIN; SELECT count(*) FROM disk"
write reader 40
[ "$(cat "$tmp/reader")" -le 20 ] || fail "a reader delays writes"
[ "$(log_bytes)" -gt $((40 << 20)) ] || fail "the log was not pinned"
for _ in $(seq 50); do
  grep -q "warning: .*write-ahead log has grown" "$tmp/s.log" && break
  sleep 0.1
done
grep -q "warning: .*write-ahead log has grown" "$tmp/s.log" ||
  fail "no warning about the log"
shell_end
await_log 0

# A lock for some seconds delays.
shell "BEGIN EXCLUSIVE"
write locked 1 &
writer=$!
sleep 3
[ ! -e "$tmp/locked" ] || fail "a write went through a lock"
shell_end
wait "$writer" || fail "a lock of 3 seconds fails a write"
[ "$(cat "$tmp/locked")" -ge 2 ] || fail "that was no lock"

# A lock for longer than 30 seconds is an error, and no more than that.
shell "BEGIN EXCLUSIVE"
start=$SECONDS
if write forever 1; then
  fail "a write went through a lock"
fi
[ $((SECONDS - start)) -ge 29 ] || fail "no patience"
grep -q "Input/output error" "$tmp/forever.err" || fail "not EIO"
grep -q "another program holds the database locked" "$tmp/s.log" ||
  fail "the log does not say why"
shell_end
write again 1 || fail "no write after the lock was released"

# The end of the server does not wait for locks.
shell "BEGIN EXCLUSIVE"
write ending 1 &
writer=$!
sleep 1
start=$SECONDS
kill -TERM "$nbdkit_pid"
wait "$nbdkit_pid" 2>/dev/null || :
[ $((SECONDS - start)) -le 10 ] || fail "the end took $((SECONDS - start)) s"
wait "$writer" 2>/dev/null || :
shell_end

# One that was killed in the middle of a change, in a journal mode of its own,
# leaves the journal that takes it back. All say so, and change nothing; when
# somebody has done that, all is as before.
rm -f "$db"*
sqlblock create "$db" web --size=8M >/dev/null
head -c 8M /dev/urandom >"$tmp/raw"
sqlblock import "$db" web "$tmp/raw" --overwrite >/dev/null
python3 - "$db" <<'EOF2' && fail "it was not killed"
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in ("PRAGMA journal_mode = delete", "PRAGMA cache_size = 10", "BEGIN",
            "UPDATE block SET data = zeroblob (length (data))"):
    connection.execute(sql)
os.kill(os.getpid(), 9)
EOF2
[ -s "$db-journal" ] || fail "the killed program left no journal"
before=$(cksum "$db" "$db-journal")
# refused WORD...: a command is.
refused ()
{
  if "$@" >/dev/null 2>"$tmp/err"; then
    fail "$* works beside a journal"
  fi
  grep -q "left a journal" "$tmp/err" || fail "$* says: $(cat "$tmp/err")"
}
refused sqlblock list "$db"
refused sqlblock check "$db"
refused sqlblock export "$db" web "$tmp/out"
refused nbdkit "$plugin" "$db" --run true
[ "$before" = "$(cksum "$db" "$db-journal")" ] || fail "something was changed"
sqlite3 "$db" .schema >/dev/null
sqlblock export "$db" web "$tmp/out" >/dev/null
cmp "$tmp/out" "$tmp/raw" || fail "the change was not taken back"
