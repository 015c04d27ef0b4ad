# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The rules that all commands of sqlblock keep to: every command that "sqlblock
# --help" lists is walked through the same arguments. What its arguments and
# options are is read from its help; what is a right call of it stands in CALLS,
# and a command that is not there fails the test.
#
#   commands.py DIRECTORY PLUGIN

import json, hashlib, os, re, shutil, subprocess, sys, time

directory, plugin = sys.argv[1:]
os.chdir(directory)
DB = "d.sqlite"
SIDES = ["", "-wal", "-shm", "-journal", "-lock"]
failures = 0
runs = 0

# For each command a right call of it, without the database, and what it
# prints with --quiet.
CALLS = {
    "create": ["new", "--size=1M"],
    "list": [],
    "info": ["web"],
    "df": [],
    "usage": ["web"],
    "rename": ["mail", "post"],
    "describe": ["web", "a server"],
    "resize": ["web", "+1M"],
    "delete": ["mail"],
    "undelete": ["gone"],
    "trash list": [],
    "trash empty": ["gone"],
    "snapshot create": ["web@wednesday"],
    "snapshot list": ["web"],
    "snapshot delete": ["web@monday"],
    "snapshot hold": ["web@monday", "backup"],
    "snapshot release": ["web@tuesday", "keep"],
    "bookmark create": ["web@monday", "sent"],
    "bookmark list": ["web"],
    "bookmark delete": ["web#kept"],
    "rollback": ["web@monday"],
    "clone": ["web@monday", "copy"],
    "flatten": ["child"],
    "diff": ["web@monday", "web"],
    "map": ["web"],
    "export": ["web", "out"],
    "import": ["new", "image"],
    "send": ["web@monday"],
    "receive": ["received"],
    "stream info": [],
    "backup": ["out"],
    "upgrade": [],
    "compact": [],
    "check": [],
    "break-lock": [],
    "get": ["web", "size"],
    "set": ["web", "user:owner=ann"],
    "inherit": ["web", "user:owner"],
    "recompress": ["web"],
    "key list": ["secret"],
    "key add": ["secret", "--key-file=key", "--new-key-file=lock"],
    "key change": ["secret", "--key-file=key", "--new-key-file=lock"],
    "key remove": ["secret", "1", "--key-file=key"],
    "status": [],
    "top": [],
}
# These only report: they have nothing to confirm.
REPORTS = {"list", "info", "df", "usage", "trash list", "status",
           "snapshot list", "bookmark list", "key list", "diff", "map", "get",
           "top"}
# These make the database where it is missing, or do not open it.
WITHOUT_FILE = {"create", "receive"}
# On a file these are refused; test-cluster.sh has them on a cluster.
ON_CLUSTER = {"break-lock"}
# These are about devices and directories; test-attach.sh and test-mount.sh have
# them.
DEVICES = {"attach", "detach", "attached", "mount", "umount"}
# These have no DATABASE.
WITHOUT_DATABASE = {"stream info"}
# Only with this is it clear what the option does.
COMPANIONS = {"zero-lost": ["--salvage=saved"]}
# Only with this do they print JSON.
JSON_WITH = {"send": ["--estimate"]}

def fail (words, code, text, why):
    global failures
    failures += 1
    print("FAILED: sqlblock %s\n  exit code %s: %s\n  %s"
          % (" ".join(repr(word) for word in words), code, text.strip(), why))

def sqlblock (words, stdin=None, **more):
    """Run it; returns exit code, output and messages."""
    global runs
    runs += 1
    with open(stdin or "/dev/null", "rb") as file:
        done = subprocess.run(["sqlblock", *words], stdin=file,
                              stdout=more.pop("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, timeout=60, **more)
    return (done.returncode, (done.stdout or b"").decode(errors="replace"),
            done.stderr.decode(errors="replace"))

def call (command, arguments, options=(), before=(), stdin="stream", **more):
    return sqlblock([*before, *command.split(), DB, *arguments, *options],
                    stdin, **more)

# --- A database, and what the help says --------------------------------------

def make ():
    for words in (["create", DB, "web", "--size=8M"],
                  ["create", DB, "mail", "--size=1M"],
                  ["create", DB, "gone", "--size=1M"],
                  ["set", DB, "gone", "trash=7d"],
                  ["delete", DB, "gone"],
                  ["snapshot", "create", DB, "web@monday"],
                  ["snapshot", "create", DB, "web@tuesday"],
                  ["snapshot", "hold", DB, "web@tuesday", "keep"],
                  ["bookmark", "create", DB, "web@tuesday", "kept"],
                  ["import", DB, "web", "image", "--overwrite"],
                  ["clone", DB, "web", "child"],
                  ["create", DB, "secret", "--size=1M", "--encrypt",
                   "--key-file=key"],
                  ["key", "add", DB, "secret", "--key-file=key",
                   "--new-key-file=stream"],
                  ["import", "other.sqlite", "sent", "image", "--create"],
                  ["snapshot", "create", "other.sqlite", "sent@one"]):
        code, _, text = sqlblock(words)
        if code != 0:
            sys.exit("%s: %s" % (words, text))
    with open("stream", "wb") as file:
        sqlblock(["send", "other.sqlite", "sent@one"], stdout=file)
    shutil.copy(DB, "good")

def restore ():
    for side in SIDES:
        if os.path.lexists(DB + side):
            os.unlink(DB + side)
    for name in ("out", "saved"):
        if os.path.lexists(name):
            os.unlink(name)
    shutil.copy("good", DB)

def digest (path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

def state (looked=True):
    """The files; of a database that was looked at without what only says who
    does."""
    return {name: digest(name) for name in os.listdir(".")
            if os.path.isfile(name) and
            not (looked and (name in (DB + "-lock", DB + "-shm") or
                             name == DB + "-wal" and
                             os.path.getsize(name) == 0))}

def size_of (path):
    return os.path.getsize(path) if os.path.exists(path) else -1

def contents ():
    """What the database has."""
    return sqlblock(["list", DB, "--all", "--json"])[1]

for name in ("key", "lock", "stream"):
    with open(name, "wb") as file:
        file.write(os.urandom(32))
with open("image", "wb") as file:
    file.write(os.urandom(300000))
make()

help_text = sqlblock(["--help"])[1]
COMMANDS = [command for command in
            re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  ", help_text, re.M)
            if command not in DEVICES]
usage, options = {}, {}     # options: of each command (letter, name, argument)
for command in COMMANDS:
    code, text, _ = sqlblock(["help", *command.split()])
    usage[command] = re.match(r"Usage: sqlblock %s (.*) \[OPTION\]" % command,
                              text).group(1).split()[1:]
    options[command] = re.findall(
        r"^  (?:-(.), |    )--([a-z-]+)(?:=(\S+))?",
        text.split("\nOptions:\n")[1], re.M)
if set(COMMANDS) != set(CALLS):
    sys.exit("commands that are not in CALLS, or not in --help: %s"
             % (set(COMMANDS) ^ set(CALLS)))

def values_of (name, argument):
    return {"SIZE": "1M", "HOW": "lz4", "TEXT": "text", "SNAPSHOT": "monday",
            "FILE": "saved", "WHEN": "never", "COLUMNS": "80", "LINES": "24",
            "SECONDS": "1", "SOCKET": "none", "NUMBER": "1", "KEY": "user:other",
            "TITLES": "size,name", "TITLE": "created", "FORMAT": "raw",
            "ID": "3", "TIME": "2999-01-01", "SPAN": "1h",
            "TOKEN": "token", "SOURCE": "+key"}[argument]

def option_of (name, argument):
    return "--%s%s" % (name, argument and "=" + values_of(name, argument))

# --- What can never be right: exit code 2, and nothing is touched ------------

def refused (command, arguments, *more, says=None, looked=False):
    before = state(looked)
    code, out, text = call(command, arguments, *more)
    words = [command, *arguments, *(more[0] if more else ())]
    if code != 2 or out:
        fail(words, code, out + text, "was to be refused with exit code 2")
    elif not text.startswith("sqlblock: ") or (says and says not in text):
        fail(words, code, text, "does not say «%s»" % says)
    elif state(looked) != before:
        fail(words, code, text, "has changed a file")
        restore()

LONG = "n" * 201
BAD_NAMES = ["", LONG, "a/b", "a\nb", "a\x7fb", b"a\xff", b"a\xc0\x80"]

def join (*parts):
    return b"".join(part if isinstance(part, bytes) else part.encode()
                    for part in parts)

def replaced (arguments, i, value):
    return [*arguments[:i], value, *arguments[i + 1:]]

def bad_values (command, word, value):
    """What cannot stand where the usage says WORD."""
    if word == "TEXT" or (command, word) == ("snapshot release", "TAG"):
        return []
    if "@SNAPSHOT" in word:
        bad = [join("web@", name) for name in BAD_NAMES]
        if not word.startswith("[DISK]"):
            bad += [join(name, "@monday") for name in BAD_NAMES]
        return bad + ["", "@", "web@a@b"] + [join(name) for name in BAD_NAMES]
    if word in ("DISK", "[DISK]", "NAME"):
        return [join(name) for name in BAD_NAMES] + ["@", "web@x@y"] + \
            (["web@monday"] if "DISK" in word else [])
    if word.startswith("SIZE"):
        return ["", "0", "x", "+", "-", "10GB", "10GiB", "1 G", "9E"]
    if word.startswith("[PROPERTY"):
        return ["", "quota", "quota=", "quota=10GB", "quota=0", "dedup=maybe",
                "dedup=", "litestream=x", "compression=x", "compression=", "name=x", "=",
                "Quota=1G", "user", "user=x", "user:", "user:=x", "user:x",
                "user:a\nb=x", b"user:\xff=x", "user:%s=x" % LONG, "User:x=y",
                "description", "hold:x=1", "local:x=y"]
    if word == "TAG":
        return ["", "a\nb", b"\xff", "n" * 196]
    return [""]

def walk_arguments (command):
    right = CALLS[command]
    for i, word in enumerate(usage[command]):
        if word.startswith("--") or i >= len(right):
            continue
        for bad in bad_values(command, word.removesuffix("..."), right[i]):
            refused(command, replaced(right, i, bad))
    refused(command, right, ["--no-such-option"])
    refused(command, right, ["-Z"])
    needed = [word for word in usage[command] if not word.startswith("[")]
    for count in range(len(needed)):
        if not needed[count].startswith("--"):
            refused(command, right[:count])
    if not usage[command] or not usage[command][-1].endswith("..."):
        refused(command, [*right[:len(usage[command])],
                          *["extra"] * (len(usage[command]) + 1 - len(right))])
    # The database itself.
    before = state()
    code, _, text = sqlblock([*command.split(), "", *right], "stream")
    if code != 2 or state() != before:
        fail([command, "", *right], code, text, "an empty DATABASE")

def walk_options (command):
    right = CALLS[command]
    for letter, name, argument in options[command]:
        if name == "help":
            continue
        option = option_of(name, argument)
        rest = [word for word in right if not word.startswith("--%s=" % name)]
        refused(command, rest, [option, option], says="given twice")
        if letter and argument:
            refused(command, rest, [option, "-" + letter,
                                    values_of(name, argument)],
                    says="given twice")
        if not argument:
            refused(command, right, ["--%s=yes" % name])
            continue
        refused(command, [*rest], ["--" + name])
        bad = [] if argument == "TEXT" else [""]
        if argument == "SIZE":
            bad += ["10GB", "10GiB", "x", "0", "-1", "1.5.5G", "1.5", "1.5b"]
        elif argument == "SNAPSHOT":
            bad += ["@", "web@", LONG, "a/b", "a\nb", "a@b@c"]
        elif argument == "HOW":
            bad += ["best", "zstd:0", "zstd:20", "zstd:"]
        elif argument in ("COLUMNS", "LINES", "NUMBER", "SECONDS"):
            bad += ["0", "x", "-1", "1x", "99999999999999999999"]
        elif argument == "FORMAT":
            bad += ["nothing", "RAW", "raw|qcow2"]
        elif argument == "WHEN":
            bad += ["sometimes"]
        elif argument in ("TITLES", "TITLE"):
            bad += ["nothing", "name,", ",size", "na"]
        for value in bad:
            refused(command, rest, ["--%s=%s" % (name, value)],
                    says="a size is" if argument == "SIZE" and value and
                    value != "-1" else None)
    if any(name == "progress" for _, name, _ in options[command]):
        refused(command, right, ["--progress", "--no-progress"])

def walk_letters ():
    meaning = {}
    for command in COMMANDS:
        for letter, name, _ in options[command]:
            # As zfs has them: lists are sorted by -s, and receive keeps by it.
            if (letter, name) in (("s", "sort"), ("s", "resumable")):
                continue
            if letter and meaning.setdefault(letter, name) != name:
                fail([command, "-" + letter], "-", "", "is also --"
                     + meaning[letter])

def walk_texts (command):
    """What is understood, but cannot be: exit code 1, and nothing is made."""
    right = CALLS[command]
    calls = [(replaced(right, i, bad), []) for i, word in
             enumerate(usage[command]) if word == "TEXT"
             for bad in ("a\nb", b"\xff", "n" * 4001)]
    for _, name, argument in options[command]:
        if argument == "TEXT":
            calls += [(right, ["--%s=%s" % (name, bad)])
                      for bad in ("a\nb", "n" * 4001)]
        if name == "block-size":
            calls += [(right, ["--block-size=" + bad])
                      for bad in ("1000", "256", "2M", "3k")]
    if command == "set":
        calls += [(["web", join(key, bad)], []) for key in
                  ("user:a=", "description=")
                  for bad in ("a\nb", b"\xff", "n" * 4001)]
    for arguments, more in calls:
        before = contents()
        code, out, text = call(command, arguments, more)
        if code != 1 or out or contents() != before:
            fail([command, *arguments, *more], code, out + text,
                 "exit code 1 was wanted")

# --- What is right, with and without --quiet ----------------------------------

def done (command, arguments, *more, wanted=0, **named):
    code, out, text = call(command, arguments, *more, **named)
    if code != wanted:
        fail([command, *arguments, *(more[0] if more else ())], code,
             out + text, "exit code %d was wanted" % wanted)
    return out, text

def walk_right (command):
    right = CALLS[command]
    wanted = 3 if command == "top" else 0
    restore()
    out, text = done(command, right, wanted=wanted)
    if command != "top" and command not in REPORTS and \
            not (text or command == "compact"):
        fail([command, *right], 0, "", "does not say what it has done")
    if command in REPORTS and wanted == 0 and not out and command != "map":
        fail([command, *right], 0, "", "does not report")
    for place in ("before", "options"):
        restore()
        _, text = done(command, right, wanted=wanted, **{place: ["--quiet"]})
        if text and wanted == 0:
            fail([command, *right, "--quiet"], 0, text, "is not quiet")
    if any(name == "json" for _, name, _ in options[command]):
        for more in [[], ["--names"] if command == "list" else
                     ["--summary"] if command == "diff" else ["-q"]]:
            restore()
            out, _ = done(command, right, ["--json", *more,
                                           *JSON_WITH.get(command, [])],
                          wanted=wanted)
            if wanted == 0:
                try:
                    json.loads(out)
                except ValueError as error:
                    fail([command, *right, "--json", *more], 0, out, str(error))

def walk_missing (command):
    """A database, a disk, a snapshot that is not there: exit code 3."""
    right = CALLS[command]
    restore()
    if command not in WITHOUT_FILE:
        before = state()
        code, _, text = sqlblock([*command.split(), "none.sqlite", *right],
                                 "stream")
        if code != 3 or state() != before:
            fail([command, "none.sqlite", *right], code, text,
                 "there is no such file")
    for i, word in enumerate(usage[command]):
        if command in ("create", "receive", "import") or i >= len(right):
            continue
        for value in (["none"] if word in ("DISK", "[DISK]") else
                      ["none@monday", "web@none", "web@1999-01-01"]
                      if "@SNAPSHOT" in word and command != "snapshot create"
                      else []):
            out, text = done(command, replaced(right, i, value), wanted=3)
            if text.rstrip().endswith(":"):
                fail([command, value], 3, text, "lists nothing")
    if contents() != sqlblock(["list", "good", "--all", "--json"])[1]:
        fail([command], "-", "", "has changed the database")

# --- Times ------------------------------------------------------------------

def walk_times (command):
    right = CALLS[command]
    for i, word in enumerate(usage[command]):
        if "@SNAPSHOT" not in word or i >= len(right):
            continue
        arguments = replaced(right, i, "web@9999-01-01")
        restore()
        if command in ("snapshot create", "snapshot delete", "rename",
                       "describe", "set", "inherit", "snapshot hold",
                       "snapshot release", "bookmark create"):
            refused(command, arguments, looked=True)
            continue
        out, text = done(command, arguments)
        if "in the future" not in text or "web@tuesday" not in text:
            fail([command, *arguments], 0, text, "does not warn")
        if "tuesday" not in out + text.partition("\n")[2]:
            fail([command, *arguments], 0, out + text,
                 "does not say what was chosen")
        if any(name == "json" for _, name, _ in options[command]):
            restore()
            out, _ = done(command, arguments,
                          ["--json", *JSON_WITH.get(command, [])])
            if "tuesday" not in out or \
                    (command not in ("info", "get", "usage") and
                     "9999-01-01" not in out):
                fail([command, *arguments, "--json"], 0, out,
                     "does not have both")

# --- Files that are the database ------------------------------------------------

def own_names (serve):
    """Names of the database and of its files, also such as are not there. With
    a hard link no server would write it."""
    if not serve:
        os.link(DB, "hard-link")
    os.symlink(DB, "soft-link")
    os.makedirs("sub", exist_ok=True)
    return ([DB + side for side in SIDES] +
            ["soft-link", "sub/../" + DB, os.path.abspath(DB),
             "./" + DB + "-journal", os.path.abspath(DB + "-wal"),
             *([] if serve else ["hard-link"])])

def files_of_database (serve):
    """What must stay as it is. A server may move its log meanwhile, but no file
    of its takes another's place."""
    inodes = {side: os.stat(DB + side).st_ino for side in SIDES
              if os.path.exists(DB + side)}
    return inodes if serve else (inodes[""], state())

def walk_files (command, serve):
    """Nothing is written into the database or beside it."""
    right = CALLS[command]
    restore()
    calls = [(replaced(right, i, None), []) for i, word in
             enumerate(usage[command]) if word.startswith("FILE")]
    for _, name, argument in options[command]:
        if argument == "FILE" and "key-file" not in name:
            calls.append((right, ["--%s=" % name]))
    overwrite = [["--" + name] for _, name, _ in options[command]
                 if name in ("overwrite", "force") and command == "export"]
    names = own_names(serve)
    process = serve and start_server()
    for arguments, extra in calls:
        for name in names:
            for more in [[], *overwrite]:
                before = files_of_database(serve)
                words = [name if word is None else word for word in arguments]
                code, out, text = call(command, words,
                                       [option + name for option in extra]
                                       + more)
                if code == 0 or files_of_database(serve) != before:
                    fail([command, *words, *extra, *more], code, out + text,
                         "writes into its database")
                elif "is the database" not in text:
                    fail([command, *words, *extra, *more], code, text,
                         "refuses it for something else")
    if process:
        stop_server(process)
        done("check", [])
    else:
        os.unlink("hard-link")
    os.unlink("soft-link")

def walk_redirection (command):
    for side in SIDES:
        restore()
        before = contents()
        with open(DB + side, "ab") as file:
            size = size_of(DB + side)
            code, _, text = call(command, CALLS[command], stdout=file)
        if code in (0, 3) or size_of(DB + side) != size:
            fail([command, ">>" + DB + side], code, text,
                 "prints into its database")
        if size_of(DB + side) == 0:
            os.unlink(DB + side)
        if contents() != before:
            fail([command, ">>" + DB + side], code, text,
                 "has changed its database")

# --- What -n promises --------------------------------------------------------

def start_server ():
    """A server that has web open for writing."""
    if os.path.exists("ready"):
        os.unlink("ready")
    process = subprocess.Popen(
        ["nbdkit", "-U", "-", plugin, DB, "--run",
         "nbdsh -u \"nbd+unix:///web?socket=$unixsocket\" "
         "-c 'h.pwrite(b\"x\" * 4096, 0)' -c 'open(\"ready\", \"w\")' "
         "-c 'import sys; sys.stdin.read()'"], stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL)
    for _ in range(300):
        if os.path.exists("ready"):
            return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit("the server does not serve")

def stop_server (process):
    process.stdin.close()
    process.wait()

def walk_dry_run (command):
    """-n says what would be, and ends as the command would."""
    right = CALLS[command]
    targets = [right]
    if right:
        targets += [["web" if "@" not in right[0] else "web@tuesday"],
                    ["none" + right[0].removeprefix("web")],
                    [right[0] + "none"]]
    flags = [[]] + [["--" + name] for _, name, _ in options[command]
                    if name in ("force", "snapshots", "no-reclaim")]
    for busy in (False, True):
        for arguments in targets:
            for more in flags:
                results = []
                for dry in (["--dry-run"], []):
                    restore()
                    process = busy and start_server()
                    before = contents()
                    results.append(call(command, arguments, [*more, *dry]))
                    after = contents()
                    if process:
                        stop_server(process)
                    if dry and before != after:
                        fail([command, *arguments, *more, "-n"], *results[0][:2],
                             "has changed something")
                (code, out, text), (real, _, real_text) = results
                text, real_text = (re.sub("process [0-9]+", "process", words)
                                   for words in (text, real_text))
                if code != real or (code == 0) != bool(out) or \
                        (code != 0 and text != real_text):
                    fail([command, *arguments, *more, "-n"], code, out + text,
                         "without -n it is %d: %s" % (real, real_text))

# --- All of it ---------------------------------------------------------------

walk_letters()
for command in COMMANDS:
    restore()
    walk_arguments(command)
    walk_options(command)
    if command in ON_CLUSTER:
        refused(command, CALLS[command], says="d.sqlite is a file")
        continue
    if command in WITHOUT_DATABASE:
        continue
    walk_texts(command)
    walk_right(command)
    walk_missing(command)
    walk_times(command)
    walk_redirection(command)
    for serve in (False, True):
        if any("FILE" in word for word in usage[command]) or \
                any(argument == "FILE" for *_, argument in options[command]):
            if command != "import":
                walk_files(command, serve)
    if any(name == "dry-run" for _, name, _ in options[command]):
        walk_dry_run(command)
print("%d commands, %d runs, %d failures" % (len(COMMANDS), runs, failures))
sys.exit(failures > 0)
