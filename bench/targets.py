# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""What sqlblock is to reach, at its default settings.

A ratio is sqlblock's speed divided by the peer's, both in the same round;
the median of all rounds counts. A limit is in the unit of the job, or for
memory in bytes; where it has a peer, it is what sqlblock has above that.
"""

# (job, peer, the least ratio, the ratio aimed at)
RATIOS = (
    ("randwrite-4k-q1", "file", 0.95, 1.0),
    ("randwrite-4k-q1", "qcow2", 1.3, None),
    ("randwrite-4k-q32", "file", 0.7, 1.0),
    ("randwrite-4k-q32", "qcow2", 1.1, None),
    ("randwrite-4k-q32-x4", "file", 0.7, 1.0),
    ("randwrite-4k-q32-x4", "qcow2", 1.1, None),
    ("randwrite-4k-fsync", "file", 1.0, 1.2),
    ("randread-4k-q1", "file", 0.95, 1.0),
    ("randread-4k-q1", "qcow2", 1.5, None),
    ("randread-4k-q32", "file", 0.75, 1.0),
    ("randread-4k-q32", "qcow2", 1.5, None),
    ("read-1m", "file", 0.8, 1.0),
    ("read-1m", "qcow2", 1.5, None),
    ("fill-1m", "file", 0.6, None),
    ("fill-1m", "qcow2", 1.0, None),
    ("fill-1m-half", "file", 0.6, 1.0),
    ("map-nbdinfo", "qcow2", 1.0, None),
    ("map-qemu-img", "qcow2", 1.0, None),
)

# (job, what of its results, peer, the most)
LIMITS = (
    ("trim-full", "value", None, 2),
    ("trim-empty", "value", None, 0.050),
    ("snapshot", "value", None, 0.010),
    ("latency", "value", None, 0.100),
    ("randwrite-4k-q32-x4", "memory_bytes", "null", 64 << 20),
    ("write-1m-x4", "memory_bytes", "null", 64 << 20),
)

# (job, the job it is compared with, the least ratio)
JOBS = (
    ("randread-4k-100-snapshots", "randread-4k-0-snapshots", 0.95),
    ("randread-4k-10000-snapshots", "randread-4k-0-snapshots", 0.95),
)
