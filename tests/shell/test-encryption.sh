#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Encrypted disks: what needs the key and what does not, that nothing of the
# plain text is in a file, and that what was changed by who has not the key is
# an error.  How blocks and keys are encrypted is unit-cipher's.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdinfo nbdsh python3 strings
PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=$tmp/disks.sqlite

can_encrypt || skip "this program was built without encryption"

head -c 32 /dev/urandom >key
head -c 32 /dev/urandom >other
echo "correct horse" >words
for i in $(seq 20000); do
  echo "plain text, line number $i"
done >plain
truncate -s 1000003 plain

#--------------------------------------------------------------------
# Making one, and serving it.

fails 2 "the disk gets one with --encrypt" \
  create "$db" web --size=1000003 --key-file=key
fails 1 "Give --key-file" create "$db" web --size=1000003 --encrypt
fails 1 "needs 32" create "$db" web --size=1000003 --encrypt --key-file=words
fails 2 "can be seen by all users" \
  create "$db" web --size=1000003 --encrypt --passphrase=words
fails 1 "a new disk has one slot" \
  create "$db" web --size=1000003 --encrypt --key-file=key --passphrase=+words
printf 'correct\0horse\n' >zero
fails 1 "a byte that is 0" \
  create "$db" web --size=1000003 --encrypt --passphrase=+zero
mkfifo pipe
fails 1 "it is a pipe" create "$db" web --size=1M --encrypt --key-file=pipe
fails 1 "it is a directory" create "$db" web --size=1M --encrypt --key-file=.
[ ! -e "$db" ] || fail "something was made"
sqlblock create "$db" web --size=1000003 --encrypt --key-file=key
sqlblock create "$db" open --size=1M

# served EXPORT [PARAMETER...]: can a client open it?
served ()
{
  nbdkit -U - "$plugin" "$db" "${@:2}" \
    --run "nbdinfo --size \"nbd+unix:///$1?socket=\$unixsocket\"" >out 2>&1
}
served web key-file=key || fail "refused: $(cat out)"
! served web || fail "served without a key"
grep -q "is encrypted, and no key was given" out || fail "$(cat out)"
! served web key-file=other || fail "served with another key"
grep -q "fits none of its slots" out || fail "$(cat out)"
! served web passphrase=+words || fail "served with a passphrase"
! served open key-file=key || fail "a disk that is not encrypted was served"
grep -q "is not encrypted, but a key was given" out || fail "$(cat out)"
served open || fail "$(cat out)"
! served open passphrase=words || fail "a passphrase for all to see"

# A server of one disk that it cannot open does not start.
starts ()
{
  nbdkit -U - "$plugin" "$db" "$@" --run true >out 2>&1
}
starts export=web key-file=key || fail "$(cat out)"
! starts export=web || fail "started without a key"
grep -q "disk 'web': it is encrypted; give its key" out || fail "$(cat out)"
! starts export=web key-file=other || fail "started with another key"
grep -q "no key that was given fits" out || fail "$(cat out)"
! starts export=open key-file=key || fail "started with a disk of no key"
grep -q "is not encrypted, but a key was given" out || fail "$(cat out)"

start_nbdkit s "$plugin" "$db" key-file=key
nbdcopy --flush plain "$(uri s web)"
nbdcopy "$(uri s web)" back
cmp plain back || fail "it is not what was written"
nbdsh -u "$(uri s web)" -c '
h.pwrite(b"only a part of it", 4090)
assert h.pread(17, 4090) == b"only a part of it"
h.pwrite(bytes(8192), 8192)
h.zero(100, 20000)
h.trim(4096, 40960)
h.flush()'
! strings "$db"* | grep "plain text\|a part of it" ||
  fail "there is plain text while a server runs"
python3 - <<'EOF2'
data = bytearray(open("plain", "rb").read())
data[4090:4107] = b"only a part of it"
data[8192:16384] = bytes(8192)
data[20000:20100] = bytes(100)
data[40960:45056] = bytes(4096)
open("now", "wb").write(data)
EOF2
kill_nbdkit
back "$db" web now --key-file=key
fails 1 "it is encrypted" export "$db" web none
fails 1 "fits one of its slots" export "$db" web none --key-file=other
fails 1 "is not encrypted" export "$db" open none --key-file=key

# A server that makes its disk makes it encrypted.
nbdkit -U - "$plugin" new.sqlite size=1M passphrase=+words \
  --run 'nbdcopy --flush words "$uri" 2>/dev/null || true'
[ "$(query new.sqlite "SELECT count (*) FROM feature
  WHERE name = 'encrypted' AND class = 3")" = 1 ] || fail "not encrypted"

#--------------------------------------------------------------------
# What needs no key.

sqlblock snapshot create "$db" web@one
sqlblock clone "$db" web@one clone
nbdkit -U - "$plugin" "$db" key-file=key export=clone \
  --run 'nbdcopy --flush plain "$uri"'
back "$db" clone plain --key-file=key
back "$db" web now --key-file=key
sqlblock snapshot create "$db" clone@two
sqlblock send "$db" web@one >first
sqlblock send "$db" clone@two --from=web@one >second
cat first second | sqlblock receive received.sqlite || fail "receive"
sqlblock check received.sqlite || fail "check"
back received.sqlite web now --key-file=key
back received.sqlite clone plain --key-file=key
fails 1 "it is encrypted" export received.sqlite web none
sqlblock rollback "$db" clone@two
sqlblock backup "$db" backup.sqlite
sqlblock check "$db" || fail "check"
sqlblock check "$db" --salvage=salvaged.sqlite
back backup.sqlite web now --key-file=key
back salvaged.sqlite web now --key-file=key
sqlblock resize "$db" clone 2M
truncate -s 2M plain
back "$db" clone plain --key-file=key
fails 1 "it is encrypted" resize "$db" clone 300001 --shrink
# A disk that was cut in the middle of a block is received without the key, too,
# and there are zeroes behind the cut.
sqlblock resize "$db" clone 300001 --shrink --key-file=key
sqlblock snapshot create "$db" clone@three
sqlblock send "$db" clone@three --from=clone@two |
  sqlblock receive received.sqlite
head -c 300001 plain >cut
back received.sqlite clone cut --key-file=key
truncate -s 1000003 cut plain
sqlblock resize received.sqlite clone 1000003
back received.sqlite clone cut --key-file=key
sqlblock check received.sqlite
sqlblock rollback "$db" clone@two

# What does, needs it for the whole of it.
truncate -s 1000003 plain
sqlblock set "$db" web compression=zstd
fails 1 "is encrypted; give its key" recompress "$db" web
sqlblock recompress "$db" web --key-file=key
back "$db" web now --key-file=key
sqlblock import "$db" more plain --encrypt --dedup --passphrase=+words
sqlblock import --create made.sqlite made plain --encrypt --key-file=key
back made.sqlite made plain --key-file=key

# Equal blocks of one key are stored once, of two keys never.
for name in same twice; do
  head -c 64k plain
  head -c 64k plain
done >double
sqlblock import "$db" dedup double --encrypt --dedup --passphrase=+words
contents=$(query "$db" "SELECT count (*) FROM content")
sqlblock import "$db" dedup double --overwrite --passphrase=+words
[ "$(query "$db" "SELECT count (*) FROM content")" = "$contents" ] ||
  fail "equal blocks were stored again"
back "$db" dedup double --passphrase=+words
back "$db" more plain --passphrase=+words
sqlblock snapshot create "$db" dedup@one
sqlblock send "$db" dedup@one | sqlblock receive received.sqlite
back received.sqlite dedup double --passphrase=+words

# Nothing of it is in any file.
! strings ./*.sqlite* first second | grep "plain text\|a part of it" ||
  fail "there is plain text"
! grep -c "plain text" ./*.sqlite* first second | grep -v ":0$" ||
  fail "there is plain text"

#--------------------------------------------------------------------
# Slots.

[ "$(sqlblock key list -H "$db" web)" = $'0\tkey-file' ] ||
  fail "$(sqlblock key list "$db" web)"
fails 1 "fits one of its slots" key add "$db" web --key-file=other \
  --new-passphrase=+words
sqlblock key add "$db" web --key-file=key --new-passphrase=+words
back "$db" web now --passphrase=+words
back "$db" web now --key-file=key
fails 1 "slots that stay" key remove "$db" web 0 --key-file=key
sqlblock key remove "$db" web 0 --passphrase=+words
fails 1 "fits one of its slots" export "$db" web none --key-file=key
fails 1 "is the last one" key remove "$db" web 1 --force
sqlblock key change "$db" web --passphrase=+words --new-key-file=other
back "$db" web now --key-file=other
# Copies from before have what they had.
back "$db" clone plain --key-file=key

#--------------------------------------------------------------------
# Asking for passphrases, and locking them in memory.

setsid -w sqlblock export "$db" more none --passphrase=- <words 2>err &&
  fail "a passphrase was read from standard input"
grep -q "there is no terminal" err || fail "$(cat err)"
cat >typing.py <<'EOF2'
import os, pty, sys
answers = [b"Passphrase of the disk: ", b"correct horse\n",
           b"New passphrase: ", b"battery\n", b"The same again: ", b"battery\n"]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sqlblock", ["sqlblock"] + sys.argv[1:])
shown = b""
for question, answer in zip(answers[::2], answers[1::2]):
    while not shown.endswith(question):
        shown += os.read(terminal, 1000)
    os.write(terminal, answer)
try:
    while True:
        more = os.read(terminal, 1000)
        if not more:
            break
        shown += more
except OSError:
    pass
assert b"battery" not in shown and b"horse" not in shown, shown
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
EOF2
python3 typing.py key change "$db" more --passphrase=- --new-passphrase=- ||
  fail "what was typed was not taken"
echo battery >battery
back "$db" more plain --passphrase=+battery
if [ "$(id -u)" != 0 ] || type setpriv >/dev/null 2>&1; then
  drop=
  [ "$(id -u)" != 0 ] || drop="setpriv --bounding-set=-ipc_lock
    --inh-caps=-ipc_lock"
  # shellcheck disable=SC2016,SC2086
  ! $drop bash -c 'ulimit -l 0; sqlblock export "$1" made over --key-file=key' \
    bash made.sqlite 2>err || fail "a key is in memory that is not locked"
  grep -q "memory that can be locked" err || fail "$(cat err)"
fi

#--------------------------------------------------------------------
# What was changed by who has no key, but knows the format.

# reads OFFSET: the block there can be read.
reads ()
{
  nbdkit -U - "$plugin" bad.sqlite key-file=key export=made --run \
    "nbdsh -u \"\$uri\" -c 'h.pread(512, $1)'" >out 2>&1
}

# bad SQL [found]: do this, and have block 0 and all pages have right checksums.
# A check, which has no key, finds something or not.
bad ()
{
  cp made.sqlite bad.sqlite
  "$top_builddir/tests/seal" bad.sqlite live "$1;
    UPDATE block SET checksum =
      block_checksum (layer, number, generation, codec, data)
      WHERE number = 0"
  "$top_builddir/tests/seal" bad.sqlite
  sqlblock check bad.sqlite >out 2>&1 || [ $# = 2 ] ||
    fail "the test is wrong: $(cat out)"
}
bad "SELECT 1"
reads 0 || fail "$(cat out)"
bad "UPDATE block SET (data, codec) = (SELECT data, codec FROM block AS other
  WHERE other.number = 1) WHERE number = 0"
! reads 0 || fail "a row in the place of another was read"
grep -q "in the place of another block" out || fail "$(cat out)"
reads 8192 || fail "$(cat out)"
bad "UPDATE block SET data = CAST (substr (data, 1, length (data) - 1)
  || x'00' AS BLOB) WHERE number = 0"
! reads 0 || fail "a changed byte was read"
bad "UPDATE block SET codec = 1, data = zeroblob (4096) WHERE number = 0" found
grep -q "it is not encrypted as its disk is" out || fail "$(cat out)"
! reads 0 || fail "a row that is not encrypted was read"
grep -q "not encrypted as its disk is" out || fail "$(cat out)"

# The same number, of another disk: with the same key, as a clone has, it is not
# noticed, which SECURITY.md says; with another key it is.
cp made.sqlite one.sqlite
sqlblock snapshot create made.sqlite made@one
sqlblock clone made.sqlite made@one twin
nbdkit -U - "$plugin" made.sqlite key-file=key export=twin --run \
  "nbdsh -u \"\$uri\" -c 'h.pwrite(b\"t\" * 512, 0)'"
sqlblock import made.sqlite third plain --encrypt --key-file=key
swap ()
{
  bad "UPDATE block SET (data, codec) = (SELECT data, codec FROM block AS other
      WHERE other.number = 0 ORDER BY other.id LIMIT 1 OFFSET $1)
    WHERE id = (SELECT min (id) FROM block WHERE number = 0)"
}
swap 0
reads 0 || fail "$(cat out)"
swap 1
reads 0 || fail "$(cat out)"
rm -f twin
sqlblock export -q bad.sqlite made twin --key-file=key
head -c 512 twin | grep -qx "t*" || fail "the block of a clone is noticed: change SECURITY.md"
swap 2
! reads 0 || fail "a block of another key was read"
grep -q "with another key than that of the disk" out || fail "$(cat out)"
mv one.sqlite made.sqlite
bad "SELECT 1"

# A slot that is damaged opens nothing; the others still do.
sqlblock key add bad.sqlite made --key-file=key --new-key-file=other
change bad.sqlite "UPDATE property SET value = replace (value, 'key-file',
  'key-fil3') WHERE key = 'encryption:slot:0'"
sqlblock key list -H bad.sqlite made >out
[ "$(cat out)" = $'0\tdamaged\n1\tkey-file' ] || fail "$(cat out)"
fails 1 "fits one of its slots" export bad.sqlite made none --key-file=key
back bad.sqlite made plain --key-file=other

# What says how it is encrypted is lost: the disk is not opened.
change bad.sqlite "DELETE FROM property WHERE key = 'encryption'"
! reads 8192 || fail "opened without what says how"
grep -q "what says how is lost" out || fail "$(cat out)"
