#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Where "make install" puts what, and that it works from there. With a prefix
# that is not nbdkit's own nothing is written outside of it, so nbdkit is given
# the path of the plugin, as README.md says.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need make nbdkit nbdinfo pkg-config

# Not those of "make check".
unset MAKEFLAGS MAKELEVEL MFLAGS TESTS

# variable BUILD NAME: what a Makefile makes of it.
variable ()
{
  echo "show:; @echo '\$($2)'" |
    make -s -C "$1" -f Makefile -f - show
}

# --- The prefix decides -----------------------------------------------------

# goes_to PREFIX DIRECTORY: the plugin, if configure is given this prefix.
goes_to ()
{
  local got
  rm -rf "$tmp/configured"
  mkdir "$tmp/configured"
  (cd "$tmp/configured" &&
    "$srcdir/../configure" --quiet --cache-file="${cache-$tmp/cache}" \
      --prefix="$1" >log 2>&1) || fail "configure: $(cat "$tmp/configured/log")"
  got=$(variable "$tmp/configured/plugin" plugindir)
  [ "$got" = "$2" ] || fail "with the prefix $1 the plugin goes to $got"
}

if [ -e "$srcdir/../config.status" ]; then
  echo "configure was not tried: the sources have a build in them"
else
  goes_to "$tmp/p" "$tmp/p/lib/nbdkit/plugins"
  goes_to "$(pkg-config --variable=prefix nbdkit)" \
    "$(pkg-config --variable=plugindir nbdkit)"
  cache=/dev/null NBDKIT_PLUGINDIR=/else/where goes_to "$tmp/p" /else/where
fi

# --- What is installed ------------------------------------------------------

cd "$tmp"
make -C "$top_builddir" install DESTDIR="$tmp/d" >log 2>&1 ||
  fail "make install: $(cat log)"
for directory in bindir plugindir mandir docdir \
  bashcompletiondir fishcompletiondir zshcompletiondir; do
  case $directory in
    plugindir) makefile=plugin ;;
    *completiondir) makefile=tool ;;
    *) makefile=. ;;
  esac
  declare "$directory=$tmp/d$(variable "$top_builddir/$makefile" $directory)"
done
for file in "$bindir/sqlblock" "$plugindir/nbdkit-sqlblock-plugin.so" \
  "$mandir/man1/nbdkit-sqlblock-plugin.1" "$mandir/man1/sqlblock.1" \
  "$bashcompletiondir/sqlblock" "$fishcompletiondir/sqlblock.fish" \
  "$zshcompletiondir/_sqlblock" "$docdir/CHANGELOG.md" "$docdir/LICENSE" \
  "$docdir/README.md" "$docdir/SECURITY.md" "$docdir/schema.sql" \
  "$docdir"/examples/{example,example-attach}.conf \
  "$docdir"/examples/sqlblock{,-attach,-litestream}@.service \
  "$docdir/examples/grafana-dashboard.json" \
  "$docdir/examples/sqlblock-servers.target"; do
  echo "$file"
done | sort >wanted
find "$tmp/d" ! -type d | sort >got
diff wanted got || fail "other files are installed"

"$bindir/sqlblock" create -q disk.sqlite disk --size=1M
nbdkit -U - "$plugindir/nbdkit-sqlblock-plugin.so" disk.sqlite \
  --run 'nbdinfo --size "$uri"' >size || fail "the plugin does not serve"
[ "$(cat size)" = 1048576 ] || fail "the disk has $(cat size) bytes"

make -C "$top_builddir" uninstall DESTDIR="$tmp/d" >log 2>&1 ||
  fail "make uninstall: $(cat log)"
[ -z "$(find "$tmp/d" ! -type d)" ] ||
  fail "make uninstall leaves $(find "$tmp/d" ! -type d)"

# --- In a prefix of one's own -----------------------------------------------

case $(variable "$top_builddir/plugin" plugindir prefix=/PREFIX) in
  "$(variable "$top_builddir/plugin" prefix)"/lib/nbdkit/plugins) ;;
  *)
    echo "no other prefix was tried: this build was given its directories"
    exit 0
    ;;
esac
make -C "$top_builddir" install prefix="$tmp/p" >log 2>&1 ||
  fail "make install: $(cat log)"
so=lib/nbdkit/plugins/nbdkit-sqlblock-plugin.so
grep -qF "$so" "$srcdir/../README.md" || fail "README.md does not say $so"
rm -f disk.sqlite
"$tmp/p/bin/sqlblock" create -q disk.sqlite disk --size=2M
nbdkit -U - "$tmp/p/$so" disk.sqlite --run 'nbdinfo --size "$uri"' >size
[ "$(cat size)" = 2097152 ] || fail "the disk has $(cat size) bytes"
nbdkit --dump-plugin "$tmp/p/$so" | grep -qx "path=$tmp/p/$so" ||
  fail "another plugin was loaded"
