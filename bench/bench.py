#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""Compares sqlblock with other NBD servers, side by side.

The machine's noise is larger than many differences. So every job runs on
each server in turn, in several rounds, in each of which another server is
the first; and the ratio of two servers is taken within a round. What counts
is the median of the rounds, and the spread says what it is worth.
"""

import argparse
import fnmatch
import json
import os
import platform
import shutil
import signal
import sys
import sysconfig
import tempfile

import jobs
import report
from servers import Failed, make_server, parse_size, run

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PEERS = ["file", "qcow2"]
SERVERS = "sqlblock,file,qcow2,qcow2-best,memory,null"
QUICK_JOBS = ("randread-4k-q1,randread-4k-q32,read-1m,randwrite-4k-q1,"
              "randwrite-4k-q32,randwrite-4k-fsync,fill-1m")


class Setup:
    """What servers and jobs need to know of a run."""

    def __init__(self, options):
        self.seconds = options.seconds
        self.memory = options.memory
        self.compressible = options.compressible
        self.tree = options.tree
        self.plugin = os.path.join(
            options.build, "plugin/.libs/nbdkit-sqlblock-plugin.so")
        self.command = os.path.join(options.build, "tool/sqlblock")
        os.makedirs(options.directory, exist_ok=True)
        self.directory = tempfile.mkdtemp(prefix="sqlblock-bench.",
                                          dir=options.directory)
        # A socket's path is limited to 107 bytes.
        self.sockets = tempfile.mkdtemp(prefix="sqlblock-bench.", dir="/tmp")
        self.image_size = 0

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def by_time(self):
        """How long fio's jobs take; fio knows no parts of a second."""
        return ["--time_based", "--runtime=%dms" % (self.seconds * 1000)]

    def image(self):
        """A raw image of a real file system, as large as the disks."""
        path = os.path.join(self.directory, "image.%d" % self.image_size)
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.truncate(self.image_size)
            run(["mke2fs", "-q", "-t", "ext4", "-d", self.tree, path])
        return path

    def tar(self):
        path = os.path.join(self.directory, "tree.tar")
        if not os.path.exists(path):
            run(["tar", "-cf", path, "-C", self.tree, "."])
        return path


def log(text):
    print(text, file=sys.stderr, flush=True)


# --- Running ---------------------------------------------------------------

def prepare(server, disk, size, setup):
    """Make a disk of a kind, and put on it what it needs."""
    server.create(jobs.HUGE if disk == "huge" else size)
    if server.keeps_data:
        write_contents(server, disk, setup)


def write_contents(server, disk, setup):
    writes = {"full": jobs.fill, "striped": jobs.make_stripes,
              "image": jobs.copy_in}
    if disk not in writes:
        return
    if server.keeps_data:
        server.start()
        server.measure()
    writes[disk](server, setup)
    if server.keeps_data:
        server.stop()


def measure(job, server, setup):
    """Run a job on a server, and say all that is known of it."""
    try:
        cached = server.cache(setup.memory)
        server.start()
        if not server.keeps_data:
            write_contents(server, job.disk, setup)
        server.measure()
        result = job.function(server, setup)
        result.update(server.stop())
    finally:
        server.kill()
    result["file_bytes"] = server.stored()
    result["cached_bytes"] = cached
    return result


def is_for(job, server):
    if job.servers is not None:
        return server.kind in job.servers
    # What keeps no data is only there for fio.
    return server.kind != "null" or job.unit != "s"


def in_turn(servers, round_number):
    """In each round another one is the first."""
    first = round_number % len(servers)
    return servers[first:] + servers[:first]


def run_job(job, servers, size, setup, round_number, results):
    """One job of one round, on each server in turn."""
    for server in in_turn(servers, round_number):
        if not is_for(job, server):
            continue
        if job.own_disk:
            prepare(server, job.disk, size, setup)
        try:
            result = measure(job, server, setup)
        except jobs.Skipped as reason:
            log("%s: skipped: %s" % (job.name, reason))
            return
        finally:
            if job.own_disk:
                server.remove()
        result.update(job=job.name, server=server.name, unit=job.unit,
                      size=size, round=round_number)
        results.append(result)
        log("round %d, %d MiB: %s on %s: %s" % (
            round_number + 1, size >> 20, job.name, server.name,
            report.show(result["value"], job.unit)))


def run_round(chosen, servers, size, setup, round_number, results):
    setup.image_size = size
    for disk in jobs.DISKS:
        here = [job for job in chosen if job.disk == disk]
        users = [server for server in in_turn(servers, round_number)
                 if any(is_for(job, server) and not job.own_disk
                        for job in here)]
        for server in users:
            prepare(server, disk, size, setup)
        for job in here:
            run_job(job, servers, size, setup, round_number, results)
        for server in users:
            server.remove()


# --- The command line ------------------------------------------------------

def parse_options():
    parser = argparse.ArgumentParser(
        description="Compare sqlblock with other NBD servers.",
        epilog="The exit status is 1 where sqlblock misses a target, and 77 "
        "where something is missing that the comparison needs.")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true",
                      help="a few jobs of 2 seconds, 256 MiB (default)")
    form.add_argument("--full", action="store_true",
                      help="all jobs, 10 seconds each, 2 GiB: takes hours")
    add = parser.add_argument
    add("--jobs", help="names or patterns, separated by commas")
    add("--servers", help="built-in ones (default: %s)" % SERVERS)
    add("--server", action="append", default=[],
        metavar="NAME=KIND[,ARGUMENT...]",
        help="one more, such as large=sqlblock,block-size=64K or "
        "before=sqlblock,plugin=PATH or slow=file,--filter=delay,rdelay=1ms")
    add("--peers", default=",".join(PEERS),
        help="the servers to compare with (default: %(default)s)")
    add("--sizes", help="of the disks, such as 1G,8G,32G")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, help="for each of fio's jobs")
    add("--memory", choices=["cold", "warm"],
        help="before each job, have none or all of the disk in memory "
        "(default: leave it as it is)")
    add("--compressible", type=int, default=0, metavar="PERCENT",
        help="of what fio writes (default: nothing)")
    add("--tree", help="a directory of files to copy and to untar")
    add("--directory", default="/var/tmp",
        help="where to put the disks (default: %(default)s)")
    add("--build", default=TOP, help="where sqlblock was built")
    add("--json", metavar="FILE", help="write all results there")
    add("--chart", metavar="FILE", help="draw the ratios there, as SVG")
    add("--list", action="store_true", help="list the jobs, and do nothing")
    options = parser.parse_args()
    stdlib = sysconfig.get_paths()["stdlib"]
    defaults = {"jobs": "*", "servers": SERVERS, "sizes": "2G",
                "seconds": 10, "tree": "/usr/share"} if options.full else {
        "jobs": QUICK_JOBS, "servers": SERVERS, "sizes": "256M",
        "seconds": 2, "tree": stdlib}
    for key, value in defaults.items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    return options


def choose_jobs(patterns):
    chosen = []
    for pattern in patterns.split(","):
        found = [job for job in jobs.JOBS
                 if fnmatch.fnmatch(job.name, pattern)]
        if not found:
            raise ValueError("there is no job '%s'; see --list" % pattern)
        chosen += found
    return [job for job in jobs.JOBS if job in chosen]


def missing_tools(setup):
    """What the comparison cannot do without."""
    for tool in ("nbdkit", "fio", "qemu-img", "qemu-nbd", "nbdcopy", "nbdsh",
                 "fincore"):
        if shutil.which(tool) is None:
            return "%s is not installed" % tool
    engines = run(["fio", "--enghelp"]).split()
    if "nbd" not in engines:
        return "this fio has no nbd engine (3.9 or newer has, if built with " \
            "libnbd)"
    if not os.path.exists(setup.plugin):
        return "%s was not built" % setup.plugin
    return None


def describe_machine(directory):
    """What is needed to judge the figures."""
    model = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
    file_system = run(["stat", "-f", "-c", "%T", directory]).strip()
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") *
        os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "file_system": file_system,
        "nbdkit": run(["nbdkit", "--version"]).strip(),
        "fio": run(["fio", "--version"]).strip(),
        "qemu": run(["qemu-nbd", "--version"]).splitlines()[0],
    }


def run_all(options, chosen, setup):
    servers = [make_server(text, setup)
               for text in [*filter(None, options.servers.split(",")),
                            *options.server]]
    results = []
    try:
        for size in options.sizes.split(","):
            for round_number in range(options.rounds):
                run_round(chosen, servers, parse_size(size), setup,
                          round_number, results)
    finally:
        for server in servers:
            server.kill()
    peers = [peer for peer in options.peers.split(",")
             if peer in [server.name for server in servers]]
    return report.Report(results, [server.name for server in servers], peers)


def main():
    options = parse_options()
    if options.list:
        for job in jobs.JOBS:
            print("%-28s %-8s %s" % (job.name, job.disk, job.unit))
        return 0
    # nbdsh takes the first python3, and only the system's has its module.
    os.environ["PATH"] = "/usr/bin:/usr/sbin:" + os.environ["PATH"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    setup = Setup(options)
    try:
        chosen = choose_jobs(options.jobs)
        missing = missing_tools(setup)
        if missing:
            log("bench: skipped: " + missing)
            return 77
        machine = describe_machine(setup.directory)
        outcome = run_all(options, chosen, setup)
    except (Failed, ValueError, OSError) as error:
        log("bench: %s" % error)
        return 2
    finally:
        setup.remove()
    print(outcome.table())
    if options.json:
        with open(options.json, "w") as file:
            json.dump(outcome.to_json(machine, vars(options)), file, indent=1)
    if options.chart:
        with open(options.chart, "w") as file:
            file.write(outcome.chart())
    return 1 if outcome.missed() else 0


if __name__ == "__main__":
    sys.exit(main())
