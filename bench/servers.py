# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""The servers that are compared, and what they cost.

A server has a disk of its own in a directory, and serves it on a unix socket
while it runs. It runs only while it is measured, so that none does anything
at another's expense, and ends properly, so that what it has put off until
then (a checkpoint) is counted as its own.
"""

import contextlib
import json
import os
import shlex
import sqlite3
import subprocess
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command failed; says which, and what it printed."""


def run(command, **options):
    """Run a command to its end and return what it printed."""
    result = subprocess.run(command, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        raise Failed("%s\n%s%s" % (shlex.join(command), result.stdout,
                                   result.stderr))
    return result.stdout


class Usage:
    """What a process has used since it was first looked at."""

    def __init__(self, pid):
        self.pid = pid
        self.memory = 0  # the most anonymous memory, in bytes
        self.before = self.look()
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()

    def look(self):
        """Seconds of CPU and bytes given to the medium, so far."""
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        with open("/proc/%d/io" % self.pid) as file:
            io = dict(line.split(": ") for line in file)
        return ((int(fields[11]) + int(fields[12])) / TICKS,
                int(io["write_bytes"]))

    def look_at_memory(self):
        with contextlib.suppress(OSError), \
                open("/proc/%d/status" % self.pid) as file:
            for line in file:
                if line.startswith("RssAnon:"):
                    self.memory = max(self.memory, int(line.split()[1]) << 10)

    def watch(self):
        while not self.ended.wait(0.02):
            self.look_at_memory()

    def end(self, total):
        """The process was waited for, and used TOTAL (a struct_rusage)."""
        self.ended.set()
        self.watcher.join()
        # Linux counts the blocks of 512 bytes from the same write_bytes.
        return {
            "cpu_seconds": total.ru_utime + total.ru_stime - self.before[0],
            "medium_bytes": total.ru_oublock * 512 - self.before[1],
            "memory_bytes": self.memory,
        }


class Server:
    """A kind of server. ARGUMENTS come from the command line: those that
    begin with a dash are options of the server's command, the others are
    parameters KEY=VALUE."""

    keeps_data = True  # from one start to the next

    def __init__(self, name, arguments, setup):
        self.name = name
        self.setup = setup
        self.options = [a for a in arguments if a.startswith("-")]
        self.parameters = dict(a.split("=", 1) for a in arguments
                               if not a.startswith("-"))
        self.path = os.path.join(setup.directory, name)
        self.socket = os.path.join(setup.sockets, name)
        self.uri = "nbd+unix:///?socket=" + self.socket
        self.process = None

    def create(self, size):
        """Make a new, empty disk in place of the one that was there."""
        self.remove()
        self.size = size
        self.make()

    def make(self):
        pass

    def files(self):
        """All files of the disk."""
        names = [self.path + suffix for suffix in
                 ("", "-wal", "-shm", "-lock")]
        return [name for name in names if os.path.exists(name)]

    def remove(self):
        for name in self.files():
            os.unlink(name)

    def stored(self):
        """How many bytes the disk takes in the file system."""
        return sum(os.stat(name).st_blocks * 512 for name in self.files())

    def cache(self, memory):
        """Have the kernel's memory hold nothing of the disk, if MEMORY is
        "cold", or for "warm" as much as it can; return how many bytes it
        holds."""
        # One large hole would be read for very long.
        warm = memory == "warm" and self.stored() > 0
        for name in self.files():
            with open(name, "rb", buffering=0) as file:
                if memory == "cold":
                    os.posix_fadvise(file.fileno(), 0, 0,
                                     os.POSIX_FADV_DONTNEED)
                while warm and file.read(1 << 20):
                    pass
        return sum(int(run(["fincore", "--bytes", "--noheadings",
                            "--output=RES", name]))
                   for name in self.files() if os.path.getsize(name))

    def command(self):
        raise NotImplementedError

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        self.log = open(os.path.join(self.setup.sockets, "log"), "w+")
        self.process = subprocess.Popen(self.command(), stdout=self.log,
                                        stderr=self.log)
        end = time.monotonic() + 60
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                self.log.seek(0)
                raise Failed("%s did not start:\n%s\n%s" % (
                    self.name, shlex.join(self.command()), self.log.read()))
            time.sleep(0.005)

    def measure(self):
        """From now on, what the server uses counts."""
        self.usage = Usage(self.process.pid)

    def stop(self):
        """End the server properly, have its files on the medium, and say
        what it has used."""
        self.usage.look_at_memory()
        self.process.terminate()
        _, status, total = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        used = self.usage.end(total)
        self.process = None
        self.log.close()
        for name in self.files():
            with open(name, "rb") as file:
                os.fsync(file.fileno())
        return used

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None


class Nbdkit(Server):
    def plugin(self):
        raise NotImplementedError

    def command(self):
        return ["nbdkit", "-f", "-U", self.socket, *self.options,
                *self.plugin()]

    def other_parameters(self, *own):
        return ["%s=%s" % item for item in self.parameters.items()
                if item[0] not in own]


class Sqlblock(Nbdkit):
    """plugin=PATH takes another build of the plugin, and page-size=SIZE
    gives the database other pages; other parameters are the plugin's."""

    def make(self):
        page_size = self.parameters.get("page-size")
        if not page_size:
            return
        # The plugin makes the file with pages that it chooses itself.
        self.start()
        self.process.terminate()
        self.process.wait()
        self.log.close()
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            database.execute("PRAGMA journal_mode = DELETE")
            database.execute("PRAGMA page_size = %d" % parse_size(page_size))
            database.execute("VACUUM")
            database.execute("PRAGMA journal_mode = WAL")

    def plugin(self):
        return [self.parameters.get("plugin", self.setup.plugin),
                "db=" + self.path, "size=%d" % self.size,
                *self.other_parameters("plugin", "page-size")]


class File(Nbdkit):
    def make(self):
        with open(self.path, "w") as file:
            file.truncate(self.size)

    def plugin(self):
        return ["file", self.path, *self.other_parameters()]


class Memory(Nbdkit):
    keeps_data = False

    def plugin(self):
        return ["memory", "size=%d" % self.size, *self.other_parameters()]


class Null(Memory):
    def plugin(self):
        return ["null", "size=%d" % self.size, *self.other_parameters()]


class Qcow2(Server):
    """The parameters are options of qemu-img create -o, as in
    lazy_refcounts=on; the options are those of qemu-nbd."""

    def create_options(self):
        return self.parameters

    def make(self):
        options = ",".join("%s=%s" % item
                           for item in self.create_options().items())
        run(["qemu-img", "create", "-q", "-f", "qcow2",
             *(["-o", options] if options else []), self.path,
             str(self.size)])

    def command(self):
        return ["qemu-nbd", "--format=qcow2", "--persistent", "--shared=16",
                "--discard=unmap", "--socket=" + self.socket, *self.options,
                self.path]


class Qcow2Best(Qcow2):
    """What is recommended for speed: the tables of clusters made beforehand
    and all of them in memory, reference counts not written at once, and
    io_uring where that is allowed."""

    aio = "io_uring"

    def start(self):
        try:
            super().start()
        except Failed:
            if self.aio == "threads":
                raise
            self.aio = "threads"
            super().start()

    def create_options(self):
        options = {"lazy_refcounts": "on"}
        if self.size <= 64 << 30:
            options["preallocation"] = "metadata"
        return {**options, **self.parameters}

    def command(self):
        return ["qemu-nbd", "--persistent", "--shared=16", "--discard=unmap",
                "--aio=" + self.aio, "--socket=" + self.socket, *self.options,
                "--image-opts",
                "driver=qcow2,l2-cache-size=64M,cache-size=72M,"
                "file.driver=file,file.filename=" + self.path]


def operations():
    """How many requests of clients the OSDs of the cluster have answered."""
    return sum(
        json.loads(run(["ceph", "tell", "osd." + osd, "perf", "dump", "osd",
                        "op"]))["osd"]["op"]
        for osd in run(["ceph", "osd", "ls"]).split())


class OnCluster(Server):
    """On the cluster that CEPH_CONF names, in the pool "bench"."""

    pool = "bench"

    def measure(self):
        super().measure()
        self.operations_before = operations()

    def stop(self):
        used = super().stop()
        used["operations"] = operations() - self.operations_before
        return used

    def files(self):
        return []


class Rados(OnCluster, Sqlblock):
    def __init__(self, name, arguments, setup):
        super().__init__(name, arguments, setup)
        self.path = "rados:%s/%s" % (self.pool, name)

    def remove(self):
        objects = [name for name in
                   run(["rados", "-p", self.pool, "ls"]).splitlines()
                   if name.startswith((self.name + ".", self.name + "-wal."))]
        if objects:
            run(["rados", "-p", self.pool, "rm", *objects])


class Rbd(OnCluster):
    """As the plugin, it has on the cluster what it has acknowledged."""

    def image(self):
        return "%s/%s" % (self.pool, self.name)

    def make(self):
        run(["rbd", "create", "--size=%dB" % self.size, self.image()])

    def remove(self):
        if self.name in run(["rbd", "ls", self.pool]).split():
            run(["rbd", "rm", "--no-progress", self.image()])

    def command(self):
        return ["qemu-nbd", "--format=raw", "--persistent", "--shared=16",
                "--cache=none", "--discard=unmap", "--socket=" + self.socket,
                *self.options, "rbd:%s:conf=%s" % (
                    self.image(), os.environ["CEPH_CONF"])]


KINDS = {
    "sqlblock": Sqlblock,
    "file": File,
    "qcow2": Qcow2,
    "qcow2-best": Qcow2Best,
    "memory": Memory,
    "null": Null,
    "rados": Rados,
    "rbd": Rbd,
}


def make_server(text, setup):
    """A server from NAME or NAME=KIND[,ARGUMENT...]."""
    name, _, rest = text.partition("=")
    kind, *arguments = (rest or name).split(",")
    if kind not in KINDS:
        raise ValueError("there is no server '%s', only %s" %
                         (kind, ", ".join(KINDS)))
    server = KINDS[kind](name, arguments, setup)
    server.kind = kind
    return server


def parse_size(text):
    """The number of bytes that 4096, 4K or 1G means."""
    units = "KMGT"
    if text[-1:].upper() in units:
        return int(text[:-1]) << 10 * (1 + units.index(text[-1].upper()))
    return int(text)
