#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# ./quickstart hands nbdkit its options, however they are written, and says
# where it listens. make format leaves the code alone with another version of
# clang-format. What they would start is replaced: nothing is installed or
# built here.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need make
[ -x "$srcdir/../quickstart" ] || skip "there is no quickstart here"

# A clone in which all is built, and programs in place of those that it calls.
mkdir -p "$tmp/clone/build/plugin/.libs" "$tmp/clone/tool" "$tmp/bin"
cp "$srcdir/../quickstart" "$tmp/clone/quickstart"
touch "$tmp/clone/configure" "$tmp/clone/Makefile.am" "$tmp/clone/Makefile.in" \
  "$tmp/clone/tool/Makefile.am" "$tmp/clone/tool/Makefile.in" \
  "$tmp/clone/build/config.status" \
  "$tmp/clone/build/plugin/.libs/nbdkit-sqlblock-plugin.so"
program ()
{
  printf '#!/bin/bash\n%s\n' "$2" >"$tmp/bin/$1"
  chmod +x "$tmp/bin/$1"
}
program make 'exit 0'
program apt-get 'exit 1'
program dpkg-query 'echo installed'
program rpm 'exit 0'
# It serves until the help is there, or stays as long as none comes.
program nbdkit 'printf "%s\n" "$@" >"$OUT/arguments"
while [ $# -gt 0 ]; do
  [ "$1" != -P ] || echo $$ >"$2"
  shift
done
for _ in {1..50}; do
  ! grep -q "^Stop it" "$OUT/said" || break
  sleep 0.1
done'

# started ARGUMENT...: what nbdkit got, one a line, is in "arguments"; what was
# printed is in "said".
started ()
{
  rm -f "$tmp/arguments"
  OUT=$tmp PATH=$tmp/bin:$PATH bash "$tmp/clone/quickstart" "$@" \
    >"$tmp/said" 2>&1 </dev/null || return
  wait_for grep -q "^Stop it" "$tmp/said"
}

# hands WANTED ARGUMENT...: nbdkit gets this before the plugin, without -f, the
# place to listen and the pidfile.
hands ()
{
  local wanted=$1 got
  shift
  started "$@" -p0 d.sqlite || fail "quickstart $*: $(cat "$tmp/said")"
  got=$(sed -n '/^-P$/,$p' "$tmp/arguments" | sed '1,2d' |
    sed '/plugin\.so$/,$d' | xargs -d '\n' printf '[%s]')
  [ "$got" = "$wanted" ] || fail "quickstart $*: nbdkit got $got, not $wanted"
  [ "$(tail -n 1 "$tmp/arguments")" = d.sqlite ] ||
    fail "quickstart $*: the plugin got $(tail -n 1 "$tmp/arguments")"
}

while read -r name; do
  hands "[$name][30]" "$name" 30
  hands "[$name][30]" "$name=30"
done <<'EOF2'
--timeout
--time-out
--name
--threads
--mask-handshake
--selinux-label
--exportname
--debug
--filter
--group
--log
EOF2
for name in -t -D -e -g -u; do
  hands "[$name][30]" "$name" 30
  hands "[$name][30]" "${name}30"
done
hands "[--name][two words]" --name "two words"
hands "[--name][]" --name=
hands "[--keepalive][-v][--print-uri]" --keepalive -v --print-uri
hands "[-f][-v][-r]" -fvr
hands "[-v][-t][8]" -vt8
hands "[-v][-t][8]" -vt 8
hands "[--what=30]" --what=30

# The port: any that is free, in both spellings; the URI has it.
for arguments in -p0 "-p 0" --port=0 "--port 0"; do
  # shellcheck disable=SC2086 # two words
  started $arguments d.sqlite || fail "$arguments: $(cat "$tmp/said")"
  port=$(sed -n '/^-p$/ { n; p; }' "$tmp/arguments")
  [[ $port =~ ^[1-9][0-9]{3,4}$ ]] || fail "$arguments: port '$port'"
  grep -q "nbd://127.0.0.1:$port/" "$tmp/said" || fail "$(cat "$tmp/said")"
done
for port in 00 010 x -1 65536 99999 ""; do
  if started -p "$port" d.sqlite; then
    fail "there is a port '$port'"
  fi
  grep -q "no port number" "$tmp/said" || fail "$(cat "$tmp/said")"
done
for name in --timeout --name -p -t; do
  if started d.sqlite $name; then
    fail "$name goes without a value"
  fi
  grep -q "the value of $name is missing" "$tmp/said" || fail "$(cat "$tmp/said")"
done

# Another clang-format than the one whose layout the code has.
program clang-format 'echo "$@" >>"$OUT/formatted"
[ "$1" != --version ] || echo "Debian clang-format version $FORMATTER"'
rm -f "$tmp/bin/make"
# format VERSION TARGET: what clang-format was asked for is in "formatted".
format ()
{
  rm -f "$tmp/formatted"
  OUT=$tmp FORMATTER=$1 PATH=$tmp/bin:/usr/bin:/bin \
    make -C "$top_builddir" "$2" >"$tmp/said" 2>&1
}
program clang-format-14 'exit 1'
for version in 19.1.7 4.14.0 140.0.0; do
  format $version format-check ||
    fail "format-check with $version: $(cat "$tmp/said")"
  grep -q "takes clang-format 14.*$version" "$tmp/said" ||
    fail "format-check with $version does not say so: $(cat "$tmp/said")"
  if format $version format; then
    fail "make format with clang-format $version"
  fi
  if grep -qv -- --version "$tmp/formatted"; then
    fail "clang-format $version was used: $(cat "$tmp/formatted")"
  fi
done
format 14.0.6 format-check || fail "format-check with 14.0.6"
grep -q -- "--dry-run.*sqlblock.c" "$tmp/formatted" || fail "nothing was checked"
program clang-format 'exit 127'
if format none format-check; then
  fail "format-check without clang-format"
fi
