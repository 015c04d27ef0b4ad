#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Files of earlier formats, tests/fixtures: this program reads them and shows
# what they showed then, or refuses them and names their format; in either
# case they stay as they are.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy xz sha256sum sqlite3

PATH=$top_builddir/tool:$PATH
cd "$tmp"

# unpack NAME: a fixture into a new directory NAME, with its log if it has one.
unpack ()
{
  local file
  rm -rf "$1"
  mkdir "$1"
  for file in "$fixtures/$1".sqlite*.xz; do
    xz -dc "$file" >"$1/$(basename "${file%.xz}")"
  done
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

# try_fixture NAME: it is read as it was, or refused, and not changed.
try_fixture ()
{
  local name=$1 before
  unpack "$name"
  before=$(content "$name")
  [ -n "$before" ] || fail "$name is empty"
  if sqlblock list --json "$name/$name.sqlite" >out 2>err; then
    compare "$name"
    [ "$(content "$name")" = "$before" ] || fail "$name: reading changed it"
    sqlblock check -q "$name/$name.sqlite" ||
      fail "$name: there are problems in it"
  else
    grep -q "format $format" err || {
      cat err >&2
      fail "$name is refused, but its format is not named"
    }
    expect_error "format $format" nbdkit -U - "$plugin" \
      "$name/$name.sqlite" --run true
    expect_error "format $format" sqlblock create -q "$name/$name.sqlite" \
      another --size=1M
    [ "$(content "$name")" = "$before" ] || fail "$name: a refusal changed it"
  fi
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

# The states of marks (store/sqlite/mark.h): what the file says, byte for byte.
fixtures=$srcdir/fixtures/format-5
while read -r name state log; do
  unpack "$name"
  [ -s "$name/$name.sqlite-wal" ] && found=log || found=alone
  [ "$found" = "$log" ] || fail "format 5: $name is $found"
  [ "$(tail -c +12240 "$name/$name.sqlite" | head -c 1 | od -An -tu1)" \
    -eq "$state" ] || fail "format 5: the state of $name"
done <<'EOF'
everything 4 alone
log 2 log
ended 3 log
restarted 3 log
sums 4 log
copy 2 alone
rollback 2 alone
EOF
# The header of the log has other salts than the mark that ended the log.
salts ()
{
  unpack "$1"
  [ "$(tail -c +12273 "$1/$1.sqlite" | head -c 8 | od -An -tx1)" = \
    "$(tail -c +17 "$1/$1.sqlite-wal" | head -c 8 | od -An -tx1)" ]
}
salts ended || fail "format 5: the log of ended has started over"
! salts restarted || fail "format 5: the log of restarted has not started over"
