# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# A random history of two databases, with a model that has full copies.
#
#   here    written through a server, snapshotted, cloned, rolled back, renamed,
#           thinned out, held, bookmarked, thrown away and had back
#     │ send, cut at random places, gone on with
#     ▼
#   there   has what was sent, perhaps fewer snapshots, and whatever is called
#           so is what it was here: by its guid
#   new     now and then all is sent to a new one
#
# What the commands should do follows from the model: that they do it, and
# nothing else, is what is compared.
#
#   python3 replicas.py DIRECTORY PLUGIN SEED STEPS

import fnmatch, json, os, random, subprocess, sys, time
import nbd
from managed import Server, fail

directory, plugin, seed, steps = sys.argv[1:]
os.chdir(directory)
random.seed(int(seed))
DISKS = 5                       # at most, and snapshots of each
SNAPSHOTS = 8
counter = 0
taken = {}                      # what snapshots show, by their guids, in order
done = {}                       # how often each thing was done


def count(what):
    done[what] = done.get(what, 0) + 1


def new_name(letter):
    global counter
    counter += 1
    return letter + str(counter)


class Snapshot:
    def __init__(self, name, guid):
        self.name, self.guid, self.holds = name, guid, set()


class Disk:
    def __init__(self, name, data):
        self.name, self.data = name, bytearray(data)
        self.snapshots = []     # in the order in which they were made
        self.bookmarks = {}     # guids
        self.jumped = set()     # guids that it may not come from any more
        self.replica = None     # what it is called there
        self.written = False    # since its newest snapshot

    def snapshot(self, name):
        return next((one for one in self.snapshots if one.name == name), None)

    def bookmarked(self, name):
        return self.bookmarks.get(name)

    def jump(self):
        self.jumped |= set(self.bookmarks.values()) | {one.guid
                                              for one in self.snapshots}


class Side:
    """A database that a server has open."""
    def __init__(self, name):
        self.db, self.control = name, os.path.join(directory, name + ".control")
        self.disks = {}
        self.trash = []
        run(["create", self.db, "first", "--size=40000", "--block-size=512"])
        self.server = Server(self.db, plugin, "control=" + self.control)

    def run(self, words, codes={0}, input=None):
        """Run a command beside the server, or by it."""
        way = ["--control=" + self.control] if random.random() < .3 else []
        at = 2 if words[0] in ("snapshot", "bookmark", "trash") else 1
        return run([*way, *words[:at], self.db, *words[at:]], codes, input)

    def listed(self):
        """All snapshots there are, as pairs of names and guids, by disks."""
        found = {}
        for one in json.loads(self.run(["snapshot", "list", "--json"])[1])[
                "snapshots"]:
            found.setdefault(one["disk"], []).append((one["snapshot"],
                                                      one["guid"]))
        return found

    def compare(self):
        """All of it with the model."""
        listed = self.listed()
        names = {one["name"] for one in
                 json.loads(self.run(["list", "--json"])[1])["disks"]}
        if names != set(self.disks):
            fail(self.db, "has", names, "and not", set(self.disks))
        for disk in self.disks.values():
            if self.server.read(disk.name) != disk.data:
                fail(self.db, disk.name, "differs")
            have = [(one.name, one.guid) for one in disk.snapshots]
            if listed.get(disk.name, []) != have:
                fail(self.db, disk.name, "has", listed.get(disk.name),
                     "and not", have)
            for one in disk.snapshots:
                if self.server.read(disk.name + "@" + one.name) != \
                        taken[one.guid]:
                    fail(self.db, disk.name, one.name, "differs")
        self.check()

    def check(self):
        self.run(["check", "-q"])


def run(words, codes={0}, input=None):
    """Run a command: its exit code, and what it prints."""
    for _ in range(500):
        process = subprocess.run(["sqlblock", *words], capture_output=True,
                                 input=input, timeout=300)
        # A server closes a disk a little after its client has gone.
        if process.returncode != 5 or 5 in codes:
            break
        time.sleep(.01)
    if process.returncode not in codes:
        fail(words, "ended with", process.returncode, process.stderr.decode())
    return process.returncode, process.stdout, process.stderr.decode()


# --- What happens here -------------------------------------------------------

def random_disk():
    return random.choice(list(here.disks.values()))


def random_snapshot():
    disk = random_disk()
    return disk, random.choice(disk.snapshots) if disk.snapshots else None


def write():
    write_to(here, random_disk())


def write_to(side, disk):
    handle = side.server.connect(disk.name)
    size = len(disk.data)
    for _ in range(random.randint(1, 6)):
        length = random.randint(1, 9000)
        offset = random.randrange(size)
        length = min(length, size - offset)
        data = random.choice((random.randbytes, bytes))(length)
        if random.random() < .2:
            handle.zero(length, offset)
            data = bytes(length)
        else:
            handle.pwrite(data, offset)
        disk.data[offset:offset + length] = data
    handle.shutdown()
    disk.written = True


def group():
    """Some disks, and the words that name them."""
    if random.random() < .5:
        disks = random.sample(sorted(here.disks), random.randint(
            1, min(3, len(here.disks))))
        return disks, disks
    pattern = random.choice(("*", "d*", "d*[13579]", "d?", "[!d]*"))
    return [name for name in here.disks
            if fnmatch.fnmatchcase(name, pattern)], [pattern]


def snapshot():
    disks, words = group()
    name = new_name("s")
    if any(len(here.disks[disk].snapshots) >= SNAPSHOTS for disk in disks):
        return
    here.run(["snapshot", "create", *(word + "@" + name for word in words)],
             {0} if disks else {3})
    note_snapshots(disks, name)


def snapshot_of_all():
    name = new_name("s")
    here.run(["snapshot", "create", "--all", "@" + name])
    note_snapshots(here.disks, name)
    return name


def note_snapshots(disks, name):
    listed = here.listed()
    for disk in disks:
        made = Snapshot(*listed[disk][-1])
        if made.name != name:
            fail("no snapshot", name, "of", disk)
        here.disks[disk].snapshots.append(made)
        taken[made.guid] = bytes(here.disks[disk].data)


def some_snapshots():
    """Some snapshots of a disk, and how to name them."""
    disk, first = random_snapshot()
    if first is None:
        return disk, [], None
    last = random.choice(disk.snapshots)
    a, b = sorted((disk.snapshots.index(first), disk.snapshots.index(last)))
    first, last = disk.snapshots[a].name, disk.snapshots[b].name
    which, text = random.choice((
        (slice(a, a + 1), first), (slice(a, b + 1), first + ".." + last),
        (slice(a, b + 1), first + "%" + last), (slice(a, None), first + ".."),
        (slice(None, b + 1), "%" + last)))
    return disk, disk.snapshots[which], disk.name + "@" + text


def delete_snapshots():
    if random.random() < .2:
        pattern = "*[%d]" % random.randrange(10)
        gone = {disk.name: [one for one in disk.snapshots
                            if fnmatch.fnmatchcase(one.name, pattern)]
                for disk in here.disks.values()}
        text = "d*@" + pattern
        gone = {name: those for name, those in gone.items()
                if fnmatch.fnmatchcase(name, "d*")}
    else:
        disk, those, text = some_snapshots()
        gone = {disk.name: those}
    all_of = [one for those in gone.values() for one in those]
    held = any(one.holds for one in all_of)
    if text is None:
        return
    code = here.run(["snapshot", "delete", text],
                    {5} if held else {0} if all_of else {3})[0]
    count("held" if held else "deleted")
    if code == 0:
        for name, those in gone.items():
            for one in those:
                here.disks[name].snapshots.remove(one)


def hold():
    disk, those, text = some_snapshots()
    if text is None:
        return
    tag = random.choice(("a", "b"))
    if random.random() < .5:
        code = here.run(["snapshot", "hold", text, tag],
                        {4} if any(tag in one.holds for one in those)
                        else {0})[0]
        for one in those if code == 0 else []:
            one.holds.add(tag)
    else:
        code = here.run(["snapshot", "release", text, tag],
                        {0} if all(tag in one.holds for one in those)
                        else {3})[0]
        for one in those if code == 0 else []:
            one.holds.remove(tag)


def bookmark():
    disk, one = random_snapshot()
    if one is None:
        return
    name = new_name("b")
    here.run(["bookmark", "create", disk.name + "@" + one.name, name])
    disk.bookmarks[name] = one.guid
    if random.random() < .3:
        gone = random.choice(list(disk.bookmarks))
        here.run(["bookmark", "delete", disk.name + "#" + gone])
        del disk.bookmarks[gone]


def rollback():
    disks, words = group()
    _, one = random_snapshot()
    if one is None:
        return
    words = [word + "@" + one.name for word in words]
    fit = disks and all(here.disks[disk].snapshot(one.name) for disk in disks)
    here.run(["rollback", *words], {0} if fit else {3})
    for disk in disks if fit else []:
        disk = here.disks[disk]
        disk.data = bytearray(taken[disk.snapshot(one.name).guid])
        disk.jump()


def clone():
    words, made = [], []
    for _ in range(random.randint(1, 2)):
        disk, one = random_snapshot()
        if one and random.random() < .3:
            one = None
        name = new_name("d")
        words += [disk.name + ("@" + one.name if one else ""), name]
        made.append(Disk(name, taken[one.guid] if one else disk.data))
    if len(here.disks) + len(made) <= DISKS:
        here.run(["clone", *words])
        here.disks.update((disk.name, disk) for disk in made)


def rename():
    disk, one = random_snapshot()
    if one and random.random() < .5:
        name = new_name("s")
        here.run(["rename", disk.name + "@" + one.name, name])
        one.name = name
        return
    del here.disks[disk.name]
    old, disk.name = disk.name, new_name("d")
    here.run(["rename", old, disk.name])
    here.disks[disk.name] = disk


def resize():
    disk = random_disk()
    size = random.randint(20000, 60000)
    here.run(["resize", "--shrink", disk.name, str(size)])
    disk.data = bytearray(disk.data[:size].ljust(size, b"\0"))


def anew():
    disk = random_disk()
    words = random.choice((["flatten", disk.name], ["recompress", disk.name],
                           ["compact"], ["set", disk.name, "dedup=on"],
                           ["set", disk.name, "compression=none"],
                           ["set", disk.name, "compression=lz4"]))
    if words[0] == "flatten":
        disk.jump()
    here.run(words)


def delete():
    disk = random_disk()
    if len(here.disks) == 1:
        return
    held = any(one.holds for one in disk.snapshots)
    now = ["--now"] if random.random() < .3 else []
    here.run(["delete", disk.name, "--snapshots", *now],
             {5} if held else {0})
    if held:
        return
    del here.disks[disk.name]
    if not now:
        here.trash.append(disk)


def trash():
    if not here.trash:
        return
    disk = random.choice(here.trash)
    if len(here.disks) < DISKS and random.random() < .7:
        name = random.choice((disk.name, new_name("d")))
        here.run(["undelete", disk.name, name])
        disk.name = name
        here.disks[name] = disk
        here.trash.remove(disk)
        count("undeleted")
    else:
        here.run(["trash", "empty", disk.name])
        here.trash.remove(disk)


# --- On the way --------------------------------------------------------------

def send(words):
    """A stream; --estimate knows its length."""
    stream = here.run(["send", "-q", *words])[1]
    if random.random() < .2:
        estimate = json.loads(here.run(["send", *words, "--estimate",
                                        "--json"])[1])
        if estimate["bytes"] != len(stream):
            fail(words, "has", len(stream), "bytes, not", estimate)
    return stream


def receive(name, stream, *words, codes={0}):
    """Receive it as the disk of that name; what is kept of it, if it fails."""
    there.run(["receive", name, *words], codes, stream)
    note(there, name)
    listed = json.loads(there.run(["list", "--json"])[1])["receiving"]
    return next((one for one in listed if one["disk"] == name), None)


def note(side, name):
    """What a disk has now must be what it was where it comes from."""
    have = side.listed().get(name, [])
    if not have:
        side.disks.pop(name, None)
        return
    disk = side.disks.setdefault(name, Disk(name, b""))
    before = [one.guid for one in disk.snapshots]
    disk.snapshots = [Snapshot(*one) for one in have]
    if [guid for _, guid in have][:len(before)] != before:
        fail(side.db, name, "had", before, "and has", have)
    if not disk.written or [guid for _, guid in have] != before:
        disk.data = bytearray(taken[have[-1][1]])
        disk.written = False


def drop(name):
    """Have it not be there."""
    if name in there.disks:
        there.run(["delete", name, "--snapshots"])
        del there.disks[name]


def base_of(disk, name):
    """What a stream to a disk can begin with: the words, and whether it may
    turn out that it cannot."""
    if name not in there.disks:
        return [], False
    newest = there.disks[name].snapshots[-1].guid
    for one in disk.snapshots:
        if one.guid == newest:
            return ["--from=" + random.choice(("", "@")) + one.name], False
    for text, guid in disk.bookmarks.items():
        if guid == newest:
            return ["--from=#" + text], newest in disk.jumped
    return None, False


def is_later(one, other):
    guids = list(taken)
    return guids.index(one.guid) > guids.index(other.guid)


def arrived(disk, last):
    """It has all snapshots up to that one."""
    name = disk.replica
    newest = there.disks[name].snapshots[-1]
    if newest.guid != last.guid or \
            [one.guid for one in disk.snapshots if one.guid in
             {one.guid for one in there.disks[name].snapshots}] != \
            [one.guid for one in there.disks[name].snapshots if one.guid in
             {one.guid for one in disk.snapshots}]:
        fail("of", disk.name, name, "has", [one.name for one in
                                            there.disks[name].snapshots])


def replicate():
    """Bring a disk up to date there, whatever happens on the way."""
    disk, last = random_snapshot()
    if last is None:
        return
    disk.replica = disk.replica or new_name("r")
    known = {one.replica for one in [*here.disks.values(), *here.trash]}
    for other in set(there.disks) - known - {"first"}:
        drop(other)
    base, may_fail = base_of(disk, disk.replica)
    if base is None:
        drop(disk.replica)
        base = []
        count("again")
    chain = random.random() < .7
    last = disk.snapshots[-1]
    text = disk.name + random.choice(("", "@" + last.name)) \
        if chain else disk.name + "@" + last.name
    words = [*(["-R"] if chain else []), text, *base]
    if base and not is_later(last, there.disks[disk.replica].snapshots[-1]):
        here.run(["send", *words], {1})
        return
    if may_fail:
        code, _, error = here.run(["send", *words], {0, 1})
        if code == 1:
            if "does not come from the bookmark" not in error:
                fail(words, error)
            drop(disk.replica)
            words = words[:-1]
            base = []
            count("bookmarks refused")
    if base:
        count("from bookmarks" if "#" in base[0] else "increments")
    stream = send(words)
    force = write_there(disk.replica, stream) if base else []
    if random.random() < .5:
        receive(disk.replica, stream, *force)
        arrived(disk, last)
        count("chains" if chain else "one")
    else:
        cut(disk, stream, last, chain, force)
    if random.random() < .6:
        mark(disk)


def write_there(name, stream):
    """What was written there is given up only if that is asked for."""
    replica = there.disks[name]
    if replica.written:
        return ["--rollback"]
    if random.random() < .8:
        return []
    if random.random() < .5:
        write_to(there, replica)
    else:
        one = random.choice(replica.snapshots)
        there.run(["rollback", name + "@" + one.name])
        replica.data = bytearray(taken[one.guid])
        replica.written = True
    # Zeroes that were zeroes are no change.
    if replica.data != taken[replica.snapshots[-1].guid]:
        receive(name, stream, codes={1})
        count("refused")
    return ["--rollback"]


def mark(disk):
    """Remember what is there by a bookmark only."""
    if disk.replica not in there.disks or \
            here.disks.get(disk.name) is not disk:
        return
    newest = there.disks[disk.replica].snapshots[-1].guid
    for one in disk.snapshots:
        if one.guid == newest and not one.holds:
            name = new_name("b")
            here.run(["bookmark", "create", disk.name + "@" + one.name, name])
            disk.bookmarks[name] = newest
            here.run(["snapshot", "delete", disk.name + "@" + one.name])
            disk.snapshots.remove(one)
            return


def cut(disk, stream, last, chain, force):
    """The stream does not arrive at once."""
    name = disk.replica
    keep = ["-s"] if random.random() < .8 else []
    kept = receive(name, stream[:random.randrange(len(stream))], *keep, *force,
                   codes={1})
    while kept:
        there.check()
        if random.random() < .5:
            change()
        if here.disks.get(disk.name) is not disk:
            break
        part = ["-R", disk.name] if chain else []
        code, stream, error = here.run(["send", *part, "--resume=" +
                                        kept["token"]], {0, 1, 3})
        if code != 0:
            # It is of something that is not there any more.
            count("given up")
            break
        last = disk.snapshots[-1] if chain else last
        if random.random() < .4:
            count("cut again")
            kept = receive(name, stream[:random.randrange(len(stream))], *force,
                           codes={1})
            continue
        receive(name, stream, *force)
        arrived(disk, last)
        count("resumed")
        return
    if kept:
        there.run(["receive", name, "--abort"])
        note(there, name)
    elif not keep and random.random() < .7:
        # All again; what is there is passed by.
        receive(name, stream, *force)
        arrived(disk, last)
        count("sent again")
    else:
        count("left")


def thin_out():
    """There are fewer there."""
    disk = random.choice(list(there.disks.values()))
    if len(disk.snapshots) > 1:
        gone = disk.snapshots.pop(random.randrange(len(disk.snapshots) - 1))
        there.run(["snapshot", "delete", disk.name + "@" + gone.name])


def all_new():
    """All of it, clones as clones, to a new database; and then what came later,
    from what all of them have."""
    for file in os.listdir("."):
        if file.startswith("new.sqlite"):
            os.unlink(file)
    common = snapshot_of_all()
    if random.random() < .5:
        for name in here.disks:
            here.run(["bookmark", "create", name + "@" + common, common])
            here.disks[name].bookmarks[common] = \
                here.disks[name].snapshots[-1].guid
    new = {}
    send_to_new(list(here.disks.values()), [], new)
    for _ in range(random.randint(1, 8)):
        change()
    snapshot_of_all()
    for mark, has in random.sample([("@", Disk.snapshot),
                                    ("#", Disk.bookmarked)], 2):
        # One that has another name by now, or lost the mark, does not fit.
        disks = [disk for disk in here.disks.values()
                 if disk not in new.values() or
                 new.get(disk.name) is disk and has(disk, common)]
        if any(disk in new.values() for disk in disks) and \
                not any(disk.name in new and disk not in new.values()
                        for disk in disks):
            may_fail = mark == "#" and any(
                disk.bookmarks.get(common) in disk.jumped for disk in disks)
            if send_to_new(disks, ["--from=" + mark + common], new, may_fail):
                count("all from " + mark)
                return


def send_to_new(disks, base, new, may_fail=False):
    """Send all snapshots of the disks to the new database.  Has it come?"""
    words = ["-R", *(disk.name for disk in disks), *base]
    if may_fail and here.run(["send", *words], {0, 1})[0] == 1:
        return False
    stream = send(words)
    before = listed_new() if base else set()
    if random.random() < .4:
        place = random.randrange(len(stream))
        out = run(["receive", "new.sqlite", "-s", "--json"], {1},
                  stream[:place])[1]
        # What is cut off before its beginning has no database.
        kept = json.loads(out)["kept"] if out else None
        if kept:
            stream = send([*words, "--resume=" + kept["token"]])
            count("all resumed")
    run(["receive", "new.sqlite"], {0}, stream)
    have = listed_new()
    later = {(disk.name, one.guid) for disk in disks
             for one in disk.snapshots
             if (disk.name, one.guid) not in {(name, guid) for name, _, guid
                                              in before}}
    if {(name, guid) for name, _, guid in have - before} != later:
        fail("new has", have - before, "and not", later)
    server = Server("new.sqlite", plugin)
    for disk, name, guid in have:
        if server.read(disk + "@" + name) != taken[guid]:
            fail("new", disk, name, "differs")
    server.end()
    run(["check", "-q", "new.sqlite"])
    new.update((disk.name, disk) for disk in disks)
    count("all")
    return True


def listed_new():
    listed = json.loads(run(["snapshot", "list", "new.sqlite", "--json"])[1])
    return {(one["disk"], one["snapshot"], one["guid"])
            for one in listed["snapshots"]}


WHAT = [write] * 6 + [snapshot] * 5 + [delete_snapshots, hold, bookmark,
        bookmark, rollback, rollback, clone, clone, rename, resize, anew, anew,
        delete, trash, trash]


def change():
    what = random.choice(WHAT)
    count(what.__name__)
    what()


here, there = Side("here.sqlite"), Side("there.sqlite")
here.disks["first"] = Disk("first", bytes(40000))
there.disks["first"] = Disk("first", bytes(40000))
here.run(["set", "trash=7d"])
for step in range(int(steps)):
    for _ in range(random.randint(1, 4)):
        change()
    replicate()
    if step % 4 == 0:
        thin_out()
    if step % 8 == 7:
        all_new()
    if step % 4 == 3:
        here.compare()
        there.compare()
here.compare()
there.compare()
all_new()
for side in here, there:
    side.server.end()
    run(["check", "-q", side.db])
print(", ".join("%d %s" % (number, what)
                for what, number in sorted(done.items())))
