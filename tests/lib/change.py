# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# change.py SOCKET DISK SEED COUNT: so many random writes, trims and zeroes on a
# disk that is served, and its last bytes.

import nbd, random, sys

random.seed(int(sys.argv[3]))
h = nbd.NBD()
h.set_export_name(sys.argv[2])
h.connect_unix(sys.argv[1])
size = h.get_size()
for _ in range(int(sys.argv[4])):
    offset = random.randrange(size)
    count = min(1 + random.randrange(200000), size - offset)
    what = random.randrange(5)
    if what < 3:
        part = random.randbytes(1 + random.randrange(30000))
        if what == 0:
            part = part[:4096] * 50
        h.pwrite(part[:count], offset)
    elif what == 3:
        h.trim(count, offset)
    else:
        h.zero(count, offset)
h.pwrite(random.randbytes(9), size - 9)
