# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# What comes through a control socket, good and bad, while a client of NBD goes
# on; see test-control-socket.sh.
#
#   control.py SOCKET DATABASE URI PID

import json, os, random, signal, socket, subprocess, sys, threading, time

SOCKET, DATABASE, URI, PID = sys.argv[1:]
SOAK = os.environ.get("SOAK") == "yes"
seed = int(os.environ.get("SQLBLOCK_SEED") or random.randrange(1 << 32))
print("seed", seed)
random.seed(seed)

class Client:
    def __init__ (self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(SOCKET)
        self.file = self.socket.makefile("rb")
    def send (self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
    def line (self):
        try:
            text = self.file.readline()
        except ConnectionResetError:
            return None
        return json.loads(text) if text else None
    def ask (self, call, data=None, /, **arguments):
        request = {"call": call, "arguments": arguments}
        if data is not None:
            request["bytes"] = len(data)
        self.send(json.dumps(request).encode() + b"\n" + (data or b""))
    def call (self, name, data=None, /, **arguments):
        """The result, or the errno; with the bytes that come."""
        self.ask(name, data, **arguments)
        while True:
            reply = self.line()
            if reply is None:
                return "gone"
            if "result" in reply or "error" in reply:
                break
        self.bytes = self.file.read(reply.get("bytes", 0))
        return reply["error"]["errno"] if "error" in reply else reply["result"]
    def close (self):
        self.file.close()
        self.socket.close()

def descriptors ():
    """Those that are none of the database: a store keeps its connections."""
    count = 0
    for name in os.listdir("/proc/%s/fd" % PID):
        try:
            file = os.readlink("/proc/%s/fd/%s" % (PID, name))
        except FileNotFoundError:
            continue
        count += not file.startswith(DATABASE)
    return count

def threads ():
    return len(os.listdir("/proc/%s/task" % PID))

def same (what, got, wanted):
    if got != wanted:
        sys.exit("%s: %r, wanted %r" % (what, got, wanted))

def settle (what, value, wanted):
    for _ in range(200):
        if value() <= wanted:
            return
        time.sleep(0.05)
    sys.exit("%s: %d, wanted %d" % (what, value(), wanted))

# --- A client of NBD, which must never wait long ------------------------------

longest = 0
ended = False
failed = []

def serve_nbd ():
    global longest
    import nbd
    h = nbd.NBD()
    h.connect_uri(URI)
    number = 0
    try:
        while not ended:
            began = time.monotonic()
            h.pwrite(bytes([number % 256]) * 4096, 4096 * (number % 4096))
            h.pread(4096, 4096 * (number % 4096))
            longest = max(longest, time.monotonic() - began)
            number += 1
            time.sleep(0.005)
    except Exception as error:
        failed.append(error)

nbd_thread = threading.Thread(target=serve_nbd)
nbd_thread.start()

try:
    client = Client()
    client.call("store_list")
    client.close()
    time.sleep(0.3)
    few_descriptors, few_threads = descriptors(), threads()

    # --- One line asks, one answers ---------------------------------------

    c = Client()
    same("list", [d["name"] for d in c.call("store_list")["disks"]], ["web"])
    same("create", c.call("manage_create",
                          options={"name": "mail", "size": 1 << 62}), {})
    same("a size above 2^53",
         c.call("store_find", name="mail")["info"]["size"], str(1 << 62))
    same("one as a string", c.call("manage_resize", disk="mail",
                                   size=str((1 << 62) + 1)), {})
    same("exact", c.call("store_find", name="mail")["info"]["size"],
         str((1 << 62) + 1))
    for size in ("18446744073709551616", "-1", -1, 1.5, True, None, "1e3",
                 "0x10", "", [], "99999999999999999999"):
        same("no number: %r" % size,
             c.call("manage_resize", disk="mail", size=size), "EINVAL")
    same("snapshot", c.call("manage_snapshot", targets=["web", "mail"],
                            name="monday"), {})
    same("a name in hex", c.call("manage_describe", target="mail",
                                 text={"hex": "6869"}), {})
    same("described", c.call("store_find", name="mail")["info"]["description"],
         "hi")
    for text in ({"hex": "ff"}, {"hex": "0"}, {"hex": "6800"}, {"hex": "FF"},
                 {"hex": 1}, {"hex": "68", "x": 1}, 7, "\0", None, "a\nb"):
        same("no text: %r" % text,
             c.call("manage_describe", target="mail", text=text)
             in ("EINVAL", "gone"), True)
        if text == "\0":
            c.close()
            c = Client()
    same("a missing one", c.call("manage_rename", target="mail"), "EINVAL")
    same("one too many", c.call("manage_rename", target="mail", name="post",
                                force=True), "EINVAL")
    same("unknown", c.call("manage_nothing"), "ENOTSUP")
    same("an errno", c.call("manage_clone", source="web", name="mail"),
         "EEXIST")
    same("another", c.call("manage_delete", disk="mail"), "ENOTEMPTY")
    same("no disk", c.call("manage_find_snapshot", target="web@none"),
         "ENOENT")
    same("no list", c.call("manage_snapshot", targets="web", name="x"),
         "EINVAL")
    same("an odd list", c.call("manage_snapshot", targets=["web", None],
                               name="x"), "EINVAL")
    for call, more in (("manage_snapshot", {"name": "x"}),
                       ("manage_delete_snapshots", {}),
                       ("manage_try_delete_snapshots", {})):
        same("too many of %s" % call, c.call(call, targets=["web@b"] * 100001,
                                             **more), "E2BIG")
    for call, more in (("manage_create", {"name": "x", "size": 4096}),
                       ("manage_set", {})):
        arguments = {"options": {**more, "settings": [
            {"key": "user:x", "text": ""}] * 20001}}
        if call == "manage_set":
            arguments["target"] = "web"
        same("too many of %s" % call, c.call(call, **arguments), "E2BIG")
    same("no disk of it", c.call("manage_snapshot", targets=[], name="x"), {})
    for items, groups in (([{"disk": 1, "snapshot": 0, "group": 5}], 1),
                          ([{"disk": 1, "snapshot": 0, "group": "1" * 19}], 2),
                          ([], 7), ([{"disk": 1}], 1)):
        same("groups", c.call("manage_usage", items=items, groups=groups),
             "EINVAL")
    same("usage", c.call("manage_usage", groups=1, items=[
        {"disk": 1 << 62, "snapshot": -1, "group": 0}])["frees"], [0])
    info = c.call("store_find", name="web")["info"]
    for key, value in (("block_size", 0), ("block_size", 3), ("size", 0),
                       ("id", -1), ("epoch", "9223372036854775807")):
        same("info with %s" % key, c.call(
            "manage_resize_found", info={**info, key: value}, size=4096,
            shrink=True) in ("EINVAL", "EBUSY", "EIO", "ENOENT"), True)
    same("resized", c.call("manage_resize_found", info=info,
                           size=info["size"] + 4096, shrink=False), {})

    same("another version", c.call("store_open", database="x", version="0"),
         "ENOTSUP")
    same("no version", c.call("store_open", database="x"), "EINVAL")

    # --- Disks that are open ----------------------------------------------

    opened = c.call("manage_pin", target="web")
    disk, size = opened["open"], opened["info"]["size"]
    for call, more in (("disk_read", {}), ("disk_zero", {}),
                       ("disk_fill", {}),
                       ("disk_extents", {"one": False})):
        for number, offset, count in (
                (disk, 0, 0), (disk, size, 1), (disk, size - 1, 2),
                (disk, str((1 << 64) - 1), 2), (disk, 1, str((1 << 64) - 1)),
                (99, 0, 1), (disk + 1, 0, 1), (4294967295, 0, 1)):
            got = c.call(call, disk=number, offset=offset, count=count, **more)
            same("%s %r" % (call, (number, offset, count)),
                 got in ("EINVAL", "EBADF"), True)
    same("too much", c.call("disk_read", disk=disk, offset=0,
                            count=(4 << 20) + 1), "EINVAL")
    same("no reception", c.call("disk_fill", b"x" * 512, disk=disk, offset=0,
                                count=512), "EBADF")
    same("read", c.call("disk_read", disk=disk, offset=0, count=4 << 20), {})
    same("bytes", len(c.bytes), 4 << 20)
    same("closed otherwise", c.call("disk_close", disk=disk), "EBADF")
    same("ended", c.call("manage_receive_end", open=disk, size=1), "EBADF")
    same("compared", c.call("manage_diff_found",
                            from_info={**info, "snapshot": 77},
                            to_info=info), "EBADF")
    for number in range(1, 16):
        same("open", "open" in c.call("manage_pin", target="web"), True)
    same("too many", c.call("manage_pin", target="web"), "EMFILE")
    c.close()

    incoming = {"disk": "in", "description": None, "size": 1 << 20,
                "block_size": 4096, "compression": None, "dedup": None,
                "replace": False, "snapshot": None, "guid": 0, "created": 0,
                "base_guid": 0, "base": None, "rollback": False}
    c = Client()
    for key, value in (("disk", "a@b"), ("disk", ""), ("block_size", 77),
                       ("size", "9223372036854775808"), ("snapshot", "a/b"),
                       ("base_guid", 5), ("compression", "best"),
                       ("compression", 7), ("dedup", "yes")):
        got = c.call("manage_receive", incoming={**incoming, key: value})
        same("incoming with %s %r" % (key, value), got in ("EINVAL", "ENOTSUP"),
             True)
    for optional in ({"properties": [{"kind": 0, "key": "id", "type": 1,
                                      "integer": 1, "bytes": "",
                                      "damaged": False}], "features": []},
                     {"properties": [], "features": [{"name": "x",
                                                      "class": 0}]}):
        same("what comes along", c.call("manage_receive", incoming=incoming,
                                        optional=optional), "EINVAL")
    for more in ({"base_guid": 5, "base": "x", "replace": True},
                 {"disk": "web", "base_guid": 5, "base": "x"},
                 {"disk": "web", "base_guid": 5, "base": "x", "replace": True},
                 {"base_guid": 5, "snapshot": "x"},
                 {"base_guid": 5, "snapshot": "x", "base": "a@b"},
                 {"disk": "web", "base_guid": 5, "snapshot": "x", "base": "y"},
                 {"disk": "web", "replace": True, "block_size": 512},
                 {"disk": "web@monday", "replace": True}):
        got = c.call("manage_receive", incoming={**incoming, **more})
        same("incoming with %r" % more, got in ("EINVAL", "EBUSY", "ENOENT"),
             True)
    for call, arguments in (
            ("manage_create", {"options": {"name": "x"}}),
            ("manage_create", {"options": {"name": "", "size": 4096}}),
            ("manage_create", {"options": {"name": "a@b", "size": 4096}}),
            ("manage_create", {"options": {"name": "x", "size": 4096,
                                           "block_size": 3}}),
            ("manage_clone", {"source": "web", "name": ""}),
            ("manage_group", {"kind": 2, "steps": [
                {"target": "web@monday", "name": {"hex": "ff"}}]}),
            ("manage_group", {"kind": 2, "steps": [
                {"target": "web@monday", "name": ""}]}),
            ("manage_group", {"kind": 9, "steps": [
                {"target": "web@monday", "name": "x"}]}),
            ("manage_group", {"kind": 5, "steps": [
                {"target": "web@monday", "name": "a/b"}]}),
            ("manage_group", {"kind": 5, "steps": [{"target": "web"}]}),
            ("manage_group", {"kind": 4, "flags": 2, "steps": [
                {"target": "web@monday"}, {"target": "web@monday"}]}),
            ("manage_set", {"target": "web", "options": {"settings": [
                {"key": {"hex": "ff"}, "text": "x"}]}}),
            ("manage_find_snapshot", {"target": "web"}),
            ("manage_delete_snapshots", {"targets": ["web"]}),
            ("manage_rollback", {"target": "web", "force": True}),
            ("manage_snapshot", {"targets": ["web"], "name": "2026-11-22"})):
        same("%s %r" % (call, arguments), c.call(call, **arguments), "EINVAL")
    number = c.call("manage_receive", incoming=incoming)["open"]
    same("a part", c.call("disk_fill", b"x" * 4096, disk=number, offset=0,
                          count=4096), {})
    same("other bytes", c.call("disk_fill", b"x" * 4096, disk=number, offset=0,
                               count=512), "EINVAL")
    same("zeroes", c.call("disk_zero", disk=number, offset=4096,
                          count=8192), {})
    same("the end", c.call("manage_receive_end", open=number, size=1 << 20),
         {})
    same("it is there", c.call("store_find", name="in")["info"]["size"],
         1 << 20)
    same("it is closed", c.call("disk_zero", disk=number, offset=0,
                                count=512), "EBADF")
    # One that is given up goes with its client.
    c.call("manage_receive", incoming={**incoming, "disk": "gone"})
    c.ask("disk_fill", b"x" * 4096, disk=number, offset=0, count=4096)
    c.close()
    c = Client()
    for _ in range(100):
        if "open" in c.call("manage_receive",
                            incoming={**incoming, "disk": "gone"}):
            break
        time.sleep(0.05)
    else:
        sys.exit("the reception of a client that has gone is still there")
    c.close()

    # --- A backup, only where both see it -----------------------------------

    here = os.stat(".")
    for path, directory, wanted in (
            ("saved", "file %d:%d" % (here.st_dev, here.st_ino), "EINVAL"),
            (os.path.abspath("saved"), "file 1:1", "EXDEV"),
            (DATABASE, "file %d:%d" % (here.st_dev, here.st_ino), "EEXIST")):
        c = Client()
        same("backup", c.call("manage_backup", path=path,
                              directory=directory), wanted)
        c.close()
    same("a file", os.path.exists("saved"), False)

    # --- What finds ranges waits, and serves other calls meanwhile ------------

    c = Client()
    c.ask("manage_diff", to="web")
    line = c.line()
    same("it waits", (line["waiting"], "ranges" in line["found"]),
         (True, True))
    same("another call", "info" in c.call("store_find", name="web"), True)
    same("not that one", c.call("manage_diff", to="web"), "EBUSY")
    c.send(b'{"cancel": true}\n')
    same("stopped", c.line()["error"]["errno"], "ECANCELED")
    same("and goes on", "info" in c.call("store_find", name="web"), True)
    c.close()
    c = Client()
    c.ask("manage_diff", to="web")
    c.line()
    c.close()
    c = Client()                # it can say nothing more, and takes what comes
    c.ask("manage_diff", to="web")
    c.socket.shutdown(socket.SHUT_WR)
    while True:
        line = c.line()
        if "found" not in line:
            break
    same("one that listens only", "result" in line, True)
    c.close()

    # --- Not a request ------------------------------------------------------

    def odd (data, *wanted):
        c = Client()
        c.send(data)
        line = c.line()
        got = line and line.get("error", {}).get("errno")
        if got not in wanted:
            sys.exit("%r...: %r" % (data[:60], line))
        c.close()

    odd(b"\n", "EINVAL")
    odd(b"hello\n", "EINVAL")
    odd(b"[]\n", "EINVAL")
    odd(b"{}\n", "EINVAL")
    odd(b'{"call": 7}\n', "EINVAL")
    odd(b'{"call": "store_list"}\n', "EINVAL")
    odd(b'{"call": "store_list", "arguments": []}\n', "EINVAL")
    odd(b'{"call": "store_list", "call": "x", "arguments": {}}\n', "EINVAL")
    odd(b'{"call": "\xff", "arguments": {}}\n', "EINVAL")
    odd(b'{"call": "store_list", "arguments": {}, "bytes": -1}\n', "E2BIG")
    odd(b'{"call": "store_list", "arguments": {}, "bytes": 4194305}\n',
        "E2BIG")
    odd(b'{"call": "store_list", "arguments": {}, "bytes": "x"}\n', "E2BIG")
    odd(b"[" * 100000 + b"\n", "EINVAL")
    odd(b'{"a":' * 100000 + b"\n", "EINVAL")
    odd(b"x" * (17 << 20), "E2BIG", None)
    odd(b'{"call": "%s", "arguments": {}}\n' % (b"x" * 100000), "ENOTSUP")
    odd(b'{"call": "manage_describe", "arguments": {"target": "web", "text": "'
        + b"x" * 1000000 + b'"}}\n', "EINVAL")

    # A half one, and its end.
    for cut in (1, 20, 38):
        c = Client()
        c.send(b'{"call": "store_list", "arguments": {}}\n'[:cut])
        c.close()
    c = Client()
    c.send(b'{"call": "disk_fill", "arguments": {"disk": 0, "offset": 0, '
           b'"count": 512}, "bytes": 512}\nxxx')
    c.close()

    # A descriptor that comes along is not kept.
    c = Client()
    read_end, write_end = os.pipe()
    socket.send_fds(c.socket, [b'{"call": "store_list", "arguments": {}}\n'],
                    [write_end] * 5)
    os.close(write_end)
    c.line()
    same("the descriptor", os.read(read_end, 1), b"")
    os.close(read_end)
    c.close()

    # Any bytes, and requests that were changed at random.
    good = [json.dumps(request).encode() + b"\n" for request in (
        {"call": "manage_set", "arguments": {"target": "web", "options": {
            "compression": "lz4", "dedup": None, "settings": [
                {"key": "user:a", "text": "b"}]}}},
        {"call": "manage_usage", "arguments": {"groups": 1, "items": [
            {"disk": 1, "snapshot": 0, "group": 0}]}},
        {"call": "manage_receive", "arguments": {
            "incoming": {**incoming, "disk": "fuzz"},
            "optional": {"properties": [], "features": []}}},
        {"call": "manage_diff", "arguments": {"from": "web@monday",
                                              "to": "web"}},
        {"call": "disk_read", "arguments": {"disk": 0, "offset": 0,
                                            "count": 512}, "bytes": 3},
    )]
    tokens = [b'"', b"{", b"}", b"[", b"]", b":", b",", b"null", b"true",
              b"-1", b"18446744073709551615", b"1e999", b'"\\u0000"',
              b"\\ud800", b"\xff", b"\n", b"0" * 50]
    until = time.monotonic() + (300 if SOAK else 6)
    tries = 0
    while time.monotonic() < until:
        data = bytearray(random.choice(good))
        if random.randrange(4) == 0:
            data = bytearray(random.randbytes(random.randrange(200)))
        for _ in range(random.randrange(4)):
            at = random.randrange(len(data) + 1)
            data[at:at + random.randrange(3)] = random.choice(tokens)
        c = Client()
        c.send(b'{"call": "manage_pin", "arguments": {"target": "web"}}\n')
        c.send(bytes(data))
        if random.randrange(2):
            c.socket.shutdown(socket.SHUT_WR)
            try:
                c.file.read()
            except ConnectionResetError:
                pass
        c.close()
        tries += 1
    print(tries, "odd requests")

    # --- Slow and dead clients ------------------------------------------------

    slow = []
    for _ in range(20):
        s = Client()
        s.ask("manage_diff", to="web")
        slow.append(s)                  # and says no more
        s = Client()
        s.ask("manage_pin", target="web")
        for _ in range(4):              # and takes nothing of it
            s.ask("disk_read", disk=0, offset=0, count=4 << 20)
        slow.append(s)
    c = Client()
    began = time.monotonic()
    c.call("manage_snapshot", targets=["web"], name="slow")
    if time.monotonic() - began > 10:
        sys.exit("a slow client has kept another one waiting")
    c.close()
    for s in slow:
        s.close()

    # More of them than are served at once.
    many = [Client() for _ in range(90)]
    for number, m in enumerate(many):
        m.ask("store_find", name="web")
    for m in many[:64]:
        same("one of many", "result" in m.line(), True)
        m.close()
    for m in many[64:]:
        same("one of many", "result" in m.line(), True)
        m.close()

    # --- Work that takes long ends with its client ----------------------------

    def sqlblock (*words):
        return subprocess.Popen(["sqlblock", *words, "--control=" + SOCKET],
                                stdin=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    with open("/dev/urandom", "rb") as file, open("work.raw", "wb") as out:
        for _ in range(48):
            out.write(file.read(1 << 20))
    same("import", sqlblock("import", DATABASE, "work", "work.raw").wait(), 0)
    same("snapshot", sqlblock("snapshot", "create", DATABASE,
                              "work@all").wait(), 0)
    for number, how in enumerate((signal.SIGINT, signal.SIGKILL,
                                  signal.SIGTERM)):
        name = "clone%d" % number
        same("clone", sqlblock("clone", DATABASE, "work@all", name).wait(), 0)
        work = sqlblock("flatten", DATABASE, name, "--progress")
        line = work.stderr.readline()
        same("progress", line.startswith("flattening"), True)
        work.send_signal(how)
        same("ended by", work.wait(), -how)
        c = Client()
        time.sleep(1)
        same("it was stopped", c.call("manage_details",
                                      target=name)["details"]["origin"],
             "work@all")
        # Whoever flattens keeps others out until then.
        for _ in range(100):
            got = c.call("manage_flatten", disk=name)
            if got != "EBUSY":
                break
            time.sleep(0.05)
        same("flatten", got, {})
        c.close()
    check = sqlblock("check", DATABASE, "--quiet")
    same("check", check.wait(), 0)

    # --- Nothing is left ------------------------------------------------------

    settle("threads", threads, few_threads)
    settle("descriptors", descriptors, few_descriptors)
    os.kill(int(PID), 0)
    for disk in Client().call("store_list")["disks"]:
        if disk["name"] != "web":
            same("delete", sqlblock("delete", DATABASE, disk["name"],
                                    "--snapshots").wait(), 0)
finally:
    ended = True
    nbd_thread.join()

if failed:
    sys.exit("the client of NBD has failed: %s" % failed[0])
print("the longest request of the NBD client took %d ms" % (longest * 1000))
if longest > 20:
    sys.exit("that is too long")
