#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The floors of store/, from the lowest: a file includes nothing of a higher
# one, none that needs it, and nothing of nbdkit. Outside, there is no SQL, and
# nothing is included but the face and what knows nothing of databases. Each
# file says its licence.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"

cd "$srcdir/.."
floors='base block cluster sqlite rows engine manage check server'

# A header that lies directly in store/ counts as on the floor that it is the
# face of.
face='status.h=base store.h=engine manage.h=manage stream.h=manage
  check.h=check server.h=server statistics.h=base settings.h=rows
  encryption.h=block'

# "FILE:LINE:#include "HEADER"" of what goes up, or leads nowhere.
up=$(grep -rn --include='*.[ch]' '^# *include *"' store | awk -F '[:"]' \
  -v floors="$floors" -v face="$face" '
    function floor_of (path) {
      sub ("^store/", "", path)
      if (path in number)
        return number[path]
      sub ("/.*", "", path)
      return path in number ? number[path] : 99
    }
    BEGIN {
      for (i = split (floors, name, " "); i > 0; i--) number[name[i]] = i
      for (i = split (face, name, " "); i > 0; i--) {
        split (name[i], pair, "=")
        number[pair[1]] = number[pair[2]]
      }
    }
    floor_of($4) > floor_of($1) || floor_of($4) == 99')
[ -z "$up" ] || fail "includes of a higher floor, or of none: $up"

# Files that need each other, on one floor, too. A .c, its .h and its -parts.h
# are one.
circle=$(grep -rn --include='*.[ch]' '^# *include *"' store |
  awk -F '[:"]' '{
    one = $1; other = "store/" $4
    sub (/(-parts)?\.[ch]$/, "", one); sub (/(-parts)?\.[ch]$/, "", other)
    if (one != other) print one, other
  }' | tsort 2>&1 >/dev/null) ||
  fail "includes that go round in a circle: $circle"

[ -z "$(ls store/*.c 2>/dev/null)" ] || fail "no floor: $(ls store/*.c)"

nbdkit=$(grep -rnE --include='*.[ch]' '^# *include.*nbdkit' store) || :
[ -z "$nbdkit" ] || fail "nbdkit in the store: $nbdkit"

private=$(grep -nE '^# *include "[^"]*/' store/*.h {plugin,tool}/*.[ch] |
  grep -v '"base/') || :
[ -z "$private" ] || fail "what is private to the store: $private"

sql='SELECT|INSERT|UPDATE|DELETE|PRAGMA|CREATE|DROP|ALTER|ATTACH|VACUUM'
sql=$(grep -nE "\"[^\"]*\b($sql|BEGIN|COMMIT|ROLLBACK|WHERE)\b" \
  {plugin,tool}/*.[ch]) || :
[ -z "$sql" ] || fail "SQL outside the store: $sql"

# One floor knows the files of a database; above it files are opened only where
# SQLite is not to read them, or that are no part of one.
calls='l?stat|open|openat|rename|renameat2?|link|unlink|statvfs|statfs|access'
calls="$calls|realpath|truncate|mkostemp|fsync"
files=$(cd store &&
  grep -nE "(^|[^a-z_>])($calls) \(" {rows,engine,manage,check,server}/*.c |
  grep -vE '^(check/rawfile|server/(hook|prometheus|observe|control-socket))\.c:') || :
[ -z "$files" ] || fail "files of a database outside store/sqlite: $files"

# All connections of a store are opened at one place.
opened=$(grep -nE '\b(connection_open|connection_open_asked|database_open) \(' \
  store/{engine,manage,check,server}/*.c | grep -v '/connections\.c:') || :
[ -z "$opened" ] || fail "a connection that others do not know: $opened"

# Whoever changes a row asks whether a feature forbids it, and leaves rows of
# codecs that are not known: "FILE:FUNCTION" of those who do not. Others have
# done so for these, or they write what is new, or a pin.
asked='rows/disks.c:insert_disk
  rows/snapshots.c:(set_checksum|snapshots_unpin)
  rows/layers.c:(layer_create|set_layer_checksum|layer_set_(generation|parent))
  rows/layers.c:layer_remove rows/content.c:insert manage/backup.c:[a-z_]+'
unasked=$(cd store &&
  awk -v asked="$(echo $asked | tr ' ' '|')" '
    FNR == 1 { text = name = "" }
    /^[a-z_]+ \(/ { name = $1 }
    /^#define|^static const char \*const .*= \{$|^\{$/ { text = "" }
    { text = text "\n" $0 }
    /^\}|^$/ {
      changes = "(UPDATE|DELETE FROM|INSERT( OR [A-Z]+)? INTO) (main\\.)?"
      rows = changes "(disk|snapshot|layer)[ \"]"
      blocks = changes "(block|content)[ \"]"
      ask = "features_(allow|forbid)"
      if (FILENAME == "rows/disks.c")
        ask = ask "|set_(checksum|layer) \\("
      counted = text
      unknown = gsub (blocks, "", counted) - gsub (/CODEC_UNDERSTOOD/, "", counted)
      if (FILENAME ":" name !~ "^(" asked ")$" &&
          ((text ~ rows && text ~ /^\n\{/ && text !~ ask) ||
           unknown > 0) &&
          ($0 != "" || text !~ /^\n\{/))
        print FILENAME ":" name
      if ($0 != "" || text !~ /^\n\{/)
        text = ""
    }' {base,block,sqlite,rows,engine,manage,server}/*.c \
    check/{check,repair,sealing}*.c)
[ -z "$unasked" ] || fail "changes rows and does not ask: $unasked"

# All files in git, or in a tarball those of these folders that were not made.
files ()
{
  { [ -e .git ] && git ls-files 2>/dev/null; } ||
    find .ci .clang-format ./*.md ./*.pod configure.ac Makefile.am quickstart \
      bench debian packaging plugin store tests tool -type f ! -name schema.h \
      -regextype egrep -regex \
      '.*(\.([ch]|ac|am|bash|fish|map|md|pod|py|sh|sql|supp|svg|zsh)|/(run|rules))'
}

# Those that cannot have a comment, or are the licence.
bare='LICENSE|debian/(changelog|copyright|source/format|.*\.README\.Debian)'
bare="$bare|tests/fixtures/.*\.(sums|xz)"
licensed=$(files | sed 's,^\./,,' | grep -vxE "$bare")
[ "$(wc -l <<<"$licensed")" -gt 300 ] || fail "no files to look at"

# In programs it is in front, with whose they are. zsh wants a line before it.
text='.*\.(json|md|pod|svg)'
licence='SPDX-License-Identifier: BSD-3-Clause'
lines="\\A(#(!|compdef ).*\\n)?.*$licence\\n.*authors; see LICENSE\\.\\n"
bare=$(grep -vxE "$text" <<<"$licensed" |
  xargs -d '\n' grep -LzP "$lines"
  grep -xE "$text" <<<"$licensed" | xargs -d '\n' grep -L "$licence") || :
[ -z "$bare" ] || fail "without the line of the licence: $bare"
