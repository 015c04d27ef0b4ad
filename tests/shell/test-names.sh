#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# One database by two names, a hard link or a file that is mounted alone:
# only one of them is ever written, and the other one is read only while
# nobody writes. Renaming is another way to a second name.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh nbdinfo timeout

cd "$tmp"
export tmp plugin top_builddir
sqlblock ()
{
  "$top_builddir/tool/sqlblock" "$@"
}

# new NAME: a database with a disk that is all "a".
new ()
{
  rm -f ./*.sqlite ./*.sqlite-*
  sqlblock create "$1" disk --size=1M --quiet
  write_a='h.pwrite(b"a" * 2**20, 0); h.flush()'
  nbdkit -U - "$plugin" "$1" --run "nbdsh -u \"\$uri\" -c '$write_a'"
}

# reads NAME [WRAPPER...]: it can be read, is as it was, and not written.
reads ()
{
  local name=$1
  shift
  timeout 20 "$@" nbdkit -U - "$plugin" "$name" --run 'nbdsh -u "$uri" -c "
assert h.is_read_only()
assert bytes(h.pread(2**20, 0)) == b\"a\" * 2**20"' >log 2>&1 ||
    fail "reading $name: $(cat log)"
}

# refused TEXT NAME [WRAPPER...]: no command that writes works by this name,
# and a server that is to make a disk does not, either; nothing has changed.
refused ()
{
  local text=$1 name=$2 before command
  shift 2
  before=$(cksum <"$name")
  for command in "create $name more --size=1M" "rename $name disk other" \
    "delete $name disk" "resize $name disk 2M" "compact $name" \
    "snapshot create $name disk@s" "set $name disk quota=1M" \
    "import $name more /dev/null --size=1M" \
    "clone $name disk more" "describe $name disk text"; do
    # The words are arguments.
    # shellcheck disable=SC2086
    expect_error "$text" timeout 20 "$@" "$top_builddir/tool/sqlblock" $command
  done
  expect_error "$text" timeout 20 "$@" nbdkit -U - "$plugin" "$name" \
    export=more size=1M --run true
  [ "$before" = "$(cksum <"$name")" ] || fail "$name has changed"
}

# A hard link, at rest: each name is only read.
new one.sqlite
ln one.sqlite two.sqlite
for name in one.sqlite two.sqlite; do
  refused "hard links" $name
  reads $name
  sqlblock list $name >out 2>&1 || fail "list $name: $(cat out)"
  sqlblock export $name disk - 2>log | cmp - <(head -c 1048576 /dev/zero |
    tr '\0' a) || fail "export $name: $(cat log)"
  rm -f copy.sqlite
  sqlblock backup $name copy.sqlite >log 2>&1 || fail "backup: $(cat log)"
done
# A symbolic link is no other name.
rm two.sqlite
ln -s one.sqlite two.sqlite
start_nbdkit s "$plugin" one.sqlite
nbdsh -u "$(uri s)" -c 'h.pwrite(b"a", 0); h.flush()'
sqlblock create two.sqlite more --size=1M --quiet
stop_nbdkit

# A link that is made while a server writes: it writes no more, says so, and
# goes on when the link is gone. By the other name nothing can be done, also
# after the first one was removed.
new one.sqlite
start_nbdkit s "$plugin" one.sqlite
uri=$(uri s) timeout 60 nbdsh -c '
import errno, os, subprocess, time
h.connect_uri(os.environ["uri"])
h.pwrite(b"a", 0)
def fails():
    time.sleep(0.2)
    for what in (lambda: h.pwrite(b"b", 0), h.flush, lambda: h.trim(4096, 0)):
        try:
            what()
        except nbd.Error as error:
            assert error.errnum == errno.EIO, error
        else:
            raise Exception("this was to fail")
    assert bytes(h.pread(2**20, 0)) == b"a" * 2**20
def refuses(name):
    for command in (["create", name, "x", "--size=1M"], ["list", name]):
        r = subprocess.run([os.environ["top_builddir"] + "/tool/sqlblock"]
                           + command, capture_output=True, text=True)
        assert r.returncode != 0, command
        assert name in r.stderr, r.stderr
os.link("one.sqlite", "two.sqlite")
fails()
refuses("two.sqlite")
os.rename("one.sqlite", "aside")
refuses("two.sqlite")
os.remove("two.sqlite")
refuses("aside")
os.rename("aside", "one.sqlite")
time.sleep(0.2)
h.pwrite(b"a" * 4096, 0)
h.flush()
' || fail "a link while a server writes: $(cat s.log)"
grep -q "second name (a hard link)" s.log || fail "no word of it: $(cat s.log)"
stop_nbdkit

# Only one of two servers on two names writes; nothing that was flushed is
# lost. Both begin at the same time, after the link was made between.
new one.sqlite
start_nbdkit one "$plugin" one.sqlite
first=$nbdkit_pid
nbdsh -u "$(uri one)" -c 'h.pwrite(b"1" * 2**19, 0); h.flush()'
ln one.sqlite two.sqlite
expect_error "two.sqlite" timeout 20 nbdkit -U - "$plugin" two.sqlite \
  --run 'nbdsh -u "$uri" -c "h.pwrite(b\"2\" * 2**19, 2**19); h.flush()"'
rm two.sqlite
stop_nbdkit "$first"
nbdkit -U - "$plugin" one.sqlite --run 'nbdsh -u "$uri" -c "
assert bytes(h.pread(2**20, 0)) == b\"1\" * 2**19 + b\"a\" * 2**19"' ||
  fail "a write was lost"

# After a crash the log belongs to the name it lies beside.
new one.sqlite
start_nbdkit s "$plugin" one.sqlite
nbdsh -u "$(uri s)" -c 'h.pwrite(b"z" * 2**20, 0); h.flush()'
kill_nbdkit
ln one.sqlite two.sqlite
expect_error "write-ahead log" timeout 20 nbdkit -U - "$plugin" one.sqlite \
  --run true
# By the other name it would be the disk without its newest writes.
expect_error two.sqlite timeout 20 nbdkit -U - "$plugin" two.sqlite --run true
for words in "list" "export DISK" "check" "create NEW"; do
  case $words in
  export*) set -- export two.sqlite disk - ;;
  create*) set -- create two.sqlite new --size=1M ;;
  *) set -- "$words" two.sqlite ;;
  esac
  expect_error two.sqlite sqlblock "$@"
done
[ ! -e two.sqlite-wal ] || fail "there is another log"
rm two.sqlite
nbdkit -U - "$plugin" one.sqlite --run 'nbdsh -u "$uri" -c "
assert bytes(h.pread(2**20, 0)) == b\"z\" * 2**20"' || fail "after a crash"

# A reader by another name notices a writer.
new one.sqlite
ln one.sqlite two.sqlite
start_nbdkit two "$plugin" two.sqlite
uri=$(uri two) timeout 60 nbdsh -c '
import errno, os, subprocess, time
h.connect_uri(os.environ["uri"])
assert bytes(h.pread(2**20, 0)) == b"a" * 2**20
# The server has the file open; so it lives on without this name.
os.rename("two.sqlite", "three.sqlite")
os.remove("three.sqlite")
writer = subprocess.Popen(
    ["nbdkit", "-f", "-U", os.environ["tmp"] + "/other", "-P", "pid",
     os.environ["plugin"], "one.sqlite"])
while not os.path.exists("pid"):
    time.sleep(0.1)
other = nbd.NBD()
other.connect_uri("nbd+unix:///?socket=" + os.environ["tmp"] + "/other")
other.pwrite(b"b" * 2**20, 0)
other.flush()
try:
    h.pread(4096, 0)
except nbd.Error as error:
    assert error.errnum == errno.EIO, error
else:
    raise Exception("the reader did not notice")
other.shutdown()
writer.terminate()
writer.wait()
' || fail "a reader by another name: $(cat two.log)"
stop_nbdkit

[ "$(id -u)" = 0 ] || exit 0

# A file that is mounted alone, as containers do it.
new one.sqlite
: >mounted.sqlite
cat >mount-file <<'EOF2'
mount --bind one.sqlite mounted.sqlite || exit 99
exec "$@"
EOF2
if ! "${own_mounts[@]}" bash mount-file true 2>/dev/null; then
  echo "no mounted file tried: mounting does not work here"
  exit 0
fi
"${own_mounts[@]}" bash mount-file true
reads mounted.sqlite "${own_mounts[@]}" bash mount-file
refused "mounted by itself" mounted.sqlite "${own_mounts[@]}" bash mount-file
start_nbdkit s "$plugin" one.sqlite
nbdsh -u "$(uri s)" -c 'h.pwrite(b"1" * 2**19, 0); h.flush()'
expect_error "mounted.sqlite" timeout 20 "${own_mounts[@]}" bash mount-file \
  nbdkit -U - "$plugin" mounted.sqlite --run 'nbdsh -u "$uri" -c "
h.pwrite(b\"2\" * 2**19, 2**19); h.flush()"'
stop_nbdkit
nbdkit -U - "$plugin" one.sqlite --run 'nbdsh -u "$uri" -c "
assert bytes(h.pread(2**20, 0)) == b\"1\" * 2**19 + b\"a\" * 2**19"' ||
  fail "a write was lost"

# The directory may be mounted elsewhere: the log lies beside it there, too.
mkdir there
cat >mount-directory <<'EOF2'
mount --bind . there || exit 99
exec "$@"
EOF2
start_nbdkit s "$plugin" one.sqlite
nbdsh -u "$(uri s)" -c 'h.pwrite(b"c" * 2**20, 0); h.flush()'
"${own_mounts[@]}" bash mount-directory \
  "$top_builddir/tool/sqlblock" create there/one.sqlite more --size=1M --quiet
stop_nbdkit
