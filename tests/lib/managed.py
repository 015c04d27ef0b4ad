# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What the tests of interrupted commands share: a database of several disks,
# snapshots and clones, the commands that change it, and what must be true
# after each of them, however it ended.
#
#   web ──► one ──► two ──► now        copy: a clone of web@one, written to,
#            └────► copy ─► three      with a snapshot; rest: a clone of it
#
# A command makes one state, what all disks and snapshots read as, another.
# After an interruption there must be one or the other, and nothing between.

import hashlib, json, os, random, shutil, sqlite3, subprocess, sys, time
import nbd

BLOCK = 512
BLOCKS = 5000                   # so that flattening and freeing take steps
SIZE = BLOCKS * BLOCK
MAIL = 64 * BLOCK

# Each command, and the exit codes that it may have when it was done before.
# "RAW" and "STREAM" are files that make() makes; the stream is standard input.
COMMANDS = {
    "snapshot create": (["snapshot", "create", "web@new", "copy@new"], {4}),
    "snapshot delete": (["snapshot", "delete", "web@one", "web@two"], {3}),
    "rollback": (["rollback", "web@one"], {0}),
    "rollback clone": (["rollback", "copy@three"], {0}),
    "clone": (["clone", "web@two", "new"], {4}),
    "clone disk": (["clone", "web", "new"], {4}),
    "flatten": (["flatten", "rest"], {0}),
    "flatten first": (["flatten", "copy"], {0}),
    "delete": (["delete", "web", "--snapshots"], {3}),
    "delete clone": (["delete", "rest"], {3}),
    "resize": (["resize", "web", "9M"], {0}),
    "shrink": (["resize", "web", "1M", "--shrink"], {0}),
    "rename": (["rename", "web", "net"], {3}),
    "create": (["create", "new", "--size=1M"], {4}),
    "import": (["import", "new", "RAW"], {4}),
    "import over": (["import", "web", "RAW", "--overwrite"], {0}),
    "receive": (["receive", "new", "STREAM"], {4}),
    "compact": (["compact"], {0}),
    "discard": (["delete", "bin", "--snapshots"], {3}),
    "undelete": (["undelete", "binned"], {3}),
    "trash empty": (["trash", "empty"], {0}),
}

# Rows that nobody sees, as schema.sql says who sees what, and layers.
UNSEEN = """
    WITH looks (layer, generation) AS (
      SELECT disk.layer, layer.generation FROM disk
        JOIN layer ON layer.id = disk.layer
      UNION SELECT layer, generation FROM snapshot
      UNION SELECT parent, parent_generation FROM layer
        WHERE parent IS NOT NULL),
    rows AS (SELECT layer, generation, lead (generation) OVER
      (PARTITION BY layer, number ORDER BY generation) AS newer FROM block)
    SELECT count (*) FROM rows WHERE NOT EXISTS (
      SELECT 1 FROM looks WHERE looks.layer = rows.layer
        AND looks.generation >= rows.generation
        AND looks.generation < ifnull (rows.newer, 1 << 62))"""
ORPHANS = """
    SELECT count (*) FROM layer WHERE id NOT IN (SELECT layer FROM disk)
      AND id NOT IN (SELECT layer FROM snapshot) AND id NOT IN
      (SELECT parent FROM layer WHERE parent IS NOT NULL)"""

files = {}                      # by their names in COMMANDS


def fail(*words):
    print("FAILED:", *words, file=sys.stderr)
    sys.exit(1)


def put_file(db, words):
    """A command's words with the files among them, and its input."""
    at = 2 if words[0] in ("snapshot", "trash") else 1
    stream = open(files["STREAM"] if "STREAM" in words else os.devnull, "rb")
    return ([*words[:at], db, *(files.get(word, word) for word in words[at:]
                                if word != "STREAM")], stream)


def start(db, words):
    """Start a command on a database."""
    words, stream = put_file(db, words)
    with stream:
        return subprocess.Popen(["sqlblock", *words], stdin=stream, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def run(db, words, codes={0}):
    """Run a command; it must end with one of the codes."""
    process = start(db, words)
    out, error = process.communicate(timeout=120)
    if process.returncode not in codes:
        fail(words, "ended with", process.returncode, error)
    return out


class Server:
    """A server of a database, started by whoever needs one."""
    def __init__(self, db, plugin, *parameters):
        self.socket = db + ".socket"
        ready = db + ".pid"
        for file in self.socket, ready:
            if os.path.exists(file):
                os.unlink(file)
        self.log = open(db + ".log", "w+")
        self.process = subprocess.Popen(
            ["nbdkit", "-f", "--exit-with-parent", "-P", ready, "-U",
             self.socket, plugin, db, *parameters], stderr=self.log)
        for _ in range(6000):
            if os.path.exists(ready):
                return self.await_answer()
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        self.log.seek(0)
        fail("no server:", self.log.read())

    def await_answer(self):
        """nbdkit makes its file before the plugin has opened the database.
        Another program that opens it before that, and is the last to close
        it, moves the log of a server that was killed into it; then the file
        is refused."""
        h = nbd.NBD()
        h.set_opt_mode(True)
        h.connect_unix(self.socket)
        h.opt_abort()

    def connect(self, export):
        h = nbd.NBD()
        h.set_export_name(export)
        h.connect_unix(self.socket)
        return h

    def read(self, export):
        h = self.connect(export)
        data = h.pread(h.get_size(), 0)
        h.shutdown()
        return bytes(data)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.terminate()
        self.process.wait()


def names(db):
    """Of all disks and snapshots."""
    listed = json.loads(run(db, ["list", "--all", "--json"]))
    return ([disk["name"] for disk in listed["disks"]] +
            ["%s@%s" % (snapshot["disk"], snapshot["snapshot"])
             for snapshot in listed["snapshots"]])


def state(db, server):
    """What all disks and snapshots read as, but for mail, which clients
    write; and what is in the trash."""
    trash = json.loads(run(db, ["trash", "list", "--json"]))["trash"]
    return {"the trash": [(disk["name"], disk["snapshots"]) for disk in trash],
            **{name: hashlib.sha256(server.read(name)).hexdigest()
               for name in names(db) if not name.startswith("mail")}}


def difference(a, b):
    """The names of what differs between two states."""
    return [name for name in a.keys() | b.keys() if a.get(name) != b.get(name)]


def state_of(db, plugin):
    server = Server(db, plugin)
    found = state(db, server)
    server.kill()
    return found


def write(server, export, count):
    """Write some random blocks, and make some zeroes."""
    h = server.connect(export)
    for _ in range(count):
        first = random.randrange(BLOCKS)
        size = min(random.randrange(1, 1000), BLOCKS - first) * BLOCK
        if random.random() < .3:
            h.trim(size, first * BLOCK)
        else:
            h.pwrite(random.randbytes(size), first * BLOCK)
    h.flush()
    h.shutdown()


def make(db, plugin):
    """Make the database."""
    for disk, size in ("web", SIZE), ("mail", MAIL):
        run(db, ["create", disk, "--size=%d" % size, "--block-size=512"])
    server = Server(db, plugin)
    for snapshot in "one", "two", None:
        write(server, "web", 12)
        if snapshot:
            run(db, ["snapshot", "create", "web@" + snapshot])
    run(db, ["clone", "web@one", "copy"])
    write(server, "copy", 3)
    run(db, ["snapshot", "create", "copy@three"])
    write(server, "copy", 3)
    run(db, ["clone", "copy@three", "rest"])
    write(server, "rest", 3)
    for disk in "bin", "binned":
        run(db, ["clone", "web@two", disk])
        write(server, disk, 5)
        run(db, ["snapshot", "create", disk + "@four"])
        write(server, disk, 5)
        run(db, ["set", disk, "trash=7d"])
    run(db, ["delete", "binned", "--snapshots"])
    server.process.terminate()
    server.process.wait()
    files["RAW"], files["STREAM"] = db + ".raw", db + ".stream"
    with open(files["RAW"], "wb") as raw:
        raw.write(random.randbytes(SIZE - 10 * BLOCK) + bytes(10 * BLOCK))
    with open(files["STREAM"], "wb") as stream:
        subprocess.run(["sqlblock", "send", db, "web@one"], stdout=stream,
                       check=True)


def remove(db):
    for end in "", "-wal", "-shm", "-lock":
        if os.path.exists(db + end):
            os.unlink(db + end)


def restore(template, db):
    """The database as make has made it."""
    remove(db)
    shutil.copy(template, db)


def ask(db, sql):
    connection = sqlite3.connect(db, timeout=60)
    answer, = connection.execute(sql).fetchone()
    connection.close()
    return answer


def check_file(db, what):
    if ask(db, "PRAGMA integrity_check") != "ok":
        fail(what, "integrity_check")


def check_reclaimed(db, what):
    """Free all that can be; nothing that nobody sees may be left."""
    run(db, ["create", "gone", "--size=1M"])
    run(db, ["delete", "gone"])
    for sql in UNSEEN, ORPHANS, "SELECT count (*) FROM reclaim":
        if ask(db, sql) != 0:
            fail(what, ask(db, sql), "are left of", sql)
