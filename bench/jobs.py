# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""The jobs: fio's, and whole tasks.

A job runs on a disk of some kind, which is made for each server and each
round, and returns its result: a value with a unit, where more is better but
for seconds, and what else is known of it. The disks are

  empty    new
  full     written from end to end, then only by the jobs that share it
  image    a file system was copied to it
  striped  every second 64 KiB are written
  huge     new, of 1 TiB
"""

import contextlib
import json
import os
import subprocess
import time

from servers import Failed, run

DISKS = ("full", "image", "striped", "empty", "huge")
HUGE = 1 << 40
STRIPE = 64 << 10


class Skipped(Exception):
    """The job cannot run here; says why."""


class Job:
    def __init__(self, name, disk, function, unit="s", servers=None,
                 own_disk=False):
        self.name = name
        self.disk = disk
        self.function = function
        self.unit = unit
        self.servers = servers  # the kinds it is for, or None for all
        # What this job leaves is of no use to the next one.
        self.own_disk = own_disk or disk in ("empty", "huge")


# --- fio -------------------------------------------------------------------

def fio(server, setup, options, connections=1, sequential=False):
    """Run fio; its results for reads and writes together."""
    part = server.size // connections if sequential else server.size
    command = ["fio", "--name=job", "--ioengine=nbd", "--uri=" + server.uri,
               "--thread", "--group_reporting", "--output-format=json",
               "--randrepeat=0", "--norandommap", "--size=%d" % part,
               "--numjobs=%d" % connections, *options]
    if sequential:
        command += ["--offset_increment=%d" % part]
    if setup.compressible:
        command += ["--buffer_compress_percentage=%d" % setup.compressible,
                    "--refill_buffers"]
    # The nbd engine prints a line of its own before the JSON.
    text = run(command)
    job = json.loads(text[text.index("{"):])["jobs"][0]
    if job["error"]:
        raise Failed("fio: error %d of %s" % (job["error"], server.name))
    return job


def fio_result(job, metric):
    """A result from what fio says; METRIC is iops, bytes or latency."""
    sides = [job[side] for side in ("read", "write") if job[side]["io_bytes"]]
    latency = max((side["clat_ns"] for side in sides),
                  key=lambda clat: clat["max"])
    value = {
        "iops": sum(side["iops"] for side in sides),
        "bytes": sum(side["bw_bytes"] for side in sides) / 1e6,
        "latency": latency["max"] / 1e9,
    }[metric]
    return {
        "value": value,
        "read_bytes": job["read"]["io_bytes"],
        "written_bytes": job["write"]["io_bytes"],
        "requests": sum(side["total_ios"] for side in sides),
        "latency_seconds": {
            "median": latency["percentile"]["50.000000"] / 1e9,
            "p99": latency["percentile"]["99.000000"] / 1e9,
            "worst": latency["max"] / 1e9,
        },
    }


def fio_job(name, *options, unit="IO/s", connections=1, disk="full",
            sequential=False):
    """A job of fio, by time, or once over the disk where that is empty."""
    metric = {"IO/s": "iops", "MB/s": "bytes", "s": "latency"}[unit]

    def function(server, setup):
        timed = ([] if disk == "empty" else
                 setup.by_time())
        return fio_result(fio(server, setup, [*timed, *options], connections,
                              sequential), metric)

    return Job(name, disk, function, unit)


def fill(server, setup):
    """Write a disk from end to end."""
    fio(server, setup, ["--rw=write", "--bs=1M", "--iodepth=4",
                        "--end_fsync=1"])


# --- Whole tasks -----------------------------------------------------------

def timed(command, **options):
    start = time.monotonic()
    run(command, **options)
    return time.monotonic() - start


def bytes_in(path):
    """The size of a file without its holes, which nbdcopy passes over."""
    return os.stat(path).st_blocks * 512


def copy_in(server, setup):
    seconds = timed(["nbdcopy", "--flush", setup.image(), server.uri])
    return {"value": seconds, "written_bytes": bytes_in(setup.image())}


def copy_out(server, setup):
    return {"value": timed(["nbdcopy", server.uri, "null:"]),
            "read_bytes": bytes_in(setup.image())}


def make_stripes(server, setup):
    fio(server, setup, ["--rw=write:%d" % STRIPE, "--bs=%d" % STRIPE,
                        "--iodepth=4", "--end_fsync=1",
                        "--io_size=%d" % (server.size // 2)])


def map_nbdinfo(server, setup):
    return {"value": timed(["nbdinfo", "--map", server.uri])}


def map_qemu_img(server, setup):
    return {"value": timed(["qemu-img", "map", "--output=json", "-f", "raw",
                            "nbd+unix:///?socket=" + server.socket])}


def trim(server, setup):
    """Trim a whole disk, in the largest requests that NBD has."""
    code = """
import time
size, at = h.get_size(), 0
start = time.monotonic()
while at < size:
    count = min(size - at, (4 << 30) - (64 << 10))
    h.trim(count, at)
    at += count
h.flush()
print(time.monotonic() - start)
"""
    return {"value": float(run(["nbdsh", "-u", server.uri, "-c", code]))}


@contextlib.contextmanager
def undoing():
    """Commands that are run at the end, the last one first, come what may.
    """
    commands = []
    try:
        yield commands
    finally:
        for command in reversed(commands):
            subprocess.run(command, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)


def untar(server, setup):
    """mkfs.ext4, untar and sync, on the host's own kernel."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise Skipped("mounting through nbdfuse needs root and /dev/fuse")
    device = os.path.join(setup.sockets, "device")
    mount = os.path.join(setup.sockets, "mount")
    os.makedirs(mount, exist_ok=True)
    open(device, "w").close()
    tar = setup.tar()
    with undoing() as undo:
        fuse = subprocess.Popen(["nbdfuse", device, server.uri])
        undo.append(["fusermount3", "-u", device])
        while os.stat(device).st_size == 0:
            if fuse.poll() is not None:
                raise Skipped("nbdfuse does not run here")
            time.sleep(0.01)
        start = time.monotonic()
        run(["mkfs.ext4", "-q", "-F", device])
        try:
            run(["mount", "-o", "loop", device, mount])
        except Failed:
            raise Skipped("no loop device can be mounted here") from None
        undo.append(["umount", mount])
        run(["tar", "-xf", tar, "-C", mount])
        run(["sync", "-f", mount])
        seconds = time.monotonic() - start
    fuse.wait()
    return {"value": seconds}


# --- Snapshots -------------------------------------------------------------

def take_snapshot(server, setup, name):
    return timed([setup.command, "snapshot", "create", server.path,
                  "disk@" + name, "--quiet"])


def take_snapshots(server, setup):
    """How long the command takes, all in all: the median."""
    taken = sorted(take_snapshot(server, setup, "s%d" % i) for i in range(11))
    return {"value": taken[5]}


def snapshot(server, setup):
    """While the server is idle."""
    time.sleep(2)
    return take_snapshots(server, setup)


def snapshot_busy(server, setup):
    """Beside a writer, whose last blocks are made durable, too."""
    command = ["fio", "--name=job", "--ioengine=nbd", "--uri=" + server.uri,
               "--thread", "--rw=randwrite", "--bs=4k", "--iodepth=8",
               "--size=%d" % server.size, "--time_based", "--runtime=60"]
    writer = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        return take_snapshots(server, setup)
    finally:
        writer.terminate()
        writer.wait()


def reads_below_snapshots(count):
    """Random reads of a disk with COUNT snapshots, with writes in between.
    """
    def function(server, setup):
        for i in range(count):
            if i % 10 == 0:
                fio(server, setup, ["--rw=randwrite", "--bs=4k",
                                    "--iodepth=8", "--number_ios=64"])
            take_snapshot(server, setup, "s%d" % i)
        # Only the reads count.
        server.measure()
        return fio_result(fio(server, setup, [
            "--rw=randread", "--bs=4k", "--iodepth=32", *setup.by_time()]),
            "iops")

    return Job("randread-4k-%d-snapshots" % count, "full", function, "IO/s",
               ("sqlblock",), own_disk=True)


# --- The list --------------------------------------------------------------

END = "--end_fsync=1"

# Those that read come first, since what is written stays on a shared disk.
JOBS = (
    fio_job("randread-4k-q1", "--rw=randread", "--bs=4k", "--iodepth=1"),
    fio_job("randread-4k-q32", "--rw=randread", "--bs=4k", "--iodepth=32"),
    fio_job("randread-4k-q32-x4", "--rw=randread", "--bs=4k", "--iodepth=32",
            connections=4),
    fio_job("read-1m", "--rw=read", "--bs=1M", "--iodepth=4", unit="MB/s"),
    fio_job("read-1m-x4", "--rw=read", "--bs=1M", "--iodepth=4", unit="MB/s",
            connections=4, sequential=True),
    fio_job("randwrite-4k-q1", "--rw=randwrite", "--bs=4k", "--iodepth=1",
            END),
    fio_job("randwrite-4k-q32", "--rw=randwrite", "--bs=4k", "--iodepth=32",
            END),
    fio_job("randwrite-4k-q32-x4", "--rw=randwrite", "--bs=4k",
            "--iodepth=32", END, connections=4),
    fio_job("randwrite-4k-fsync", "--rw=randwrite", "--bs=4k", "--iodepth=1",
            "--fsync=1"),
    fio_job("mix-4k-q32", "--rw=randrw", "--rwmixread=70", "--bs=4k",
            "--iodepth=32", END),
    fio_job("mix-4k-q32-x4", "--rw=randrw", "--rwmixread=70", "--bs=4k",
            "--iodepth=32", END, connections=4),
    fio_job("latency", "--rw=randwrite", "--bs=4k", "--iodepth=8", unit="s",
            connections=4),
    fio_job("write-1m", "--rw=write", "--bs=1M", "--iodepth=4", END,
            unit="MB/s"),
    fio_job("write-1m-x4", "--rw=write", "--bs=1M", "--iodepth=4", END,
            unit="MB/s", connections=4, sequential=True),
    Job("snapshot", "full", snapshot, servers=("sqlblock",), own_disk=True),
    Job("snapshot-busy", "full", snapshot_busy, servers=("sqlblock",),
        own_disk=True),
    Job("trim-full", "full", trim, own_disk=True),
    reads_below_snapshots(0),
    reads_below_snapshots(100),
    reads_below_snapshots(10000),
    Job("copy-out", "image", copy_out),
    Job("map-nbdinfo", "striped", map_nbdinfo),
    Job("map-qemu-img", "striped", map_qemu_img),
    fio_job("fill-1m", "--rw=write", "--bs=1M", "--iodepth=4", END,
            unit="MB/s", disk="empty"),
    fio_job("fill-1m-half", "--rw=write", "--bs=1M", "--iodepth=4", END,
            "--buffer_compress_percentage=50", "--refill_buffers",
            unit="MB/s", disk="empty"),
    Job("copy-in", "empty", copy_in),
    Job("untar", "empty", untar),
    Job("trim-empty", "huge", trim),
)
