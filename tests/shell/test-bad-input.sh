#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What the plugin must refuse, each with an error that says what is wrong
# and with nothing changed: parameters without sense or that do not fit
# the disk, and files that are not a whole sqlblock database.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdinfo python3 sha256sum timeout

work=$tmp/work
mkdir "$work"
cd "$work"

# state: all that a refused start could have changed. (Readers note in
# a -shm which frames they read; it is no part of the contents.) Files that
# find tells by the expression in "ignore" are left out.
ignore=(-false)
state ()
{
  find "$work" ! \( "${ignore[@]}" \) -printf '%P %y\n' | sort
  find "$work" ! -type d ! -name '*-shm' ! \( "${ignore[@]}" \) \
    -printf '%P %m %U %s %T@\n' | sort
  find "$work" -type f ! -name '*-shm' ! \( "${ignore[@]}" \) \
    -exec sha256sum {} + | sort
}

# refused REGEX ARGUMENT...: a start with these arguments ends with an error
# line that has the expression, and leaves everything as it was.
refused ()
{
  local regex=$1 status=0
  shift
  state >"$tmp/before"
  timeout 20 nbdkit -U - "$plugin" "$@" --run true >"$tmp/log" 2>&1 ||
    status=$?
  state >"$tmp/after"
  [ $status -ne 0 ] || fail "this was accepted: $*"
  [ $status -lt 124 ] || fail "status $status: $*: $(cat "$tmp/log")"
  LC_ALL=C grep -qaiE -- "error: .*($regex)" "$tmp/log" || {
    cat "$tmp/log" >&2
    fail "no error with «$regex»: $*"
  }
  diff "$tmp/before" "$tmp/after" || fail "this changed something: $*"
}

# accepted ARGUMENT...: this start works.
accepted ()
{
  timeout 20 nbdkit -U - "$plugin" "$@" --run 'nbdinfo --size "$uri"' \
    >"$tmp/log" 2>&1 || {
    cat "$tmp/log" >&2
    fail "this was to work: $*"
  }
}

# sql FILE STATEMENT...: change a file behind the plugin's back.
sql ()
{
  python3 - "$@" <<'EOF2'
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    database.execute(statement).fetchall()
EOF2
  "$top_builddir/tests/seal" "$1"
}

# Parameters alone; no file may appear.
refused "db=" size=1M
refused "db.* empty" db= size=1M
refused "size=" new.sqlite
refused "size=" new.sqlite export=web
refused "size=" new.sqlite block-size=4096 description=text
for size in 0 -1 -1G garbage 1Q 1.5 "" 9223372036854775808 8E 16E \
  18446744073709551616 99999999999999999999; do
  refused "size=" new.sqlite size="$size"
done
for block in 0 1 256 511 513 1000 4095 12288 2M 1G -4096 garbage "" \
  4294971392 18446744073709555712; do
  refused "block.size" new.sqlite size=1M block-size="$block"
done
refused "unknown parameter 'sise'" new.sqlite sise=1M
refused "unknown parameter 'x'" new.sqlite size=1M x=y
refused "unknown parameter 'Size'" new.sqlite Size=1M
refused db new.sqlite db=other.sqlite size=1M
refused db new.sqlite other.sqlite size=1M
refused size new.sqlite size=1M size=1M
refused export new.sqlite size=1M export=a export=b
refused "block.size" new.sqlite size=1M block-size=4096 block-size=4096
refused description new.sqlite size=1M description=a description=a

# What a size or a choice means does not depend on nbdkit: numbers are decimal,
# and the command says the same, by the same words.
made ()
{
  query made.sqlite \
    "SELECT size, block_size, quota, deduplicate FROM disk WHERE name = 'disk'"
}

# same COMMAND PARAMETER...: the plugin and the command make the same disk, or
# say the same of the last value. The command gets the parameters as options.
same ()
{
  local by_plugin by_command option options=()
  rm -f made.sqlite*
  by_plugin=$(timeout 20 nbdkit -U - "$plugin" made.sqlite "$@" --run true \
    2>&1 && made) || by_plugin=${by_plugin#*=: }
  rm -f made.sqlite*
  for option; do
    [ "$option" = dedup=off ] || options+=("--${option/dedup=on/dedup}")
  done
  by_command=$("$top_builddir/tool/sqlblock" -q create made.sqlite disk \
    "${options[@]}" 2>&1 && made) || by_command=${by_command#*: }
  rm -f made.sqlite*
  [ "$by_plugin" = "${by_command%%$'\n'*}" ] ||
    fail "$*: «$by_plugin» by the plugin, «$by_command» by the command"
  said=$by_plugin
}
while read -r text bytes; do
  same size="$text"
  [ "$said" = "$bytes 4096 None 0" ] || fail "size=$text: $said"
  same size=1M quota="$text"
  [ "$said" = "1048576 4096 $bytes 0" ] || fail "quota=$text: $said"
done <<'EOF2'
010M 10485760
0010 10
1.5G 1610612736
01.50k 1536
8S 4096
4096b 4096
3g 3221225472
4e 4611686018427387904
EOF2
for text in 0x10 0x10M 010x 1e3 +1M -1M 1MB 1MiB 1_000 "1 M" .5G 0 00 0b101 \
  9223372036854775808 8E 1Q; do
  same size="$text"
  [ "${said#"'$text' is not a size of a disk: "}" != "$said" ] ||
    fail "size=$text: $said"
  same size=1M block-size="$text"
  [ "${said#"'$text' is not a size of blocks: "}" != "$said" ] ||
    fail "block-size=$text: $said"
  same size=1M quota="$text"
  [ "${said#"'$text' is not a quota: "}" != "$said" ] ||
    fail "quota=$text: $said"
  refused "log-size=: '.*' is not a size" new.sqlite size=1M log-size="$text"
  case $text in
    0|00) ;;
    *) refused "reclaim=: '.*' is neither" new.sqlite size=1M \
         reclaim="$text" ;;
  esac
done
same size=1M block-size=0512
[ "$said" = "1048576 512 None 0" ] || fail "block-size=0512: $said"
for text in on True T yes Y 1; do
  same size=1M dedup=on
  accepted new.sqlite size=1M dedup="$text"
  [ "$(query new.sqlite "SELECT deduplicate FROM disk")" = 1 ] ||
    fail "dedup=$text"
  rm new.sqlite*
done
for text in 01 2 maybe ""; do
  for key in dedup shared one-machine list-snapshots; do
    refused "$key=: '.*' is neither on nor off" new.sqlite size=1M \
      "$key=$text"
  done
done
# Spans of time, and levels, have always been read by one function.
for text in 010x 0x10m 10 1.5h +1h " 1h" 0h ""; do
  refused "auto-snapshot=" new.sqlite size=1M auto-snapshot="$text"
  refused "keep=" new.sqlite size=1M auto-snapshot=1h keep="$text:1d"
  refused "scrub=" new.sqlite size=1M scrub="$text"
done

# Names and descriptions.
refused name\|export new.sqlite size=1M export=
refused "a snapshot, which cannot be made" new.sqlite size=1M export=web@monday
refused "name.*/" new.sqlite size=1M export=a/b
refused "'a" new.sqlite size=1M export=$'a\nb'
refused name new.sqlite size=1M export=$'\xff\xfe'
refused name new.sqlite size=1M export="$(printf '%0300d' 0)"
refused description new.sqlite size=1M description=$'a\nb'
refused description new.sqlite size=1M description="$(printf '%05000d' 0)"

# Places.
refused "no/such/new.sqlite" no/such/new.sqlite size=1M
refused "no/such/new.sqlite" no/such/new.sqlite
mkdir directory
refused directory directory size=1M
refused directory directory
touch file
refused "file/new.sqlite" file/new.sqlite size=1M
mkfifo fifo
refused fifo fifo size=1M
refused fifo fifo
ln -s nowhere/at-all.sqlite link
refused link\|nowhere link size=1M
refused link\|nowhere link

# Files that are not SQLite.
head -c 100000 /dev/urandom >random
printf 'A text of a few lines.\n%.0s' {1..100} >text
printf 'SQLite format 3\0' >header
cp header damaged
head -c 100000 /dev/urandom >>damaged
truncate -s 100000 zeroes
for file in random text header damaged zeroes; do
  refused "$file" $file
  refused "$file" $file size=1M
  refused "$file" $file size=1M export=web
done
touch empty
refused empty empty
refused empty empty size=1M

# Another application's database: at rest, with a WAL left by a crash, and
# with a WAL of a program that runs.
sql foreign "CREATE TABLE t (x)" "INSERT INTO t VALUES ('important')"
sql numbered "PRAGMA application_id = 0x73716c63" "CREATE TABLE t (x)"
sql versioned "PRAGMA user_version = 1" "CREATE TABLE disk (x)"
sql created "PRAGMA application_id = 1" "PRAGMA user_version = 1"
python3 - <<'EOF2' &
import os, signal, sqlite3, sys, time
databases = []
for name in ("crashed", "running"):
    database = sqlite3.connect(name, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL").fetchall()
    database.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
    database.execute("CREATE TABLE t (x)")
    database.execute("INSERT INTO t VALUES ('important')")
    databases.append(database)
os.mkdir("copy")
for suffix in ("", "-wal"):
    with open("crashed" + suffix, "rb") as old:
        with open("copy/crashed" + suffix, "wb") as new:
            new.write(old.read())
databases[0].close()
for suffix in ("", "-wal"):
    os.rename("copy/crashed" + suffix, "crashed" + suffix)
os.rmdir("copy")
open("ready", "w").close()
time.sleep(300)
EOF2
application=$!
started_pids+=("$application")
for _ in $(seq 300); do
  [ -e ready ] && break
  sleep 0.1
done
[ -s crashed-wal ] || fail "no crashed-wal"
[ -s running-wal ] || fail "no running-wal"
for file in foreign numbered versioned created crashed running; do
  refused "$file.*(not|another|application)" $file
  refused "$file.*(not|another|application)" $file size=1M
  refused "$file.*(not|another|application)" $file size=1M export=web
done
kill $application
wait $application 2>/dev/null || :
[ "$(sql crashed "SELECT x FROM t" && echo fine)" = fine ] ||
  fail "the other application's data is gone"

# What reads one of our databases may leave an empty -wal and its index.
ignore=(-name '*-shm' -o -name '*-wal' -empty)

# Our own databases: a disk that is there, and does not fit the parameters.
accepted disk.sqlite size=1M description=text
accepted disk.sqlite export=web size=2M block-size=16384
refused "disk.*1048576|1048576.*disk" disk.sqlite size=2M
refused "web.*2097152" disk.sqlite export=web size=1M
refused "block" disk.sqlite block-size=8192
refused "block" disk.sqlite size=1M block-size=512
refused "block.*16384" disk.sqlite export=web block-size=4096
refused "description" disk.sqlite size=1M description=other
for name in nothing WEB "we" "web "; do
  refused "'$name'.*disk.*web" disk.sqlite export="$name"
done
accepted disk.sqlite
accepted disk.sqlite size=1M block-size=4096 description=text
accepted disk.sqlite export=web size=2M block-size=16384

# changed REGEX STATEMENT...: a copy with these changes is refused.
changed ()
{
  local regex=$1
  shift
  cp disk.sqlite copy.sqlite
  sql copy.sqlite "PRAGMA writable_schema = ON" "$@" \
    "PRAGMA wal_checkpoint (TRUNCATE)"
  refused "copy.sqlite.*($regex)" copy.sqlite
  refused "copy.sqlite.*($regex)" copy.sqlite export=more size=1M
  refused "copy.sqlite.*($regex)" -r copy.sqlite
  rm copy.sqlite*
}

# tolerated STATEMENT...: a copy with these changes is served.
tolerated ()
{
  cp disk.sqlite copy.sqlite
  sql copy.sqlite "$@"
  accepted copy.sqlite
  accepted copy.sqlite export=more size=1M
  rm copy.sqlite*
}

changed "newer|format" "PRAGMA user_version = 7"
changed "newer|format" "PRAGMA user_version = 1000000"
changed "version|format" "PRAGMA user_version = 0"
changed "application|not" "PRAGMA application_id = 0"
changed "future" "INSERT INTO feature VALUES (9, 'future', 0, 3, 0)"
changed "foreign|table|notes" "CREATE TABLE notes (x)"
changed "foreign|trigger|spy" "CREATE TRIGGER spy AFTER INSERT ON block
  BEGIN DELETE FROM disk; END"
changed "foreign|trigger|spy" "CREATE TRIGGER spy AFTER INSERT ON disk
  BEGIN DELETE FROM block; END"
changed "index|slow" "CREATE INDEX slow ON block (data)"
changed "block" "DROP TABLE block"
changed "snapshot" "ALTER TABLE snapshot ADD COLUMN more ANY"
changed "block" "DROP TABLE block" "CREATE VIEW block AS SELECT 1"
tolerated "CREATE VIEW sizes AS SELECT name, size FROM disk" "ANALYZE"

# Features that nobody, or only who writes, must know.
cp disk.sqlite copy.sqlite
sql copy.sqlite "INSERT INTO feature VALUES (9, 'future', 0, 1, 0)"
"$top_builddir/tests/seal" copy.sqlite rows
accepted copy.sqlite
accepted copy.sqlite export=more size=1M
sql copy.sqlite "UPDATE feature SET class = 2"
"$top_builddir/tests/seal" copy.sqlite rows
accepted copy.sqlite
refused "copy.sqlite.*future" copy.sqlite export=third size=1M
timeout 20 nbdkit -U - "$plugin" copy.sqlite --run 'nbdinfo "$uri"' |
  grep -q 'is_read_only: true' || fail "a read-only feature, yet writable"
rm copy.sqlite*

# Files that lost their end.
dd if=/dev/urandom of=data bs=1M count=1 status=none
timeout 20 nbdkit -U - "$plugin" disk.sqlite \
  --run 'nbdcopy --flush data "$uri"'
timeout 20 nbdkit -U - "$plugin" disk.sqlite --run true
for bytes in 100 4096 10000 500000; do
  head -c $bytes disk.sqlite >short.sqlite
  refused "short.sqlite" short.sqlite
  refused "short.sqlite" short.sqlite size=1M
  refused "short.sqlite" short.sqlite export=more size=1M
  rm short.sqlite
done

# A directory without permission to write.
cp "$plugin" "$tmp/plugin.so"
mkdir closed
mkdir -m 777 "$tmp/sockets"
user=()
if [ "$(id -u)" = 0 ]; then
  need setpriv
  chmod 755 "$tmp" "$work"
  user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
chmod 555 closed
state >"$tmp/before"
expect_error closed/new.sqlite "${user[@]}" timeout 20 \
  nbdkit -U "$tmp/sockets/s" "$tmp/plugin.so" closed/new.sqlite size=1M \
  --run true
state >"$tmp/after"
diff "$tmp/before" "$tmp/after" || fail "something in closed changed"
