#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# nbdkit can load the plugin and tell what it is: version, parameters and
# formats, without making any file. The plugin exports no other names than
# it means to, and each parameter that --help shows is in the manual.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nm pkg-config python3

manual=$srcdir/../nbdkit-sqlblock-plugin.pod
version=$(sed -n 's/^#define PACKAGE_VERSION "\(.*\)"$/\1/p' \
  "$top_builddir/config.h")

# has FILE REGEX: a line of the file matches the whole expression.
has ()
{
  grep -qE "^$2\$" "$1" || {
    cat "$1" >&2
    fail "no line «$2» in $(basename "$1")"
  }
}

cd "$tmp"
nbdkit "$plugin" --version >version
has version "sqlblock $version"

nbdkit "$plugin" --dump-plugin >dump
has dump "name=sqlblock"
has dump "version=$version"
has dump "magic_config_key=db"
has dump "thread_model=parallel"
has dump "max_thread_model=parallel"
has dump "sqlblock_sqlite_compiled=$(pkg-config --modversion sqlite3)"
used=$(python3 -c 'import sqlite3; print (sqlite3.sqlite_version)')
has dump "sqlblock_sqlite_version=$used"
codecs=none
for codec in zstd lz4; do
  if grep -qi "^#define HAVE_$codec 1" "$top_builddir/config.h"; then
    codecs="$codecs $codec"
  fi
done
has dump "sqlblock_codecs=$codecs"
has dump 'sqlblock_sqlite_wal_reset=(fixed|possible)'
has dump 'sqlblock_format=[0-9]+'

# Parameters do run with --dump-plugin, yet they must not do anything.
nbdkit "$plugin" db="$tmp/new.sqlite" size=1M --dump-plugin >/dev/null
[ -z "$(find "$tmp" -name 'new*')" ] || fail "--dump-plugin made a file"

# In column 0 stands one line per parameter: key=<X>.
nbdkit "$plugin" --help >help
grep -oE '^[a-z-]+=<' help | sed 's/=<//' | sort >keys
for key in db size export block-size description auto-snapshot keep; do
  has keys "$key"
done
[ -z "$(find "$tmp" -name '*.sqlite*')" ] || fail "--help made a file"

while read -r key; do
  grep -qE "^=item \[?B<$key=>" "$manual" ||
    fail "the manual has no «=item B<$key=>…»"
done <keys

nm -D --defined-only "$plugin" | awk '{ print $NF }' >names
has names plugin_init
if grep -vE '^(plugin_init|sqlblock_debug_[a-z_]+)$' names; then
  fail "the plugin exports these names"
fi
