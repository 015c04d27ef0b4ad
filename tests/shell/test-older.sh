#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A file of an older format: what only reads works as ever, what writes is
# refused and says how to upgrade it, and nothing of it changes.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo nbdsh nbdcopy xz sha256sum jq

PATH=$top_builddir/tool:$PATH
cd "$tmp"

for file in everything log; do
  unpack_fixture "$srcdir/fixtures/format-4/$file" $file
done
sums ()
{
  sha256sum everything log log-wal
}
before=$(sums)

# Reading.
for db in everything log; do
  [ "$(sqlblock info --json $db | jq .format)" = 4 ] || fail "$db: format"
  sqlblock list --all $db >out
  sqlblock check -q $db || fail "$db: check"
done
grep -q "web@tuesday" out && fail "log is everything"
sqlblock info everything web >/dev/null
sqlblock info everything web@tuesday >/dev/null
sqlblock map everything web >/dev/null
sqlblock diff everything web@monday web@tuesday >/dev/null
sqlblock send -q everything web@monday >stream
sqlblock receive -q new <stream
sqlblock export -q everything web@monday old.raw
sqlblock export -q new web@monday new.raw
cmp old.raw new.raw

# A server, which only reads and says so; several readers at a time.
nbdkit -U - "$plugin" everything --run '
  nbdsh -u $uri -c "assert h.is_read_only ()" &&
  nbdsh -u $uri -c "h.pread (65536, 0)" & nbdcopy $uri disk.raw; wait $!' 2>err
grep -q 'read-only.*format 4.*"sqlblock upgrade ' err || fail "$(cat err)"
nbdkit -r -U - "$plugin" log --run 'nbdcopy $uri log.raw'
grep -q "$(sha256sum <log.raw | cut -d ' ' -f 1).* disk\$" \
  "$srcdir/fixtures/format-4/log.sums" || fail "the log was not read"

# Writing, of whatever kind.
refuse ()
{
  expect_error 'format 4, which can only be read; "sqlblock upgrade ' "$@"
}
refuse sqlblock create -q everything another --size=1M
refuse sqlblock snapshot create -q everything web@now
refuse sqlblock delete -q --force everything small
refuse sqlblock set -q everything web compression=none
refuse sqlblock rollback -q everything web@monday
refuse sqlblock clone -q everything web@monday another
refuse sqlblock export -q everything web live.raw
refuse sqlblock backup -q everything copy
refuse sqlblock compact -q everything
refuse sqlblock check -q --repair everything
refuse sqlblock receive -q everything another <stream
refuse nbdkit -U - "$plugin" everything export=another size=1M --run true
refuse sqlblock snapshot create -q log disk@now
[ ! -e copy ] || fail "half a backup"

[ "$(sums)" = "$before" ] || fail "reading or refusing has changed a file"
for command in list "upgrade --dry-run"; do
  # shellcheck disable=SC2086
  sqlblock $command everything >/dev/null
  [ ! -e everything-wal ] && [ ! -e everything-shm ] ||
    fail "$command leaves a log"
done

# What can be salvaged of it is a file of today.
sqlblock check -q --salvage=saved everything
[ "$(sqlblock info --json saved | jq .format)" = "$(
  nbdkit --dump-plugin "$plugin" | sed -n 's/^sqlblock_format=//p')" ] ||
  fail "the format of what was salvaged"
sqlblock export -q saved web@monday saved.raw
cmp old.raw saved.raw
