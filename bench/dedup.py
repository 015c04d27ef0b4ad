#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""What deduplication costs and saves.

    nice make && python3 -B bench/dedup.py --build=.

1. Ten disks get copies of one image of a file system, in files whose disks
   are deduplicated, compressed, both, or neither.
2. Random writes of 4 KiB of new data to an empty disk, in a file in which
   the index of the hashes is many times as large as SQLite's page cache; to
   one that is deduplicated and to one that is not, and to one in a file
   without any content.  All three are measured in turn, in several rounds:
   writes a second, and what the server's threads took of the processor, which
   does not depend so much on what else the machine does.
   With --before=PLUGIN, also what an older build makes of the last.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

MIB = 1 << 20
PAGE_CACHE = 2000 << 10  # of a connection: connection.c
SMALL = 512  # blocks of the disk that makes the index large


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True,
                          stdout=subprocess.PIPE, text=True, **options).stdout


def make_image(path, tree, size):
    """An ext4 of SIZE bytes with files of TREE, up to three quarters."""
    top = path + ".tree"
    os.mkdir(top)
    left = size * 3 // 4
    for directory, _, names in os.walk(tree):
        for name in sorted(names):
            source = os.path.join(directory, name)
            if os.path.islink(source) or not os.access(source, os.R_OK):
                continue
            bytes_ = os.stat(source).st_size
            if bytes_ <= left:
                target = top + source
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(source, target)
                left -= bytes_
    run("mke2fs", "-q", "-t", "ext4", "-d", top, path, size // 1024)
    shutil.rmtree(top)
    return size * 3 // 4 - left


def summary(values, base, i):
    """The median of figure I, of its ratio to the base, and the spread."""
    ratios = sorted(v[i] / b[i] for v, b in zip(values, base))
    return (statistics.median(v[i] for v in values),
            statistics.median(ratios), ratios[0], ratios[-1])


class Bench:
    def __init__(self, options, directory, sockets):
        self.options = options
        self.sockets = sockets  # a path of at most 107 bytes
        self.directory = directory
        self.tool = os.path.join(options.build, "tool/sqlblock")
        self.plugin = os.path.join(
            options.build, "plugin/.libs/nbdkit-sqlblock-plugin.so")

    def path(self, name):
        return os.path.join(self.directory, name)

    def sql(self, name, text):
        return run("sqlite3", self.path(name), text).strip()

    def sqlblock(self, *arguments):
        return run(self.tool, *arguments, "--quiet")

    def serve(self, name, export, client, plugin=None):
        """Run the command CLIENT; returns what it prints and the seconds of
        CPU that the server took."""
        socket = os.path.join(self.sockets, "socket")
        server = subprocess.Popen(
            ["nbdkit", "-f", "-U", socket, plugin or self.plugin,
             self.path(name), "export=" + export])
        try:
            while not os.path.exists(socket) and server.poll() is None:
                time.sleep(0.01)
            text = run(*client, "nbd+unix:///?socket=" + socket)
            with open("/proc/%d/stat" % server.pid) as stat:
                times = stat.read().rsplit(")", 1)[1].split()[11:13]
        finally:
            server.terminate()
            server.wait()
        os.unlink(socket)
        return text, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")

    # --- copies ---------------------------------------------------------

    def copies(self):
        image = self.options.image_file or self.path("image")
        if not self.options.image_file:
            used = make_image(image, self.options.tree,
                              self.options.image * MIB)
            print("image: ext4 of %d MiB with %d MiB of files" %
                  (self.options.image, used // MIB))
        print("%-24s %12s %12s %14s %12s" %
              ("", "file MiB", "first s", "each later s", "read back s"))
        for compression in self.options.compression.split(","):
            for dedup in [], ["--dedup"]:
                self.copy(" ".join([compression, *dedup]),
                          ["--compression=" + compression, *dedup], image)

    def copy(self, name, options, image):
        file = self.path("copies.sqlite")
        seconds = []
        for i in range(self.options.copies):
            started = time.monotonic()
            self.sqlblock("import", file, "d%d" % i, image, "--create",
                          *options)
            seconds.append(time.monotonic() - started)
        size = os.stat(file).st_size
        started = time.monotonic()
        self.sqlblock("export", file, "d%d" % (self.options.copies - 1),
                      self.path("back"))
        back = time.monotonic() - started
        run("cmp", image, self.path("back"))
        print("%-24s %12d %12.1f %14.1f %12.1f" %
              (name, size // MIB, seconds[0], statistics.median(seconds[1:]),
               back), flush=True)
        os.unlink(file)
        os.unlink(self.path("back"))

    # --- writes ---------------------------------------------------------

    def fill(self, name, blocks, dedup):
        """Store BLOCKS different blocks, each small: they are compressed."""
        file = self.path(name)
        self.sqlblock("create", file, "first", "--size=1M")
        self.sqlblock("create", file, "filling", "--size=%d" %
                      (blocks * SMALL), "--block-size=%d" % SMALL,
                      "--compression=zstd", *(["--dedup"] if dedup else []))
        source = self.path("numbers")
        with open(source, "wb") as out:
            for i in range(blocks):
                out.write(i.to_bytes(8, "little") * (SMALL // 8))
        self.serve(name, "filling", ["nbdcopy", source])
        os.unlink(source)

    def randwrite(self, name, export, plugin=None):
        """Writes a second, and the server's microseconds of CPU for each."""
        text, cpu = self.serve(name, export, [
            "fio", "--name=job", "--ioengine=nbd", "--thread",
            "--output-format=json", "--randrepeat=0", "--rw=randwrite",
            "--bs=4k", "--iodepth=16", "--refill_buffers",
            "--size=%d" % (self.options.target * MIB), "--time_based",
            "--runtime=%dms" % (self.options.seconds * 1000), "--end_fsync=1",
            "--uri"], plugin)
        job = json.loads(text[text.index("{"):])["jobs"][0]
        return job["write"]["iops"], 1e6 * cpu / job["write"]["total_ios"]

    def one_write(self, name, dedup, plugin=None):
        self.sqlblock("create", self.path(name), "target",
                      "--size=%dM" % self.options.target,
                      *(["--dedup"] if dedup else []))
        result = self.randwrite(name, "target", plugin)
        self.sqlblock("delete", self.path(name), "target", "--no-reclaim")
        self.sqlblock("compact", self.path(name))
        return result

    def writes(self):
        blocks = self.options.blocks
        self.fill("shared.sqlite", blocks, True)
        self.fill("plain.sqlite", blocks, False)
        index = int(self.sql("shared.sqlite", "SELECT sum (pgsize) FROM dbstat"
                             " WHERE name = 'content_by_hash'"))
        print("index of hashes: %d entries, %d MiB: %.1f times the page cache" %
              (blocks, index // MIB, index / PAGE_CACHE), flush=True)
        kinds = [
            ("dedup=on, large index", "shared.sqlite", True, None),
            ("dedup=off, same file", "shared.sqlite", False, None),
            ("no content in the file", "plain.sqlite", False, None),
        ]
        if self.options.before:
            kinds.append(("the same, build before", "plain.sqlite", False,
                          self.options.before))
        results = {kind[0]: [] for kind in kinds}
        for i in range(self.options.rounds):
            for title, name, dedup, plugin in kinds[i % len(kinds):] + \
                    kinds[:i % len(kinds)]:
                results[title].append(self.one_write(name, dedup, plugin))
        base = results["no content in the file"]
        print("%-24s %s" % ("", "  ".join(["writes/s   ratio (from to)   ",
                                           "CPU us   ratio (from to)"])))
        for title, values in results.items():
            print("%-24s %s" % (title, "  ".join(
                "%8.0f   %.2f (%.2f to %.2f)" % summary(values, base, i)
                for i in range(2))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=".", help="the build directory")
    parser.add_argument("--directory", default="/var/tmp")
    parser.add_argument("--tree", default="/usr")
    parser.add_argument("--image", type=int, default=400, help="MiB")
    parser.add_argument("--image-file", help="an image that is there")
    parser.add_argument("--compression", default="none,lz4,zstd")
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--blocks", type=int, default=1200000)
    parser.add_argument("--target", type=int, default=2048, help="MiB")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", help="a plugin to compare with")
    parser.add_argument("--only", choices=["copies", "writes"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sqlblock-dedup.",
                                     dir=options.directory) as directory, \
            tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        bench = Bench(options, directory, sockets)
        if options.only != "writes":
            bench.copies()
        if options.only != "copies":
            bench.writes()


main()
