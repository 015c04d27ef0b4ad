#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What packages are made of: the tarball has all of the sources, and is the
# same to the byte each time, and debian/copyright knows whose they are; the
# units for systemd are right, that of servers gives nbdkit what it has, and is
# that of the manual; all say the same version.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need make tar xz python3

# Not those of "make check".
unset MAKEFLAGS MAKELEVEL MFLAGS TESTS SOURCE_DATE_EPOCH
sources=$(cd "$srcdir/.." && pwd)
name=nbdkit-sqlblock-plugin
version=$(sed -n 's/^#define PACKAGE_VERSION "\(.*\)"$/\1/p' \
  "$top_builddir/config.h")

# --- The tarball ------------------------------------------------------------

# dist DIRECTORY [MAKE-VARIABLE...]: make it, under another name so that it is
# in nobody's way, and move it to the directory in $tmp.
dist ()
{
  local directory=$1 made=$name-test-$$
  shift
  mkdir "$tmp/$directory"
  make -C "$top_builddir" dist distdir="$made" XZ_OPT=-0 "$@" \
    >"$tmp/log" 2>&1 || fail "make dist: $(tail "$tmp/log")"
  xz -dc "$top_builddir/$made.tar.xz" >"$tmp/$directory/tar"
  rm "$top_builddir/$made.tar.xz"
}

cd "$tmp"
(umask 022; dist first)
sleep 1
(umask 077; TZ=Asia/Tokyo dist second)
cmp first/tar second/tar || fail "the tarball is another one each time"

# All is as old as the last commit, or as SOURCE_DATE_EPOCH says.
tar -tvf first/tar | awk '{ print $4, $5 }' | sort -u >times
[ "$(wc -l <times)" = 1 ] || fail "the times in the tarball differ"
SOURCE_DATE_EPOCH=86400 TZ=UTC dist third
TZ=UTC tar -tvf third/tar | grep -qv '1970-01-02 00:00 ' &&
  fail "SOURCE_DATE_EPOCH is not used"

tar -tf first/tar | sed 's,^[^/]*/,,' | sort >has
if [ -e "$sources/.git" ] && git -C "$sources" ls-files >files 2>/dev/null; then
  missing=$(sort files | comm -23 - has | grep -vx .gitignore) || :
  [ -z "$missing" ] || fail "not in the tarball: $missing"
fi

# What the documents name.
for document in README.md CONTRIBUTING.md ARCHITECTURE.md bench/README.md; do
  grep -oE '\]\([A-Za-z./_-]+\)' "$sources/$document" | tr -d ']()' >links || :
  while read -r link; do
    grep -qx "$(dirname "$document" | sed 's,^\.$,,; s,.$,&/,')$link" has ||
      fail "$document names $link, which is not in the tarball"
  done <links
done
for file in .ci/run quickstart tests/lib/functions.sh debian/rules; do
  grep -qxF "$file" has || fail "$file is not in the tarball"
done

# Whose all this is: what is not ours, such as files of autoconf, is not under
# "Files: *".
python3 - "$tmp/first/tar" "$sources/debian/copyright" <<'EOF2' ||
import fnmatch, re, sys, tarfile
named = re.findall(r"^Files:(.*(?:\n .*)*)", open(sys.argv[2]).read(), re.M)
patterns = set(" ".join(named).split()) - {"*"}
tar = tarfile.open(sys.argv[1])
wrong = []
for member in filter(tarfile.TarInfo.isfile, tar):
    name = member.name.partition("/")[2]
    others = re.search(rb"(?i)copyright *(\(c\)|\xc2\xa9) *\d{4}"
                       rb"(?!,? the sqlblock authors)",
                       tar.extractfile(member).read())
    if others and not any(fnmatch.fnmatch(name, p) for p in patterns):
        wrong.append(name)
sys.exit(" ".join(wrong) or 0)
EOF2
  fail "debian/copyright does not say whose these are"

# --- The units --------------------------------------------------------------

unit=$sources/packaging/sqlblock@.service
python3 - "$unit" "$sources/$name.pod" <<'EOF2' || fail "the manual's unit"
import sys
unit = open(sys.argv[1]).read()
unit = unit[unit.index("[Unit]"):]
unit = "".join(" " + line if line != "\n" else line
               for line in unit.splitlines(keepends=True))
if unit not in open(sys.argv[2]).read():
    sys.exit("the manual has another unit than packaging/sqlblock@.service")
EOF2
# However often they fail, they are started anew.
for file in "$sources"/packaging/sqlblock{,-attach}@.service; do
  grep -qx StartLimitIntervalSec=0 "$file" && grep -qx RestartSec=2 "$file" ||
    fail "$file ends after some failures"
done
if type -P systemd-analyze >/dev/null; then
  cp "$sources"/packaging/sqlblock*.{service,target} .
  # The command is not installed.
  sed -i 's,^ExecStart=sqlblock,ExecStart=/bin/true,' sqlblock-attach@.service
  ln -s sqlblock@.service sqlblock@test.service
  ln -s sqlblock-attach@.service sqlblock-attach@nbd0.service
  # systemd_likes UNIT EXPOSURE: it is right, and its exposure, in tenths, is at
  # most that.
  systemd_likes ()
  {
    systemd-analyze verify --man=no "$tmp/$1" >out 2>&1 || :
    ! grep -F sqlblock out || fail "systemd does not like $1"
    systemd-analyze --help | grep -e --threshold >/dev/null || return 0
    systemd-analyze security --offline=yes --threshold="$2" "$tmp/$1" \
      >out 2>&1 || fail "$1 is not hardened: $(tail -n 1 out)"
  }
  systemd_likes sqlblock@test.service 20
  systemd_likes sqlblock-attach@nbd0.service 60
else
  echo "the units were not tried: there is no systemd-analyze"
fi

# What it starts, as systemd reads it: nbdkit with those of its newer options
# that are in its help.
mkdir bin
cat >bin/nbdkit <<'EOF2'
#!/bin/sh
if [ "$*" = --help ]; then
  echo "nbdkit [-f] $has"
else
  echo "$@"
fi
EOF2
chmod +x bin/nbdkit
cat >start.py <<'EOF2'
import re, shlex, subprocess, sys
unit = open(sys.argv[1]).read().replace("\\\n", " ")
given = {"NBDKIT_LISTEN": ["-U", "s"], "NBDKIT_OPTIONS": ["-r"],
         "SQLBLOCK_PARAMETERS": []}
command = []
for word in shlex.split(re.search("^ExecStart=(.*)", unit, re.M)[1]):
    if word[0] == "$":
        command += given[word[1:]]
    else:
        command.append(word.replace("%i", "main").replace("%%", "%")
                       .replace("$$", "$"))
subprocess.run(command, check=True)
EOF2
# starts WANTED HAS: these options first, where nbdkit has those.
starts ()
{
  local got wanted="-f $1-P /run/sqlblock/main/pid -U s -r"
  wanted+=" sqlblock /var/lib/sqlblock/main.sqlite"
  got=$(has=$2 PATH=$tmp/bin:$PATH python3 start.py "$unit")
  [ "$got" = "$wanted" ] || fail "the unit starts «$got», not «$wanted»"
}
starts "" "[--exportname NAME]"
starts "--timeout=60 --keepalive " "[--keepalive] [--timeout=TIMEOUT]"
starts "--name=sqlblock@main --timeout=60 --keepalive " \
  "[--keepalive] [--name=NAME] [--timeout=TIMEOUT]"

# --- Versions ---------------------------------------------------------------

# says TEXT FILE
says ()
{
  grep -qF -- "$1" "$sources/$2" || fail "$2 does not say «$1»"
}
says "$name-$version.tar.xz" README.md
says "$name ($version)" debian/changelog
says "Version:        $version" packaging/sqlblock.spec
# What the library's symbols ask for is older than what the database needs.
sqlite=$(sed -n 's/.*\[sqlite3 >= \(.*\)\].*/\1/p' "$sources/configure.ac")
says " libsqlite3-0 (>= $sqlite)," debian/control
says "This manual is for version $version," $name.pod
