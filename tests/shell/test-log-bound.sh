#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The log keeps its bound with any number of servers and commands: within a
# factor of two of log-size=, however many of them read and write.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit python3
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"
PATH=$top_builddir/tool:$PATH

bound=16
db=$tmp/disks
sqlblock create "$db" a --size=1G --compression=none >/dev/null
sqlblock create "$db" b --size=1G --compression=none >/dev/null

cat >"$tmp/load.py" <<'EOF2'
"""Write or read a disk at random places until a time."""
import nbd, os, random, sys, time

socket, name, what, seconds = sys.argv[1:5]
h = nbd.NBD()
h.set_export_name(name)
h.connect_unix(socket)
data = os.urandom(1 << 20)
end = time.time() + float(seconds)
count = 0
while time.time() < end:
    if what == "write":
        h.pwrite(data, random.randrange(128) << 20)
    else:
        h.pread(4096, random.randrange(32 << 8) << 12)
    count += 1
if count < 10:
    sys.exit("%s %s: only %d requests in %s s" % (what, name, count, seconds))
EOF2

load ()
{
  timeout 100 python3 "$tmp/load.py" "$tmp/$1" "$2" "$3" "$4"
}

# The largest size of the log while the file $tmp/running is there, in bytes.
watch_log ()
{
  local largest=0 size
  while [ -e "$tmp/running" ]; do
    size=$(stat -c %s "$db-wal" 2>/dev/null || echo 0)
    [ "$size" -le "$largest" ] || largest=$size
    sleep .005
  done
  echo "$largest" >"$tmp/largest"
}

# during NAME COMMAND ...: see how long the log gets meanwhile.
during ()
{
  local name=$1 pid
  shift
  touch "$tmp/running"
  watch_log &
  pid=$!
  failed=
  "$@" || failed=yes
  rm "$tmp/running"
  wait "$pid"
  [ -z "$failed" ] || fail "$name"
  largest=$(cat "$tmp/largest")
  echo "  $name: $((largest >> 20)) MiB"
  [ "$largest" -le $((2 * bound << 20)) ] ||
    fail "$name: the log became $largest bytes long, its bound is $bound MiB"
}

# Several at a time: each argument is those of load, or a command.
together ()
{
  local pids=() one
  for one in "$@"; do
    $one >"$tmp/out.${#pids[@]}" 2>&1 &
    pids+=($!)
  done
  for one in "${!pids[@]}"; do
    wait "${pids[one]}" || {
      cat "$tmp/out.$one" >&2
      return 1
    }
  done
}

head -c 60M /dev/urandom >"$tmp/raw"
# Without log-size=, as a server that only reads may be.
start_nbdkit one "$plugin" "$db" log-size="${bound}M"
start_nbdkit two "$plugin" "$db"
two=$nbdkit_pid
start_nbdkit three -r "$plugin" "$db" log-size="${bound}M"
load one b write 1

during "another server reads" together "load one a write 4" \
  "load two b read 4" "load two b read 4" "load three b read 4"
kill_nbdkit "$two"
start_nbdkit two "$plugin" "$db" log-size="${bound}M"
during "two servers write" together "load one a write 4" "load two b write 4" \
  "load two b read 4" "load three b read 4"
during "commands" together "load two b read 4" "load one a write 4" \
  "sqlblock import --no-progress $db new $tmp/raw" \
  "sqlblock export --no-progress $db b $tmp/copy" \
  "sqlblock backup --no-progress $db $tmp/backup"
# The check of a file keeps the log from starting over; it may be given up.
check_often ()
{
  local end=$((SECONDS + 4)) code
  while [ "$SECONDS" -lt "$end" ]; do
    code=0
    sqlblock check --no-progress "$db" || code=$?
    [ "$code" = 0 ] || [ "$code" = "$busy" ] || return 1
  done
}
busy=5
during "checks" together "load one a write 4" check_often check_often
code=0
sqlblock check --no-progress "$db" || code=$?
[ "$code" = 0 ] || fail "a check of what nobody writes: exit code $code"

# Commands that change much do that in smaller transactions where the bound is a
# small one, beside a server that has said so.
copy_all ()
{
  sqlblock import --no-progress --compression=none "$db" copied "$tmp/raw" &&
    sqlblock snapshot create "$db" copied@s &&
    sqlblock send "$db" copied@s >"$tmp/stream" &&
    sqlblock receive "$db" received <"$tmp/stream" &&
    sqlblock clone "$db" copied@s cloned &&
    sqlblock flatten "$db" cloned &&
    sqlblock set "$db" cloned compression=zstd:1 &&
    sqlblock recompress --no-progress "$db" cloned
}
for server in one two three; do
  stop_nbdkit "$(cat "$tmp/$server.pid")" || true
done
bound=1
# What they left is as long as theirs was.
sqlblock compact --no-progress "$db"
[ ! -s "$db-wal" ] || fail "the log stays: $(stat -c %s "$db-wal") bytes"
start_nbdkit four "$plugin" "$db" log-size="${bound}M"
await_answer four
import_still ()
{
  sqlblock import --no-progress --compression=none "$db" still "$tmp/raw"
}
during "an import beside a server that has not written" import_still
sqlblock set "$db" still dedup=on
during "recompress there" sqlblock recompress --no-progress "$db" still
sqlblock delete "$db" still
load four b write 1
# A client's request is one transaction, however large it is.
log_is_empty ()
{
  [ ! -s "$db-wal" ]
}
wait_for log_is_empty
during "commands that copy" copy_all

# What the server itself does in the background keeps to the bound as well: it
# gives back what was freed, for which the disk at the end of the file moves.
sqlblock import --no-progress --compression=none "$db" last - \
  < <(head -c 20M "$tmp/raw")
is_shorter ()
{
  [ "$(stat -c %s "$db")" -lt "$1" ]
}
give_back ()
{
  local before disk
  before=$(stat -c %s "$db")
  for disk in cloned received@s received copied@s copied; do
    case $disk in
      *@*) sqlblock snapshot delete --no-progress "$db" "$disk" ;;
      *) sqlblock delete --no-progress "$db" "$disk" ;;
    esac || return 1
  done
  wait_for is_shorter $((before - (100 << 20)))
}
during "giving back" give_back

for server in one two three four; do
  ! grep -q "read transaction open" "$tmp/$server.log" ||
    fail "$server blames a reader for the length of the log"
done
