#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# sqlblock check --salvage of files of which a part is gone: cut at any size,
# pages zeroed, the index or a whole tree of pages gone, the log lost or cut.
# Whatever is lost: each block that can be read is what it was, or there is an
# error, and it is said, by exit code 6, in the list and in JSON; also with
# --zero-lost. What needs it says that --salvage is there.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdsh python3 cmp
python3 -c 'import nbd' 2>/dev/null || skip "python3 has no module nbd"

PATH=$top_builddir/tool:$PATH
use_memory
cd "$tmp"
db=disks.sqlite

head -c 1200000 /dev/urandom >image
truncate -s 2M image
head -c 420000 /dev/urandom >small
sqlblock import -q --create -c none "$db" web image
sqlblock import -q "$db" other small
sqlblock snapshot create -q "$db" web@a
nbdkit -U - "$plugin" "$db" export=web --run 'nbdsh -u "$uri" -c "
import random
random.seed(3)
for i in range(100):
    h.pwrite(random.randbytes(4096), 4096 * random.randrange(500))"'
sqlblock clone -q "$db" web@a copy
nbdkit -U - "$plugin" "$db" export=copy --run 'nbdsh -u "$uri" -c "
import random
random.seed(4)
for i in range(30):
    h.pwrite(random.randbytes(4096), 4096 * random.randrange(500))"'
for export in web web@a copy other; do
  sqlblock export -q "$db" "$export" "$export.raw"
done
[ ! -s "$db-wal" ] || fail "there is a log"
# The same with the trees in another order, and in one that nobody expects.
query "$db" "VACUUM INTO 'vacuumed.sqlite'"
cp "$db" strange
query strange "CREATE TABLE strange (x)"
query strange "VACUUM INTO 'strange.sqlite'"
# So many blocks that the index has more than one page, and most tables empty.
head -c 4000000 /dev/urandom >plain.raw
sqlblock import -q --create -c none plain plain plain.raw
query plain "VACUUM INTO 'plain.sqlite'"

cat >salvage.py <<'EOF2'
import json, os, random, shutil, sqlite3, subprocess, sys, time
import nbd

plugin, rounds = sys.argv[1], int(sys.argv[2])
seed = int(os.environ.get("SQLBLOCK_SEED") or random.randrange(1 << 32))
print("seed", seed, flush=True)
random.seed(seed)
good = open("disks.sqlite", "rb").read()
EXPORTS = ("web", "web@a", "copy", "other")
truth = {name: open(name + ".raw", "rb").read() for name in EXPORTS}
PAGE = 4096

def salvage(*options):
    for name in os.listdir("."):
        if name.startswith("out.sqlite"):
            os.remove(name)
    done = subprocess.run(["sqlblock", "check", "bad.sqlite",
                           "--salvage=out.sqlite", "--json", *options],
                          capture_output=True, text=True)
    try:
        report = json.loads(done.stdout) if done.stdout else None
    except ValueError:
        sys.exit("no JSON: %s" % done.stdout[:300])
    return done.returncode, report, done.stderr

def read_range(h, offset, end):
    """Its blocks, None where they cannot be read."""
    try:
        data = h.pread(end - offset, offset)
        return [bytes(data[i:i + PAGE]) for i in range(0, len(data), PAGE)]
    except nbd.Error:
        if end - offset <= PAGE:
            return [None]
    middle = offset + (end - offset + PAGE) // 2 // PAGE * PAGE
    return read_range(h, offset, middle) + read_range(h, middle, end)

def read(name):
    """The blocks of an export; None where it is not there, or not at all
    readable."""
    h = nbd.NBD()
    try:
        h.connect_uri("nbd+unix:///%s?socket=salvage.sock" % name)
    except nbd.Error:
        return None
    blocks = []
    for offset in range(0, h.get_size(), 1 << 18):
        blocks += read_range(h, offset, min(offset + (1 << 18), h.get_size()))
    h.shutdown()
    return blocks

def serve():
    """A server of out.sqlite."""
    if os.path.exists("salvage.sock"):
        os.remove("salvage.sock")
    server = subprocess.Popen(["nbdkit", "-f", "-r", "-U", "salvage.sock",
                               "-P", "salvage.pid", plugin, "out.sqlite"],
                              stderr=subprocess.DEVNULL)
    while server.poll() is None and not os.path.exists("salvage.pid"):
        time.sleep(0.01)
    return server

def compare():
    """How many blocks are wrong, cannot be read, and are right."""
    wrong = unreadable = right = 0
    server = serve()
    for name in EXPORTS:
        blocks = read(name)
        whole = [truth[name][i:i + PAGE]
                 for i in range(0, len(truth[name]), PAGE)]
        if blocks is None:
            unreadable += len(whole)
            continue
        if len(blocks) != len(whole):
            wrong += 1
        for got, wanted in zip(blocks, whole):
            wrong += got is not None and got != wanted
            unreadable += got is None
            right += got == wanted
    server.kill()
    server.wait()
    if os.path.exists("salvage.pid"):
        os.remove("salvage.pid")
    return wrong, unreadable, right

def attempt(what, bad, nothing_lost=False):
    with open("bad.sqlite", "wb") as file:
        file.write(bad)
    code, report, errors = salvage()
    if report is None:
        # Refused, and said so.
        assert code not in (0, 6) and errors, (what, code, errors)
        assert not os.path.exists("out.sqlite"), what
        print("%s: refused" % what, flush=True)
        return
    wrong, unreadable, right = compare()
    print("%s: exit code %d, %d problems, %d wrong, %d not readable, %d right"
          % (what, code, report["problem_count"], wrong, unreadable, right),
          flush=True)
    if wrong:
        sys.exit("%s: wrong data can be read: %s" % (what, errors))
    if unreadable:
        assert code == 6 and report["problem_count"] > 0, (what, code, errors)
        assert report["problems"], what
    if nothing_lost:
        assert code == 0 and not unreadable, (what, code, errors)
    result = unreadable
    code, report, errors = salvage("--zero-lost")
    wrong, unreadable, right = compare()
    if wrong or unreadable:
        assert code == 6 and report["problem_count"] > 0, \
            (what, "--zero-lost", code, errors, wrong, unreadable)
        assert report["problems"], what
    return result

def zeroed(pages, file=good):
    bad = bytearray(file)
    for page in pages:
        bad[(page - 1) * PAGE:page * PAGE] = bytes(PAGE)
    return bytes(bad)

pages = len(good) // PAGE
attempt("as it is", good, True)
attempt("one byte short", good[:-1])
attempt("a million", good[:1000000])
for cut in (0, 50, 100, 4096, 8192, *(n * PAGE for n in range(15, 24)),
            30 * PAGE):
    attempt("cut at %d" % cut, good[:cut])
# Roots: of the schema, the map, and each tree alone; the first two are no loss.
attempt("without page 1", zeroed([1]), True)
attempt("without pages 1 and 2", zeroed([1, 2]), True)
for page in range(3, 23):
    attempt("without page %d" % page, zeroed([page]))
def roots_of(path):
    with sqlite3.connect(path) as database:
        return dict(database.execute("SELECT name, rootpage FROM sqlite_schema"
                                     " WHERE rootpage > 0"))

# Only the way to what is there is lost: little is not known.
roots = roots_of("disks.sqlite")
assert attempt("without the roots of blocks", zeroed(
    [roots["block"], roots["block_by_number"]])) < 500

# The schema is lost, and more: nothing tells where the trees begin but they
# themselves.
def leaves_of(path, table, count):
    with sqlite3.connect(path) as database:
        pages = [page for page, in database.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf'",
            (table,))]
    return random.sample(pages, count)

def some(roots):
    """As many of them as there is time for."""
    return random.sample(list(roots.items()), len(roots) if rounds > 6 else 4)

for name in ("disks", "vacuumed", "strange"):
    path = name + ".sqlite"
    file = open(path, "rb").read()
    known = name != "strange"
    assert known != ("strange" in roots_of(path))
    attempt(name + " without page 1", zeroed([1], file), known)
    if known:
        attempt(name + " without pages 1 and 2", zeroed([1, 2], file), True)
    attempt(name + " without page 1 and leaves",
            zeroed([1, *leaves_of(path, "block", 3)], file))
    for table, page in some(roots_of(path)) if known or rounds > 6 else ():
        attempt("%s without page 1 and %s" % (name, table),
                zeroed([1, page], file))

# Where most tables are empty they are easily taken for others.
truth["plain"] = open("plain.raw", "rb").read()
file = open("plain.sqlite", "rb").read()
others, EXPORTS = EXPORTS, ("plain",)
attempt("plain without page 1", zeroed([1], file), True)
for table, page in some(roots_of("plain.sqlite")):
    attempt("plain without page 1, leaves and " + table, zeroed(
        [1, page, *leaves_of("plain.sqlite", "block", 3)], file))
EXPORTS = others

# The schema tells of a wrong root, and its page does not fit its checksum.
for table, wrong in (("block_by_number", "content_by_hash"),
                     ("block", "counted"), ("block", "content"),
                     ("disk", "mark"), ("snapshot", "counted"),
                     ("layer", "content")):
    shutil.copy("disks.sqlite", "wrong")
    with sqlite3.connect("wrong") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = ?",
                         (roots[wrong], table))
    database.close()
    attempt("%s is said to begin as %s" % (table, wrong), zeroed(
        leaves_of("disks.sqlite", "block", 3), open("wrong", "rb").read()))
for i in range(rounds):
    kind = random.randrange(4)
    if kind == 0:
        attempt("cut", good[:random.randrange(len(good))])
    elif kind == 1:
        many = random.sample(range(1, pages + 1), random.randrange(1, 40))
        attempt("without %s" % sorted(many), zeroed(many))
    elif kind == 2:
        first = random.randrange(1, pages)
        last = random.randrange(first, pages + 1)
        attempt("without %d to %d" % (first, last),
                zeroed(range(first, last + 1)))
    else:
        bad = bytearray(good)
        start = random.randrange(len(bad))
        count = random.randrange(1, 20000)
        bad[start:start + count] = random.randbytes(len(bad[start:start + count]))
        attempt("%d random bytes at %d" % (count, start), bytes(bad))
EOF2
python3 salvage.py "$plugin" "$([ "${SOAK:-}" = yes ] && echo 3000 || echo 6)" ||
  fail "see above"

# --- Who has a damaged file is told ---------------------------------------------

for size in 50 1000 20000 1000000 $(($(stat -c %s "$db") - 5000)); do
  head -c "$size" "$db" >cut.sqlite
  for command in list check "info" "backup"; do
    got=0
    if [ "$command" = backup ]; then
      sqlblock backup cut.sqlite copy.sqlite >out 2>&1 || got=$?
    else
      sqlblock "$command" cut.sqlite >out 2>&1 || got=$?
    fi
    [ "$got" != 0 ] || fail "$command of a file that is cut at $size: $got"
    grep -q -- "--salvage" out || fail "$command, $size: $(cat out)"
  done
done
cp "$db" block.sqlite
change block.sqlite "UPDATE block SET checksum = 5 WHERE id = 3"
sqlblock check block.sqlite >out 2>&1 && fail "nothing was found"
grep -q -- "--salvage" out || fail "$(cat out)"

# --- The log ---------------------------------------------------------------------

start_nbdkit s "$plugin" "$db" log-size=64M
nbdsh -u "$(uri s other)" -c 'import os
for i in range(100):
    h.pwrite(os.urandom(4096), 4096 * i)
h.flush()'
kill_nbdkit
[ -s "$db-wal" ] && [ -s "$db-shm" ] || fail "there is no log"
mkdir log
# salvage_log CODE: the copy in log.
salvage_log ()
{
  local got=0
  rm -f log/out.sqlite*
  sqlblock check log/db.sqlite --salvage=log/out.sqlite >out 2>&1 || got=$?
  [ "$got" = "$1" ] || fail "exit code $got, wanted $1: $(cat out)"
}
copy_log ()
{
  rm -rf log
  mkdir log
  cp "$db" log/db.sqlite
  cp "$db-wal" log/db.sqlite-wal
  cp "$db-shm" log/db.sqlite-shm
}
copy_log
salvage_log 0
copy_log
rm log/db.sqlite-wal
salvage_log 6
grep -q "file: the write-ahead log" out || fail "$(cat out)"
copy_log
truncate -s $(($(stat -c %s "$db-wal") / 2)) log/db.sqlite-wal
salvage_log 6
grep -q "file: the write-ahead log" out || fail "$(cat out)"
copy_log
printf 'XXXXXXXX' | dd of=log/db.sqlite-wal bs=1 conv=notrunc status=none \
  seek=$(($(stat -c %s "$db-wal") / 2))
salvage_log 6
rm log/db.sqlite-shm
salvage_log 6
grep -q "file: the write-ahead log" out || fail "$(cat out)"
copy_log
printf 'XXXXXXXX' | dd of=log/db.sqlite-wal bs=1 conv=notrunc status=none
salvage_log 6
exit 0
