#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""What Litestream 0.3.13 does to a database, where that is not installed.

  litestream.py replicate DATABASE REPLICA
  litestream.py restore -o FILE REPLICA

It has the same tables, the same transactions and the same rules as db.go
there, but looks ten times as often ($LITESTREAM_INTERVAL, in seconds), and has
a tenth of its limits, so that a test takes seconds.  REPLICA is a directory:

  generation          its number: one more for each copy of the whole file
  G/snapshot          that copy
  G/NUMBER.wal        each log since then, as far as it was copied
"""

import os, shutil, sqlite3, struct, sys, time

INTERVAL = float(os.environ.get("LITESTREAM_INTERVAL", "0.1"))
LEAST, MOST = 100, 1000     # pages: a checkpoint PASSIVE, and RESTART
BUMP = ("INSERT INTO _litestream_seq (id, seq) VALUES (1, 1)"
        " ON CONFLICT (id) DO UPDATE SET seq = seq + 1")

class Replication:
    def __init__(self, path, replica):
        self.path, self.log, self.replica = path, path + "-wal", replica
        self.db = self.connect()
        self.db.execute("PRAGMA journal_mode = wal").fetchone()
        self.db.execute("PRAGMA wal_autocheckpoint = 0").fetchone()
        self.db.execute("CREATE TABLE IF NOT EXISTS _litestream_seq"
                        " (id INTEGER PRIMARY KEY, seq INTEGER);")
        self.db.execute("CREATE TABLE IF NOT EXISTS _litestream_lock"
                        " (id INTEGER);")
        self.reader = self.connect()
        self.lock()
        # To close any descriptor of these would drop SQLite's locks.
        self.file = open(path, "rb", buffering=0)
        self.index = open(path + "-shm", "rb", buffering=0)
        self.frame = 24 + self.db.execute("PRAGMA page_size").fetchone()[0]
        self.generation = self.shadow = None

    def connect(self):
        return sqlite3.connect(self.path, timeout=1, isolation_level=None)

    def lock(self):
        """The long read transaction."""
        self.reader.execute("BEGIN")
        self.reader.execute("SELECT count(1) FROM _litestream_seq").fetchone()

    def header(self):
        with open(self.log, "rb") as log:
            return log.read(32)

    def committed(self):
        """How many bytes of the log are committed; its index says so."""
        frames, = struct.unpack("=I", os.pread(self.index.fileno(), 4, 16))
        return 32 + frames * self.frame

    def place(self, name):
        return os.path.join(self.replica, str(self.generation), name)

    def copy(self):
        """Add to the shadow of the log what was committed; it is durable."""
        done = os.path.getsize(self.shadow)
        with open(self.log, "rb") as log, open(self.shadow, "ab") as shadow:
            log.seek(done)
            shadow.write(log.read(max(self.committed() - done, 0)))
            shadow.flush()
            os.fsync(shadow.fileno())
        return os.path.getsize(self.shadow)

    def copy_end(self):
        """The same of a log that has started over, which is still behind the
        end of the new one."""
        done = os.path.getsize(self.shadow)
        with open(self.shadow, "rb") as shadow:
            salts = shadow.read(32)[16:24]
        rest, committed = b"", b""
        with open(self.log, "rb") as log:
            log.seek(done)
            while (frame := log.read(self.frame))[8:16] == salts:
                rest += frame
                if frame[4:8] != bytes(4):
                    committed = rest
        with open(self.shadow, "ab") as shadow:
            shadow.write(committed)

    def begin_shadow(self, number):
        self.number = number
        self.shadow = self.place("%08d.wal" % number)
        with open(self.shadow, "wb") as shadow:
            shadow.write(self.header())
        self.copy()

    def begin_generation(self):
        self.generation = (self.generation or 0) + 1
        os.makedirs(self.place(""))
        self.begin_shadow(0)
        self.file.seek(0)
        with open(self.place("snapshot"), "wb") as snapshot:
            shutil.copyfileobj(self.file, snapshot)
        name = os.path.join(self.replica, "generation")
        with open(name + ".tmp", "w") as file:
            file.write("%d\n" % self.generation)
        os.rename(name + ".tmp", name)

    def has_continued(self):
        """Is the log the one that was copied, as far as that goes?"""
        if self.generation is None:
            return False
        with open(self.shadow, "rb") as shadow:
            copied = shadow.read()
        with open(self.log, "rb") as log:
            now = log.read(len(copied))
        return len(now) == len(copied) and now[:32] == copied[:32] and \
            now[-self.frame:] == copied[-self.frame:]

    def checkpoint(self, mode):
        before = self.header()
        self.copy()
        self.reader.execute("ROLLBACK")
        try:
            self.db.execute("PRAGMA wal_checkpoint(%s)" % mode).fetchone()
        finally:
            self.lock()
        self.db.execute(BUMP)
        if self.header() == before:
            return
        self.db.execute("BEGIN")
        self.db.execute("INSERT INTO _litestream_lock (id) VALUES (1)")
        self.copy_end()
        self.begin_shadow(self.number + 1)
        self.db.execute("ROLLBACK")

    def sync(self):
        if not os.path.exists(self.log) or os.path.getsize(self.log) < 32:
            self.db.execute(BUMP)
        if not self.has_continued():
            self.begin_generation()
        pages = self.copy() // self.frame
        if pages >= MOST:
            self.checkpoint("RESTART")
        elif pages >= LEAST:
            self.checkpoint("PASSIVE")

def replicate(path, replica):
    replication = Replication(path, replica)
    while True:
        try:
            replication.sync()
        except sqlite3.OperationalError as error:
            print("sync error:", error, flush=True)
        time.sleep(INTERVAL)

def restore(out, replica):
    with open(os.path.join(replica, "generation")) as file:
        directory = os.path.join(replica, file.read().strip())
    part = out + ".tmp"
    shutil.copyfile(os.path.join(directory, "snapshot"), part)
    for name in sorted(os.listdir(directory)):
        if not name.endswith(".wal"):
            continue
        shutil.copyfile(os.path.join(directory, name), part + "-wal")
        db = sqlite3.connect(part, isolation_level=None)
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.close()
        if busy:
            sys.exit("the log %s could not be applied" % name)
    os.rename(part, out)

if sys.argv[1] == "replicate":
    replicate(sys.argv[2], sys.argv[3].removeprefix("file://"))
else:
    assert sys.argv[1:3] == ["restore", "-o"]
    restore(sys.argv[3], sys.argv[4].removeprefix("file://"))
