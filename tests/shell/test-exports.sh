#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Several disks in one database, served at once and picked by export name:
# lists, descriptions, the default disk, export= that pins one, names that
# no disk has; and no disk ever shows bytes of another.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo nbdcopy python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

db=$tmp/disks.sqlite

# exports SERVER: "name size description" of each export, sorted.
exports ()
{
  nbdinfo --list --json "$(uri "$1")" | python3 -c '
import json, sys
for export in json.load(sys.stdin)["exports"]:
    print(export["export-name"], export["export-size"],
          export.get("description", "-"))' | sort
}

# Each of these starts adds a disk to the file; a started server with
# export= shows that disk only.
start_nbdkit s "$plugin" "$db" size=1M description="The first disk"
[ "$(exports s)" = "disk 1048576 The first disk" ] || fail "$(exports s)"
kill_nbdkit
start_nbdkit s "$plugin" db="$db" export=web size=2G description="Web server"
[ "$(exports s)" = "web 2147483648 Web server" ] || fail "$(exports s)"
kill_nbdkit
odd='späte Datenbank, 100% "x"'
start_nbdkit s "$plugin" db="$db" export="$odd" size=3M
[ "$(exports s)" = "$odd 3145728 -" ] || fail "$(exports s)"
kill_nbdkit

# Without export= all are served.
start_nbdkit s "$plugin" "$db"
all_pid=$nbdkit_pid
[ "$(exports s)" = "$(printf '%s\n' "disk 1048576 The first disk" \
  "$odd 3145728 -" "web 2147483648 Web server" | sort)" ] || fail "$(exports s)"
[ "$(nbdinfo --size "$(uri s)")" = 1048576 ] || fail "not the default disk"
[ "$(nbdinfo --size "$(uri s disk)")" = 1048576 ] || fail "not disk"
[ "$(nbdinfo --size "$(uri s web)")" = 2147483648 ] || fail "not web"
encoded=$(python3 -c 'import sys, urllib.parse as u
print(u.quote(sys.argv[1]))' "$odd")
[ "$(nbdinfo --size "$(uri s "$encoded")")" = 3145728 ] || fail "not $odd"
nbdinfo "$(uri s web)" | grep -q 'description: Web server' ||
  fail "no description"

# A name that no disk has: refused, and the log names what there is.
for name in nothing WEB web%20 disk%27%20OR%201 %ff%fe; do
  if nbdinfo --size "$(uri s "$name")" >/dev/null 2>"$tmp/client.log"; then
    fail "there is an export $name"
  fi
done
for name in disk web "$odd"; do
  grep -F nothing "$tmp/s.log" | grep -qF -- "$name" || {
    cat "$tmp/s.log" >&2
    fail "the error for an unknown name does not name $name"
  }
done
[ "$(nbdinfo --size "$(uri s web)")" = 2147483648 ] ||
  fail "the server does not go on after unknown names"

# Two disks written at the same time, over several connections each.
head -c 1048576 /dev/urandom >"$tmp/a"
head -c 3145728 /dev/urandom >"$tmp/b"
nbdcopy --flush --request-size=4096 "$tmp/a" "$(uri s disk)" & first=$!
nbdcopy --flush --request-size=8192 "$tmp/b" "$(uri s "$encoded")" & second=$!
wait $first || fail "writing disk"
wait $second || fail "writing $odd"
same ()
{
  nbdcopy "$(uri s disk)" "$tmp/a.out"
  nbdcopy "$(uri s "$encoded")" "$tmp/b.out"
  cmp "$tmp/a" "$tmp/a.out" || fail "disk has other bytes"
  cmp "$tmp/b" "$tmp/b.out" || fail "$odd has other bytes"
  nbdinfo --map --totals "$(uri s web)" >"$tmp/map"
  awk '$3 == 0 { exit 1 }' "$tmp/map" || fail "web has data: $(cat "$tmp/map")"
}
same

# Zeroes on one disk leave the others alone.
python3 - "$(uri s web)" <<'EOF2'
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
h.trim(2 ** 31, 0)
h.zero(2 ** 31, 0)
EOF2
same
kill_nbdkit "$all_pid"

# export= pins: its disk is the default, others are refused by name.
start_nbdkit s "$plugin" db="$db" export=web
[ "$(exports s)" = "web 2147483648 Web server" ] || fail "$(exports s)"
[ "$(nbdinfo --size "$(uri s)")" = 2147483648 ] || fail "web is not default"
[ "$(nbdinfo --size "$(uri s web)")" = 2147483648 ] || fail "not web by name"
if nbdinfo --size "$(uri s disk)" >/dev/null 2>&1; then
  fail "export=web serves disk too"
fi
kill_nbdkit

start_nbdkit s "$plugin" "$db"
same
