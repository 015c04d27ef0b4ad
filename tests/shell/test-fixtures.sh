#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Files of all formats, tests/fixtures: this program reads them and shows what
# they showed then, and they stay as they are.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy xz sha256sum sqlite3 jq

PATH=$top_builddir/tool:$PATH
cd "$tmp"

# unpack NAME: a fixture into a new directory NAME, with its log if it has one.
unpack ()
{
  rm -rf "$1"
  mkdir "$1"
  unpack_fixture "$fixtures/$1" "$1/$1.sqlite"
}

# content NAME: checksums of the files of a fixture.
content ()
{
  find "$1" -name '*.sqlite*' ! -name '*-shm' ! -name '*-lock' -size +0 \
    -exec sha256sum {} + | sort
}

# compare NAME: each disk and snapshot shows what it did.
compare ()
{
  local sum size disk count=0
  while read -r sum size disk; do
    nbdkit -r -U - "$plugin" "$1/$1.sqlite" export="$disk" --run \
      'nbdcopy "$uri" image' </dev/null
    [ "$(stat -c %s image)" = "$size" ] || fail "$1: the size of $disk"
    [ "$(sha256sum <image)" = "$sum  -" ] || fail "$1: $disk has changed"
    rm image
    count=$((count + 1))
  done <"$fixtures/$1.sums"
  [ "$count" -gt 0 ] || fail "$1: nothing was compared"
}

# try_fixture NAME: it is read as it was, and not changed.
try_fixture ()
{
  local name=$1 before
  unpack "$name"
  before=$(content "$name")
  [ -n "$before" ] || fail "$name is empty"
  sqlblock list --json "$name/$name.sqlite" >out
  compare "$name"
  [ "$(content "$name")" = "$before" ] || fail "$name: reading changed it"
  sqlblock check -q "$name/$name.sqlite" ||
    fail "$name: there are problems in it"
}

for fixtures in "$srcdir"/fixtures/format-*; do
  format=${fixtures##*-}
  for sums in "$fixtures"/*.sums; do
    name=$(basename "$sums" .sums)
    echo "format $format: $name"
    try_fixture "$name"
  done
done

# What the files were made for is in them.
holds ()
{
  [ "$(sqlite3 -readonly everything/everything.sqlite "SELECT $1")" = 1 ] ||
    fail "not in the fixture of format $format: $1"
}
for fixtures in "$srcdir"/fixtures/format-*; do
  format=${fixtures##*-}
  unpack everything
  holds "count (*) = 1 FROM disk WHERE name LIKE '%/receiving'"
  holds "count (DISTINCT block_size) >= 3 FROM disk"
  holds "count (*) >= 1 FROM disk WHERE quota IS NOT NULL"
  holds "count (*) >= 1 FROM snapshot WHERE automatic"
  holds "count (*) >= 1 FROM layer WHERE parent IS NOT NULL"
  holds "count (DISTINCT codec) >= 5 FROM block"
  unpack log
  [ -s log/log.sqlite-wal ] || fail "the log of the fixture"
done

# What is optional, and what only a later program knows: shown, and kept while
# all around it changes.
fixtures=$srcdir/fixtures/format-6
unpack optional
db=optional/optional.sqlite
sqlblock list --json $db | jq -e '[.disks[].access] ==
  ["full", "none", "full"]' >/dev/null || fail "access: $(cat out)"
sqlblock info --json $db web | jq -e '.user == {ticket: "4711"}' >/dev/null ||
  fail "user:ticket"
sqlblock info --json $db web@monday |
  jq -e '.description == "before the change" and (.holds | keys) == ["archive"]' \
    >/dev/null || fail "description and hold"
expect_error "'archive'" sqlblock snapshot delete $db web@monday
expect_error "'secret'" sqlblock export $db strange image
known ()
{
  sqlite3 -readonly $db "SELECT * FROM feature ORDER BY id;
    SELECT * FROM property WHERE key <> 'user:ticket' ORDER BY id;
    SELECT * FROM novel_things; SELECT * FROM _litestream_seq;
    SELECT block.id, number, codec, block.checksum, hex (data) FROM block
      JOIN disk ON disk.layer = block.layer WHERE name = 'strange';
    SELECT * FROM disk WHERE name = 'strange'"
}
known >known-before
grep -q "|200|99|" known-before || fail "no block of codec 99"
sqlblock snapshot create -q $db web@tuesday
sqlblock delete -q $db copy
sqlblock rollback -q $db web@monday
sqlblock set -q $db web user:ticket=
sqlblock recompress -q $db web
sqlblock check -q --repair $db
sqlblock compact -q $db
known | cmp - known-before || fail "what only a later program knows has changed"

# The states of marks (store/sqlite/mark.h): what the file says, byte for byte.
# salts NAME: has the header of the log the salts of the mark that ended it?
salts ()
{
  unpack "$1"
  [ "$(tail -c +12273 "$1/$1.sqlite" | head -c 8 | od -An -tx1)" = \
    "$(tail -c +17 "$1/$1.sqlite-wal" | head -c 8 | od -An -tx1)" ]
}
for fixtures in "$srcdir"/fixtures/format-[5-9]*; do
  format=${fixtures##*-}
  while read -r name state log; do
    unpack "$name"
    [ -s "$name/$name.sqlite-wal" ] && found=log || found=alone
    [ "$found" = "$log" ] || fail "format $format: $name is $found"
    [ "$(tail -c +12240 "$name/$name.sqlite" | head -c 1 | od -An -tu1)" \
      -eq "$state" ] || fail "format $format: the state of $name"
  done <<'EOF'
everything 4 alone
log 2 log
ended 3 log
restarted 3 log
sums 4 log
copy 2 alone
rollback 2 alone
EOF
  salts ended || fail "format $format: the log of ended has started over"
  ! salts restarted ||
    fail "format $format: the log of restarted has not started over"
done
