#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Copies of encrypted disks: streams, increments, clones, and what a server does
# for a command.  What is encrypted never becomes plain on its way, nor is mixed
# with what is plain, or of another key; and no slot is lost or comes back.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdcopy nbdsh python3
PATH=$top_builddir/tool:$PATH
cd "$tmp"
db=$tmp/disks.sqlite

can_encrypt || skip "this program was built without encryption"

head -c 32 /dev/urandom >key
head -c 32 /dev/urandom >other
head -c 32 /dev/urandom >third
for i in $(seq 5000); do
  echo "plain text, line number $i"
done >plain
truncate -s 256k plain
sed 's/number/NUMBER/' plain >changed
truncate -s 256k changed

# no_plain FILE...: nothing of it is there in plain text.
no_plain ()
{
  ! grep -ail "plain text" "$@" || fail "there is plain text"
}

# reports TEXT FILE: a check finds it.
reports ()
{
  ! sqlblock check "$2" >out 2>&1 || fail "nothing was found in $2"
  grep -q "$1" out || fail "$(cat out)"
}

# serve NAME [PARAMETER...]: the server NAME of $db with a control socket.
serve ()
{
  rm -f "$tmp/$1.control"
  start_nbdkit "$1" "$plugin" "$db" control="$tmp/$1.control" "${@:2}"
  wait_for test -S "$tmp/$1.control"
}

sqlblock import --create "$db" web plain --compression=none --encrypt \
  --key-file=key
sqlblock import --create plain.sqlite open plain --compression=none
sqlblock snapshot create "$db" web@one
sqlblock snapshot create plain.sqlite open@one
cp "$db" one.sqlite
cp plain.sqlite plain-one.sqlite

#--------------------------------------------------------------------
# Through a server: what is sent is as it is stored.

for key in "" key-file=key; do
  serve s ${key:+"$key"}
  sqlblock send --control="$tmp/s.control" "$db" web@one >stream ||
    fail "send through a server"
  no_plain stream
  rm -f received.sqlite*
  sqlblock receive received.sqlite <stream
  back received.sqlite web plain --key-file=key
  stop_nbdkit
done

#--------------------------------------------------------------------
# Increments.

nbdkit -U - "$plugin" "$db" key-file=key export=web \
  --run 'nbdcopy --flush changed "$uri"'
nbdkit -U - "$plugin" plain.sqlite export=open \
  --run 'nbdcopy --flush changed "$uri"'
sqlblock snapshot create "$db" web@two
sqlblock snapshot create plain.sqlite open@two
start_nbdkit increment -r "$plugin" "$db" key-file=key
increment=$(uri increment web@one..two)
cp one.sqlite copy.sqlite
fails 1 "is encrypted" import --increment copy.sqlite web "$increment"
sqlblock check copy.sqlite || fail "check"
no_plain copy.sqlite*
fails 1 "fits one of its slots" import --increment copy.sqlite web \
  "$increment" --key-file=other
sqlblock import --increment copy.sqlite web "$increment" --key-file=key ||
  fail "an increment with the key"
back copy.sqlite web changed --key-file=key
sqlblock check copy.sqlite || fail "check"
no_plain copy.sqlite*
stop_nbdkit

# A stream changes what is encrypted with the same key only.  To have another
# disk of the same guid, somebody changes the file.
sqlblock send "$db" web@two --from=web@one >encrypted
sqlblock send plain.sqlite open@two --from=open@one >open
sqlblock receive received.sqlite <encrypted || fail "an increment"
back received.sqlite web changed --key-file=key
guid=$(query "$db" "SELECT guid FROM snapshot WHERE name = 'one'")
other=$(query plain.sqlite "SELECT guid FROM snapshot WHERE name = 'one'")

# stands FILE GUID: its snapshot "one" has it now.
stands ()
{
  query "$1" "UPDATE snapshot SET guid = $2 WHERE name = 'one'"
  "$top_builddir/tests/seal" "$1" rows
}

# refused FILE DISK GUID STREAM TEXT: it is not received, and the disk can be
# read as before.
refused ()
{
  cp "$1" bad.sqlite
  stands bad.sqlite "$3"
  fails_input=$4 fails 1 "$5" receive bad.sqlite "$2"
  fails_input=$4 fails 1 "$5" receive --dry-run bad.sqlite "$2"
}
refused plain-one.sqlite open "$guid" encrypted "what comes is encrypted, and"
back bad.sqlite open plain
refused one.sqlite web "$other" open "what comes is not encrypted"
back bad.sqlite web plain --key-file=key
sqlblock import --create else.sqlite web plain --encrypt --key-file=key
sqlblock snapshot create else.sqlite web@one
refused else.sqlite web "$guid" encrypted "with another key"
back bad.sqlite web plain --key-file=key

#--------------------------------------------------------------------
# Slots: those of a clone that is received are its own.

sqlblock key add "$db" web --key-file=key --new-key-file=other
rm -f received.sqlite*
sqlblock send "$db" web@one | sqlblock receive received.sqlite
sqlblock clone "$db" web@one clone
sqlblock key remove "$db" clone 1 --key-file=key
sqlblock snapshot create "$db" clone@three
sqlblock send "$db" clone@three --from=web@one | sqlblock receive received.sqlite
[ "$(sqlblock key list -H received.sqlite clone)" = $'0\tkey-file' ] ||
  fail "$(sqlblock key list received.sqlite clone)"
back received.sqlite clone plain --key-file=key
fails 1 "fits one of its slots" export received.sqlite clone none \
  --key-file=other

# One that is damaged is not left out, nor free.
cp "$db" bad.sqlite
query bad.sqlite "UPDATE property SET checksum = checksum + 1
  WHERE key = 'encryption:slot:1'"
"$top_builddir/tests/seal" bad.sqlite
[ "$(sqlblock key list -H bad.sqlite web)" = $'0\tkey-file\n1\tdamaged' ] ||
  fail "$(sqlblock key list bad.sqlite web)"
fails 1 "slot 1 of its key is damaged" clone bad.sqlite web@one copy
fails 1 "is damaged" send bad.sqlite web@one
sqlblock key add bad.sqlite web --key-file=key --new-key-file=other
[ "$(sqlblock key list -H bad.sqlite web | tail -n 1)" = $'2\tkey-file' ] ||
  fail "$(sqlblock key list bad.sqlite web)"
sqlblock key remove bad.sqlite web 1 --key-file=key
sqlblock clone bad.sqlite web@one copy
back bad.sqlite copy plain --key-file=key

# The feature is lost, or the header.
cp "$db" bad.sqlite
change bad.sqlite "DELETE FROM feature WHERE name = 'encrypted'"
sqlblock send bad.sqlite web@one >stream
no_plain stream
fails 1 "it is encrypted" import --overwrite bad.sqlite web plain
no_plain bad.sqlite
back bad.sqlite web changed --key-file=key
reports "what says so is lost" bad.sqlite
cp "$db" bad.sqlite
change bad.sqlite "DELETE FROM property WHERE key = 'encryption'"
fails 1 "what says how is lost" key list bad.sqlite web
reports "what says how is lost" bad.sqlite

# A slot that is removed opens nothing from then on, also in a server.
cp "$db" slots.sqlite
start_nbdkit slots "$plugin" slots.sqlite key-file=key
nbdsh -u "$(uri slots web)" -c 'h.pread(512, 0)' || fail "not served"
sqlblock key remove slots.sqlite web 0 --key-file=other
! nbdsh -u "$(uri slots web)" -c 'h.pread(512, 0)' 2>/dev/null ||
  fail "served by a slot that was removed"
stop_nbdkit

# What asks for more work than any that is made here is none.
"$top_builddir/tests/seal" slots.sqlite live "UPDATE property SET value =
  'passphrase argon2id 5 8 ' || substr (value, 22)
  WHERE key = 'encryption:slot:1'"
"$top_builddir/tests/seal" slots.sqlite
[ "$(sqlblock key list -H slots.sqlite web)" = $'1\tunknown' ] ||
  fail "$(sqlblock key list slots.sqlite web)"

#--------------------------------------------------------------------
# What a server with the key does for a command, and one without does not.

cp one.sqlite served.sqlite
cp plain-one.sqlite served-plain.sqlite
serve without
for what in "export web none" "recompress web" "resize web 100001 --shrink" \
  "import web changed --overwrite"; do
  # shellcheck disable=SC2086
  set -- $what
  fails 1 "the server has not its key" "$1" --control="$tmp/without.control" \
    "$db" "${@:2}"
done
fails 1 "fits one of its slots" export --control="$tmp/without.control" "$db" \
  web none --key-file=third
stop_nbdkit
serve with key-file=key
for what in "export web none" "recompress web" "resize web 100001 --shrink" \
  "import web changed --overwrite"; do
  # shellcheck disable=SC2086
  set -- $what
  fails 1 "fits one of its slots" "$1" --control="$tmp/with.control" "$db" \
    "${@:2}" --key-file=third
done
rm -f back
sqlblock export --control="$tmp/with.control" "$db" web back --key-file=key
cmp back changed || fail "exported through the server"
sqlblock import --control="$tmp/with.control" "$db" web plain --overwrite \
  --key-file=key
sqlblock set "$db" web compression=zstd
sqlblock recompress --control="$tmp/with.control" "$db" web --key-file=key
sqlblock resize --control="$tmp/with.control" "$db" web 100001 --shrink \
  --key-file=key
# What no command says is refused, and the server goes on.
python3 - "$tmp/with.control" <<'PY' || fail "a call"
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
lines = client.makefile()
def call(name, /, **arguments):
    client.sendall(json.dumps({"call": name, "arguments": arguments}).encode()
                   + b"\n")
    reply = json.loads(lines.readline())
    assert reply.get("error", {}).get("errno") == "EINVAL", (name, reply)
texts = ({"encryption": "x"}, {"encryption": "x", "slot": ""}, {"slot": "x"},
         {"encryption": "", "slot": "x"}, {"encryption": "x" * 400, "slot": "x"})
for text in texts:
    call("manage_create", options={"name": "bad", "size": 1024, **text})
for number in 1 << 32, (1 << 32) + 1, 32, -1:
    call("manage_set_slot", target="web", id=number, name="", text="x")
call("manage_set_slot", target="web", id=1, name="", text="x")
PY
sqlblock key list --control="$tmp/with.control" "$db" web >/dev/null ||
  fail "the server is gone"
stop_nbdkit
back "$db" web <(head -c 100001 plain) --key-file=key
no_plain "$db"
db=$tmp/served-plain.sqlite
serve keyed key-file=key
fails 1 "not encrypted" import --control="$tmp/keyed.control" "$db" open \
  changed --overwrite --key-file=key
fails 1 "not encrypted" export --control="$tmp/keyed.control" "$db" open \
  none --key-file=key
stop_nbdkit
back "$db" open plain

# A disk that was cut inside a block, whose end is zeroes, goes on without the key.
db=$tmp/cut.sqlite
sqlblock create "$db" web --size=1M --encrypt --key-file=key
head -c 1M /dev/urandom >whole
sqlblock import "$db" web whole --overwrite --key-file=key
sqlblock snapshot create "$db" web@1
head -c 548576 whole >short
truncate -s 1M short
sqlblock import "$db" web short --overwrite --key-file=key
sqlblock snapshot create "$db" web@2
nbdkit -U - "$plugin" "$db" key-file=key --run \
  'nbdsh -u "$uri" -c "h.zero (500000, 548576)" -c "h.flush ()"'
sqlblock resize "$db" web 700928 --shrink --key-file=key
sqlblock snapshot create "$db" web@3
sqlblock send "$db" web@1 | sqlblock receive cut-copy.sqlite
sqlblock send "$db" web@2 --from=web@1 | sqlblock receive cut-copy.sqlite ||
  fail "an increment"
sqlblock send "$db" web@3 --from=web@2 | sqlblock receive cut-copy.sqlite ||
  fail "an increment of a disk that was cut"
back cut-copy.sqlite web <(head -c 700928 short) --key-file=key
