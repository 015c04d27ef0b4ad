#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# Features that this program does not know, of the file or of one disk, and rows
# with codecs that it does not know: what it keeps off, before and while a
# server runs, and that all else goes on.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need sqlite3 nbdkit nbdinfo nbdcopy qemu-io nbdsh sha256sum
PATH=$top_builddir/tests:$top_builddir/tool:$PATH
cd "$tmp" || exit 1

# feature NAME DISK CLASS: another program says so of a disk by its id; of the
# file for 0.
feature ()
{
  seal disks live "INSERT INTO feature SELECT max (id) + 1, '$1', $2, $3, 0
    FROM feature"
}

# id DISK
id ()
{
  query disks "SELECT id FROM disk WHERE name = '$1'"
}

# rows DISK: all that is of it: its rows, those of its snapshots, and of the
# layers that it reads what it and they see.
rows ()
{
  sqlite3 disks "SELECT * FROM feature WHERE disk = $1 ORDER BY id;
    SELECT * FROM disk WHERE id = $1;
    SELECT * FROM snapshot WHERE disk = $1 ORDER BY id;
    SELECT * FROM property WHERE (kind = 1 AND owner = $1) OR (kind = 2 AND
      owner IN (SELECT id FROM snapshot WHERE disk = $1)) ORDER BY id;
    SELECT layer.* FROM layer WHERE id IN (SELECT layer FROM disk
      WHERE id = $1 UNION SELECT layer FROM snapshot WHERE disk = $1);
    SELECT block.id, layer, number, generation, codec, checksum, content,
      quote (data) FROM block WHERE generation <= (SELECT max (generation)
        FROM reads_layer WHERE disk = $1 AND reads_layer.layer = block.layer)
      ORDER BY id" >dump
  sha256sum <dump
}

# io SOCKET EXPORT COMMAND: what qemu-io says.
io ()
{
  qemu-io -f raw -c "$3" "$(uri "$1" "$2")" 2>&1 || :
}

# errno SOCKET EXPORT REQUEST: of a request of libnbd, or "done".
errno ()
{
  nbdsh -u "$(uri "$1" "$2")" -c 'import errno
h.set_strict_mode (0)
try:
    '"$3"'
    print ("done")
except nbd.Error as error:
    print (error.errno)'
}

# expect WANTED GOT WHAT
expect ()
{
  [ "$1" = "$2" ] || fail "$3: «$2», not «$1»"
}

# refused COMMAND...: sqlblock says that it lacks the feature, and changes
# nothing of the disk.
refused ()
{
  if sqlblock -q "$@" >out 2>err </dev/null; then
    fail "this was to be refused: sqlblock $*"
  fi
  grep -q "uses the feature 'novel'" err || fail "sqlblock $*: $(cat err)"
  expect "$before" "$(rows "$web")" "the disk after sqlblock $*"
}

# works COMMAND...
works ()
{
  sqlblock -q "$@" >out 2>err || fail "sqlblock $*: $(cat err)"
  expect "$before" "$(rows "$web")" "the disk after sqlblock $*"
}

sqlblock create -q disks web --size=1M
sqlblock create -q disks mail --size=1M --dedup
start_nbdkit s "$plugin" disks
for disk in web mail; do
  io s $disk "write -P 1 0 256k" | grep -q "^wrote"
  sqlblock snapshot create -q disks $disk@monday
  io s $disk "write -P 2 64k 64k" | grep -q "^wrote"
  sqlblock snapshot create -q disks $disk@tuesday
  io s $disk "write -P 3 128k 64k" | grep -q "^wrote"
done
# Not by an export, which would raise the generation: the newest rows are to be
# of the present one.
nbdcopy "$(uri s web)" whole
stop_nbdkit
sqlblock clone -q disks web@monday child
sqlblock send -q disks web@monday >stream-0
sqlblock send -q disks web@tuesday --from=@monday >stream
cp disks good
web=$(id web)
mail=$(id mail)
child=$(id child)

# --- The file -----------------------------------------------------------------

for class in 1 2 3 7; do
  cp good disks
  feature novel 0 $class
  "$top_builddir/tests/seal" disks
  case $class in
    1)
      sqlblock snapshot create -q disks web@wednesday ;;
    2)
      fails 1 "uses the feature 'novel'" snapshot create disks web@wednesday
      sqlblock export -q disks web image
      cmp whole image
      rm -f backup
      sqlblock backup -q disks backup
      sqlblock export -q backup web image --overwrite
      cmp whole image ;;
    *)
      fails 1 "uses the feature 'novel'" list disks
      expect_error "uses the feature 'novel'" nbdkit -U - "$plugin" disks \
        --run true ;;
  esac
done

# While a server runs, and while a client is there.
for class in 1 2 3 7; do
  cp good disks
  rm -f s.log
  start_nbdkit s "$plugin" disks
  nbdsh -c 'import os, subprocess, sys
web, mail = nbd.NBD (), nbd.NBD ()
for handle, name in (web, "web"), (mail, "mail"):
    handle.set_strict_mode (0)
    handle.set_export_name (name)
    handle.connect_unix ("s")

def result (request):
    try:
        request ()
        return "done"
    except nbd.Error as error:
        return error.errno

def look ():
    return [result (request) for handle in (web, mail) for request in (
        lambda: handle.pread (512, 0), lambda: handle.pwrite (bytes (512), 0),
        lambda: handle.trim (4096, 0), lambda: handle.zero (4096, 0),
        lambda: handle.flush ())]

assert look () == 10 * ["done"], look ()
subprocess.check_call (["seal", "disks", "live", "INSERT INTO feature SELECT "
    "max (id) + 1, '"'novel'"', 0, '"$class"', 0 FROM feature"])
got = look ()
wanted = {1: 10 * ["done"],
          2: 2 * (["done"] + 3 * ["EPERM"] + ["done"])}.get ('$class',
          2 * (4 * ["EIO"] + ["done"]))
assert got == wanted, got' || fail "a feature of the file of class $class"
  stop_nbdkit
  [ "$class" = 1 ] || grep -q "the database uses the feature 'novel'" s.log ||
    fail "the server does not say it: $(cat s.log)"
done

# --- A disk: commands ---------------------------------------------------------

# changes: each command that changes the disk.
changes ()
{
  refused rename disks web other
  grep -qF "disk 'web' uses" err || fail "renaming it: $(cat err)"
  refused rename disks web@monday other
  refused describe disks web text
  refused set disks web compression=none
  refused set disks web quota=1G
  refused set disks web user:key=text
  refused set disks web@monday user:key=text
  refused describe disks web@monday text
  refused snapshot hold disks web@monday tag
  refused resize disks web 2M
  refused resize disks web 512k --shrink
  refused snapshot create disks web@wednesday
  refused snapshot create disks --all @wednesday
  refused snapshot delete disks web@monday
  refused snapshot delete disks web@monday web@tuesday
  refused rollback disks web@monday
  refused rollback disks web@monday --force
  refused flatten disks web
  refused recompress disks web
  refused delete disks web --snapshots
  refused delete disks web --snapshots --force
  refused import disks web whole --overwrite
  refused clone disks web copy
}

# others: all that can be done with other disks.
others ()
{
  works rename disks mail post
  works rename disks post mail
  works resize disks mail 2M
  works snapshot create disks mail@wednesday
  works rollback disks mail@monday
  works clone disks mail copy
  works flatten disks copy
  works set disks mail compression=none quota=1G
  works recompress disks mail
  works snapshot delete disks mail@wednesday
  works export disks mail image --overwrite
  works compact disks
  works delete disks copy
  works import disks other whole
  works delete disks other
  works compact disks
  works delete disks child
  works compact disks
  works check disks
  works check disks --repair
}

for class in 1 2 3 7; do
  cp good disks
  feature novel "$web" $class
  seal disks
  before=$(rows "$web")
  sqlblock list disks >out
  sqlblock list disks --all --usage >/dev/null
  sqlblock list disks --json >json
  sqlblock info disks web >info
  case $class in
    1) word='' access=full ;;
    2) word=read-only access=read-only ;;
    *) word=unusable access=none ;;
  esac
  grep "^web .*$word" out >/dev/null || fail "the list: $(cat out)"
  [ -n "$word" ] || ! grep "newer" out || fail "the list: $(cat out)"
  grep -q "$word" info || fail "info: $(cat info)"
  expect $access "$(python3 -c 'import json
print ([disk["access"] for disk in json.load (open ("json"))["disks"]
        if disk["name"] == "web"][0])')" "access"
  rm -f image backup
  case $class in
    1)
      sqlblock snapshot create -q disks web@wednesday
      sqlblock clone -q disks web copy
      expect 2 "$(query disks "SELECT count (*) FROM feature
        WHERE name = 'novel'")" "rows of the feature"
      sqlblock backup -q disks backup
      continue ;;
    2)
      works export disks web image
      cmp whole image
      works export disks web@monday image --overwrite
      works send disks web@tuesday --from=@monday
      works diff disks web@monday web
      works map disks web
      works backup disks backup
      expect "$before" "$(cp disks kept; cp backup disks; rows "$web"
        cp kept disks)" "the backup"
      works clone disks web@tuesday copy
      expect 2 "$(query disks "SELECT count (*) FROM feature
        WHERE name = 'novel'")" "rows of the feature"
      fails 1 "uses the feature 'novel'" snapshot create disks copy@one
      sqlite3 disks "DELETE FROM feature WHERE disk > $web"
      seal disks
      works delete disks copy ;;
    *)
      refused export disks web image
      refused export disks web@monday image
      refused send disks web@monday
      refused send disks web@tuesday --from=@monday
      refused diff disks web@monday web
      refused diff disks web@monday web@tuesday
      refused map disks web
      refused map disks web@monday
      refused clone disks web@monday copy
      refused backup disks backup
      grep -q "disk 'web'" err || fail "the disk is not named: $(cat err)"
      [ ! -e backup ] || fail "there is a backup" ;;
  esac
  changes
  if sqlblock -q receive disks web <stream 2>err; then
    fail "received"
  fi
  others
done

# Who copies a disk that must not be changed keeps nobody else from that, but
# those who write, as a newer program would.
cp good disks
feature novel "$web" 2
seal disks
before=$(rows "$web")
mkfifo pipe
sqlblock export -q disks web - >pipe &
started_pids+=($!)
exec 8<pipe
head -c 4096 <&8 >begin
works export disks web image --overwrite
cmp whole image
rm -f backup
works backup disks backup
works map disks web
cat begin - <&8 >rest
exec 8<&-
cmp whole rest
wait "${started_pids[-1]}"

# What has come whole may be one that can only be read, which is said.
sqlblock send -q disks web@monday >stream-2
sqlblock receive disks copy <stream-2 2>err || fail "receive: $(cat err)"
grep -q "disk 'copy' can only be read here" err || fail "not said: $(cat err)"
sqlblock receive disks other <stream-0 2>err || fail "receive: $(cat err)"
! grep "only be read" err || fail "this can be written"

# An increment for a disk that would take it.
cp good disks
sqlblock receive -q disks copy <stream-0
feature novel "$(id copy)" 2
seal disks
web=$(id copy)
before=$(rows "$web")
if sqlblock -q receive disks copy <stream 2>err; then
  fail "received"
fi
grep -q "uses the feature 'novel'" err || fail "receive: $(cat err)"
expect "$before" "$(rows "$web")" "the disk after a receive"
web=$(id web)

# What a disk that is kept off reads of others stays, too.
cp good disks
feature novel "$child" 2
seal disks
before=$(rows "$child") web=$child
works resize disks web 2M
works snapshot create disks web@wednesday
works snapshot delete disks web@monday web@wednesday
works rollback disks web@tuesday
works recompress disks web
works delete disks web --snapshots
works compact disks
works check disks --repair
works check disks
works export disks child image --overwrite
web=$(query good "SELECT id FROM disk WHERE name = 'web'")

# Damage is told, and left; without the feature it would be mended.
cp good disks
feature novel "$web" 2
sqlite3 disks "UPDATE block SET checksum = checksum + 1 WHERE id =
  (SELECT max (id) FROM block WHERE layer =
    (SELECT layer FROM disk WHERE id = $web))"
seal disks
before=$(rows "$web")
if sqlblock check disks --repair >out 2>err; then
  fail "this was not told: $(cat out err)"
fi
grep -q "is left as it is: disk 'web' uses the feature 'novel'" err ||
  fail "repair: $(cat err)"
expect "$before" "$(rows "$web")" "the damaged disk after a repair"
sqlite3 disks "DELETE FROM feature WHERE name = 'novel'"
seal disks
sqlblock check -q disks --repair || fail "it is not mended"

# What another program left of a reception of web: new, or with web's own layer,
# in whose place that has a stand-in.
for class in 2 3; do
  for lent in no yes; do
    cp good disks
    sqlite3 disks "INSERT INTO layer SELECT 50, id, 2, 1, 0 FROM layer
        WHERE id = (SELECT layer FROM disk WHERE id = $web);
      INSERT INTO disk SELECT 50, 'web/receiving', description, size,
        block_size, 50, epoch, compression, compression_level, deduplicate,
        quota, created, 0 FROM disk WHERE id = $web"
    if [ $lent = yes ]; then
      sqlite3 disks "PRAGMA foreign_keys = OFF;
        CREATE TEMP TABLE own AS SELECT layer FROM disk WHERE id = $web;
        UPDATE disk SET layer = 51 WHERE id = 50;
        UPDATE disk SET layer = 50 WHERE id = $web;
        UPDATE disk SET layer = (SELECT layer FROM own) WHERE id = 50"
    fi
    seal disks rows
    sqlblock check disks >out || fail "check: $(cat out)"
    grep -q "interrupted" out || fail "it is not found: $(cat out)"
    feature novel 50 $class
    seal disks
    cp disks left
    own=$web web=50
    before=$(rows 50)
    refused rename disks web other
    grep -qF "disk 'web/receiving' uses" err || fail "renaming it: $(cat err)"
    expect web "$(query disks "SELECT name FROM disk WHERE id = $own")" "a name"
    refused import disks web whole --overwrite
    works check disks
    ! grep "interrupted" out || fail "another's reception is told of"
    works check disks --repair
    works compact disks
    works rename disks mail post
    works snapshot create disks web@wednesday
    works list disks
    # Without the feature it is one of ours.
    sqlite3 disks "DELETE FROM feature WHERE name = 'novel'"
    seal disks
    sqlblock rename -q disks web other
    expect other/receiving \
      "$(query disks "SELECT name FROM disk WHERE id = 50")" "its name"
    sqlblock compact -q disks
    expect 0 "$(query disks "SELECT count (*) FROM disk WHERE id = 50")" \
      "disks that are left behind"
    sqlblock check -q disks
    web=$own
  done
done

# --- A disk whose row is lost -------------------------------------------------

# salvaged SQL: what is saved of the file "lonely", after SQL, is "saved"; its
# disks are in $all, those with the feature in $kept.
salvaged ()
{
  cp lonely disks
  sqlite3 disks "PRAGMA foreign_keys = OFF; $1"
  seal disks rows
  rm -f saved
  sqlblock check disks --salvage=saved >out 2>err || :
  all=$(echo $(query saved "SELECT name FROM disk ORDER BY layer"))
  kept=$(echo $(query saved "SELECT disk.name FROM disk JOIN feature
    ON feature.disk = disk.id WHERE feature.name = 'novel' ORDER BY layer"))
  sqlblock check -q saved >check 2>&1 || fail "what is saved: $(cat check)"
}

rm -f lonely
sqlblock import -q --create -c none lonely web whole
sqlblock import -q lonely post whole
sqlblock import -q lonely mail whole
novel="INSERT INTO feature SELECT 50, 'novel', id, 3, 0 FROM disk
    WHERE name = 'web'; INSERT INTO property SELECT 50, 1, id, 'user:a', 'b', 0
    FROM disk WHERE name = 'mail'"
for class in 2 3 7; do
  salvaged "${novel/, 3,/, $class,}; DELETE FROM disk WHERE name = 'web'"
  expect "recovered-1 post mail" "$all" "what is saved"
  expect recovered-1 "$kept" "what has the feature"
  grep -q "recovered-NUMBER.* 'novel'" out || fail "not said: $(cat out err)"
  fails 1 "uses the feature 'novel'" set saved recovered-1 user:a=b
  if [ $class = 2 ]; then
    sqlblock export -q saved recovered-1 image --overwrite
    cmp -n 262144 whole image
  else
    fails 1 "uses the feature 'novel'" export saved recovered-1 image \
      --overwrite
  fi
  sqlblock set -q saved mail user:c=d
done
# Nobody knows which one it was; and none gets what was about another one.
salvaged "$novel; DELETE FROM disk WHERE name <> 'post'"
expect "recovered-1 post recovered-3" "$all" "what is saved"
expect "recovered-1 recovered-3" "$kept" "what has the feature"
expect 0 "$(query saved "SELECT count (*) FROM property WHERE kind = 1")" \
  "properties of others"
# Its snapshots tell who it was; what it showed is not in their layer.
cp lonely single
sqlblock snapshot create -q lonely web@monday
sqlblock rollback -q lonely web@monday
salvaged "$novel; DELETE FROM disk WHERE name = 'web'"
expect "recovered-1 post mail recovered-4" "$all" "what is saved"
expect "recovered-1 recovered-4" "$kept" "what has the feature"
fails 1 "uses the feature 'novel'" export saved recovered-4 image --overwrite
# One that is there keeps its own; one that does not matter is nobody's.
cp single lonely
salvaged "$novel; DELETE FROM disk WHERE name = 'mail'"
expect "web post recovered-3" "$all" "what is saved"
expect web "$kept" "what has the feature"
salvaged "${novel/, 3,/, 1,}; DELETE FROM disk WHERE name = 'web'"
expect "recovered-1 post mail" "$all" "what is saved"
expect "" "$kept" "what has the feature"
sqlblock export -q saved recovered-1 image --overwrite
cmp -n 262144 whole image
# Ids that leave no room.
salvaged "$novel; DELETE FROM disk WHERE name = 'web'; INSERT INTO feature
  SELECT 60 + i, 'x' || i, 9223372036854775807, 3, 0 FROM
  (SELECT 1 AS i UNION ALL SELECT 2)"
expect "recovered-1 post mail" "$all" "what is saved"
expect 3 "$(query saved "SELECT count (*) FROM feature JOIN disk
  ON disk.id = feature.disk")" "features of what is saved"

# --- A disk: servers ----------------------------------------------------------

# A class that is there when the server begins.
for class in 1 2 3 7; do
  cp good disks
  feature novel "$web" $class
  seal disks
  rm -f s.log
  start_nbdkit s "$plugin" disks
  io s mail "write -P 9 0 4k" | grep -q "^wrote" || fail "mail is not served"
  case $class in
    1)
      expect done "$(errno s web "h.pwrite (bytes (512), 0)")" "a write" ;;
    2)
      nbdinfo "$(uri s web)" | grep -q "is_read_only: true" ||
        fail "web can be written"
      nbdcopy "$(uri s web)" image
      cmp whole image
      expect EPERM "$(errno s web "h.pwrite (bytes (512), 0)")" "a write"
      nbdinfo --list "$(uri s)" >list ;;
    *)
      if nbdinfo "$(uri s web)" >/dev/null 2>&1; then
        fail "web is served"
      fi
      if nbdinfo "$(uri s web@monday)" >/dev/null 2>&1; then
        fail "a snapshot of web is served"
      fi
      nbdinfo --list "$(uri s)" >list
      ! grep web list || fail "web is listed: $(cat list)" ;;
  esac
  stop_nbdkit
  [ $class = 1 ] || grep -q "uses the feature 'novel'" s.log ||
    fail "the server does not say it: $(cat s.log)"
done
expect_error "uses the feature 'novel'" nbdkit -U - "$plugin" disks export=web \
  --run true

# One that comes while clients are there.
for class in 1 2 3 7 damaged; do
  cp good disks
  rm -f s.log
  start_nbdkit s "$plugin" disks auto-snapshot=1s
  sql="INSERT INTO feature SELECT max (id) + 1, 'novel', $web,
    ${class/damaged/1}, 0 FROM feature"
  nbdsh -c 'import subprocess, sqlite3
handles = []
for name in "web", "web@monday", "mail":
    handle = nbd.NBD ()
    handle.set_strict_mode (0)
    handle.set_export_name (name)
    handle.connect_unix ("s")
    handles.append (handle)

def result (request):
    try:
        request ()
        return "done"
    except nbd.Error as error:
        return error.errno

def look ():
    return [[result (request) for request in (
        lambda: handle.pread (512, 0), lambda: handle.pwrite (bytes (512), 0),
        lambda: handle.trim (4096, 0), lambda: handle.zero (4096, 0),
        lambda: handle.flush ())] for handle in handles]

whole, reads = 5 * ["done"], ["done"] + 3 * ["EPERM"] + ["done"]
assert look () == [whole, reads, whole], look ()
sql = """'"$sql"'"""
if "'$class'" == "damaged":
    database = sqlite3.connect ("disks", timeout=20)
    database.execute (sql)
    database.commit ()
    database.close ()
else:
    subprocess.check_call (["seal", "disks", "live", sql])
got = look ()
none = 4 * ["EIO"] + ["done"]
none_read = none[:1] + 3 * ["EPERM"] + ["done"]
wanted = {"1": [whole, reads, whole], "2": [reads, reads, whole]}.get (
    "'$class'", [none, none_read, whole])
assert got == wanted, (got, wanted)' || fail "class $class beside clients"
  before=$(rows "$web")
  sleep 2
  expect done "$(errno s mail "h.pwrite (bytes (512), 0)")" "a write to mail"
  [ "$class" = 1 ] || expect "$before" "$(rows "$web")" "web after a while"
  expect 1 "$(query disks "SELECT count (*) > 0 FROM snapshot
    WHERE disk = $mail AND automatic")" "snapshots of mail"
  stop_nbdkit
  [ "$class" = 1 ] || grep -q "feature 'novel'.*" s.log ||
    fail "the server does not say it: $(cat s.log)"
done

# A damaged row counts as one that refuses, of a disk and of the file.
sqlblock list disks >out
grep -q "^web .*unusable" out || fail "the list: $(cat out)"
fails 1 "the row of the feature 'novel' of disk 'web' is damaged" \
  export disks web image
cp good disks
change disks "INSERT INTO feature VALUES (50, 'novel', 0, 1, 77)"
fails 1 "the row of the feature 'novel' of the database is damaged" list disks

# So does one whose name only begins as one that is known.
cp good disks
seal disks live "INSERT INTO feature
  VALUES (50, CAST (x'6c7a34002e' AS TEXT), $web, 3, 0)"
seal disks
sqlblock list disks >out
grep -q "^web .*unusable" out || fail "the list: $(cat out)"

# As many as there may be are looked at, also where they do not matter; one more
# is impossible, since they would be looked at again and again.
cp good disks
seal disks live "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
    WHERE i < 100)
  INSERT INTO feature SELECT 100 + i, 'x' || i, $web, 1, 0 FROM n"
seal disks
sqlblock snapshot create -q disks web@many
feature more "$web" 1
seal disks
sqlblock list disks >out
grep -q "^web .*unusable" out || fail "the list: $(cat out)"
fails 1 "disk 'web' has more than 100 features" export disks web image
sqlblock snapshot create -q disks mail@many
seal disks live "UPDATE feature SET disk = 0 WHERE disk = $web; DELETE FROM
  feature WHERE name LIKE 'x__'"
seal disks
sqlblock snapshot create -q disks web@more
seal disks live "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n
    WHERE i < 100)
  INSERT INTO feature SELECT 300 + i, 'y' || i, 0, 1, 0 FROM n"
seal disks
fails 1 "the database has more than 100 features" list disks

# Options that this program does not know are those of whoever has the feature.
cp good disks
feature novel "$web" 3
sqlite3 disks "UPDATE disk SET block_size = 4194304, compression = 99,
  deduplicate = 7 WHERE id = $web"
seal disks rows
sqlblock list disks --all >out
grep -q "^web .*unusable" out || fail "the list: $(cat out)"
grep -q "^web@monday" out || fail "the list: $(cat out)"
sqlblock info disks web >/dev/null
sqlblock check disks >/dev/null

# --- Codecs -------------------------------------------------------------------

for codec in 99 1003; do
  cp good disks
  seal disks live "UPDATE block SET codec = $codec,
      checksum = block_checksum (layer, number, generation, $codec, data)
      WHERE number IN (20, 33)
      AND layer = (SELECT layer FROM disk WHERE id = $web);
    UPDATE content SET codec = $codec,
      checksum = content_checksum (id, hash, size, $codec, data)
      WHERE id = (SELECT min (id) FROM content)"
  seal disks
  unknown="SELECT id, layer, number, generation, codec, checksum, quote (data)
    FROM block WHERE codec > 4;
    SELECT id, hash, size, codec, checksum, quote (data) FROM content
    WHERE codec > 4"
  wanted=$(sqlite3 disks "$unknown")
  expect 5 "$(grep -c . <<<"$wanted")" "rows of another codec"
  # Neither damaged nor readable.
  sqlblock check disks >out 2>&1
  grep -q "5 blocks stored in a way" out || fail "check: $(cat out)"
  rm -f s.log
  start_nbdkit s "$plugin" disks
  expect EIO "$(errno s web "h.pread (4096, 20 * 4096)")" "reading"
  expect EIO "$(errno s mail "h.pread (4096, 0)")" "reading"
  expect done "$(errno s web "h.pread (4096, 0)")" "reading another block"
  expect done "$(errno s web "h.pwrite (b'x' * 4096, 0)")" "writing another"
  expect EIO "$(errno s web "h.pwrite (b'x' * 4096, 33 * 4096)")" "overwriting"
  expect EIO "$(errno s web "h.pwrite (b'x' * 512, 33 * 4096)")" "a part"
  expect EIO "$(errno s web "h.zero (8192, 32 * 4096)")" "zeroing"
  expect EIO "$(errno s web "h.trim (8192, 32 * 4096)")" "trimming"
  stop_nbdkit
  grep -q "the block is stored with the codec $codec" s.log ||
    fail "the server does not say it: $(cat s.log)"
  rm -f saved
  sqlblock check -q disks --salvage=saved >/dev/null || fail "not saved"
  expect "$wanted" "$(sqlite3 saved "$unknown")" "what was saved"
  # The layers stay, when nobody sees them, too.
  sqlblock recompress -q disks web >/dev/null 2>&1 || :
  sqlblock set -q disks web compression=none
  sqlblock recompress -q disks web >/dev/null 2>&1 || :
  sqlblock snapshot delete -q disks web@tuesday mail@tuesday
  sqlblock compact -q disks
  sqlblock delete -q disks web --snapshots
  sqlblock compact -q disks
  sqlblock flatten -q disks child 2>/dev/null || :
  sqlblock delete -q disks mail --snapshots
  sqlblock delete -q disks child
  sqlblock compact -q disks
  expect 0 "$(query disks "SELECT count (*) FROM disk")" "disks"
  sqlblock check -q disks --repair >out 2>&1 || fail "repair: $(cat out)"
  expect "$wanted" "$(sqlite3 disks "$unknown")" "rows of another codec"
  rm -f backup
  sqlblock backup -q disks backup
  sqlblock check -q backup
done

# To a content that is not known, blocks may refer in a way that is not known.
cp good disks
seal disks live "DELETE FROM block WHERE codec = 4 AND content =
    (SELECT min (id) FROM content);
  UPDATE content SET codec = 1003,
    checksum = content_checksum (id, hash, size, 1003, data)
    WHERE id = (SELECT min (id) FROM content)"
seal disks
sqlblock check -q disks --repair || fail "such a content is an orphan"
expect 1 "$(query disks "SELECT count (*) FROM content WHERE codec = 1003")" \
  "contents of another codec"
