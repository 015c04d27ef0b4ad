#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

# The manual of the command sqlblock says what the command does: the same
# commands, arguments, options, exit codes and keys of JSON, no fewer and no
# more. The command is asked through its --help and its --json. The queries in
# the manual of the plugin are tried, too.

. "${srcdir:-$(dirname "$(realpath "$0")")/..}/lib/functions.sh"
need nbdkit nbdinfo nbdsh python3 sqlite3

PATH=$top_builddir/tool:$PATH
manual=$srcdir/../sqlblock.pod

# --- A file in which every key of JSON has something to say -----------------

cd "$tmp"
sqlblock create -q d.sqlite web --size=2M

# write TEXT OFFSET: into the disk.
write ()
{
  nbdkit -U - "$plugin" d.sqlite \
    --run "nbdsh -u \"\$uri\" -c 'h.pwrite(b\"$1\", $2)'"
}

write root:x:0 1048576
sqlblock snapshot create -q d.sqlite web@monday
sqlblock clone -q d.sqlite web@monday web-test
write different 0

mkdir json
sqlblock list d.sqlite --all --usage --json >json/list
sqlblock snapshot list d.sqlite --usage --json >json/snapshots
sqlblock info d.sqlite --json >json/file
sqlblock df d.sqlite --json >json/df
sqlblock usage d.sqlite --json >json/usage
sqlblock info d.sqlite web-test --json >json/disk
sqlblock info d.sqlite web@monday --json >json/snapshot
sqlblock diff d.sqlite web@monday --json >json/diff
sqlblock map d.sqlite web --since=monday --json >json/map
head -c 32 /dev/urandom >key
sqlblock create k.sqlite secret --size=1M --encrypt --key-file=key
sqlblock key list k.sqlite secret --json >json/key
sqlblock create -q d.sqlite gone --size=1M
sqlblock set -q d.sqlite gone trash=1h
sqlblock delete -q d.sqlite gone
sqlblock trash list d.sqlite --usage --json >json/trash
sqlblock trash empty -q d.sqlite
sqlblock send d.sqlite web@monday --estimate --json >json/estimate
sqlblock send -q d.sqlite web@monday | sqlblock stream info -q --json >json/stream
sqlblock bookmark create -q d.sqlite web@monday sent
sqlblock bookmark list d.sqlite --json >json/bookmarks
sqlblock send -q d.sqlite web@monday | head -c -1 >cut
! sqlblock receive -q -s --json there.sqlite <cut >json/kept 2>err
sqlblock export d.sqlite web@monday copied --json >json/export
sqlblock import copied.sqlite web copied --create --json >json/import
sqlblock compact d.sqlite --json >json/compact
sqlblock get d.sqlite web --json >json/get
mkdir attached
echo '{ "database": "/d.sqlite", "disk": "web" }' >attached/nbd7.json
echo '{ "uri": "nbd://localhost/web" }' >attached/nbd8.json
SQLBLOCK_ATTACHED=attached sqlblock attached --json >json/attached
cp d.sqlite damaged.sqlite
sqlite3 damaged.sqlite "UPDATE block SET data = x'01' WHERE data IS NOT NULL"
"$top_builddir/tests/seal" damaged.sqlite
sqlblock check damaged.sqlite --json >json/check || [ $? = 6 ]
nbdkit -U - "$plugin" d.sqlite \
  --run 'nbdinfo "$uri" >/dev/null; sqlblock top d.sqlite --once --json' \
  >json/top
nbdkit -U - "$plugin" d.sqlite \
  --run 'nbdinfo "$uri" >/dev/null; sqlblock status d.sqlite --json' \
  >json/status

# --- Comparison -------------------------------------------------------------

cat >compare.py <<'EOF'
import json, re, subprocess, sys

failures = 0

def same (what, of_command, of_manual):
    global failures
    if of_command == of_manual:
        return
    failures += 1
    print("%s:\n  the command has  %s\n  the manual has   %s"
          % (what, of_command, of_manual))

def ask (*words):
    return subprocess.run(["sqlblock", *words], check=True, text=True,
                          stdout=subprocess.PIPE).stdout

def section (text, title, level):
    """What stands under a title, up to the next of its level or above."""
    match = re.search(r"^=head%d %s\n(.*?)(?=^=head[1-%d] |\Z)"
                      % (level, re.escape(title), level), text, re.M | re.S)
    if match is None:
        sys.exit("the manual has no section «%s»" % title)
    return match.group(1)

def verbatim (text):
    """The first block of indented lines."""
    return re.search(r"^ .*\n(?:^ .*\n)*", text, re.M).group(0)

def items (text):
    """The options that have an item, as --help writes them."""
    found = re.findall(r"^=item (.*)$", text, re.M)
    found = [re.sub(r"[BI]<([^>]*)>", r"\1", item) for item in found]
    return {part for item in found for part in
            (item.split(", ") if "--no-" in item else [item])
            if part.startswith("-")}

def option_name (option):
    return re.search(r"--[a-z-]+", option).group(0)

manual = open(sys.argv[1]).read()
help_text = ask("--help")
commands = re.findall(r"^  ([a-z-]+(?: [a-z]+)?)  ", help_text, re.M)
commands_text = section(manual, "COMMANDS", 1)
several = items(section(manual, "OPTIONS OF SEVERAL COMMANDS", 1))
synopsis = re.findall(r"^ sqlblock (.*)$",
                      section(manual, "SYNOPSIS", 1), re.M)
synopsis.remove("help [COMMAND]")
synopsis.remove("--version")
described = re.findall(r"^=head2 (.*)$", commands_text, re.M)
used = set()

same("commands", sorted(commands), sorted(described))
same("lines of the synopsis", len(commands), len(synopsis))

for command in commands:
    help_text_of = ask("help", *command.split())
    usage = re.match(r"Usage: sqlblock (.*) \[OPTION\]", help_text_of).group(1)
    options = {match.group(1) for match in re.finditer(
        r"^  (?:  )?(?:  )?(-.*?)(?:  .*)?$",
        help_text_of.split("\nOptions:\n")[1], re.M)}
    text = section(commands_text, command, 2)
    block = " ".join(verbatim(text).split())
    own = items(text)

    if usage not in synopsis:
        same("synopsis of " + command, usage, None)
    if not block.startswith("sqlblock " + usage):
        same("usage of " + command, usage, block)
    # In the usage all but those of every command, with their arguments.
    optional = {re.sub(r"^-., ", "", option) for option in options}
    optional -= {"--one-machine", "--control=SOCKET", "--quiet", "--help"}
    same("options in the usage of " + command, sorted(optional),
         sorted(set(re.findall(r"--[a-z-]+(?:=[A-Z]+)?", block))))
    for option in options - own - several:
        same("option of " + command, option, None)
    same("options of %s that are described" % command, [],
         sorted(own - options))
    used |= options & several
same("options of several commands", sorted(used), sorted(several))

def plain (text):
    return " ".join(text.split()).rstrip(".").lower()

same("exit codes",
     [(code, plain(text)) for code, text in
      re.findall(r"^  (\d)  (.*\n(?:^     .*\n)*)",
                 help_text.split("Exit codes:\n")[1], re.M)],
     [(code, plain(text)) for code, text in
      re.findall(r"^=item B<(\d+)>\n\n(.*?)\n\n",
                 section(manual, "EXIT STATUS", 1), re.M | re.S)])

# Keys: the words at the beginning of a line in a section of JSON.
json_text = section(manual, "JSON", 1)

def documented (title):
    keys = set()
    for line in re.findall(r"^ .*$", section(json_text, title, 2), re.M):
        words = re.match(r" {1,3}((?:[a-z_0-9]+, )*[a-z_0-9]+)(?:  |$)", line)
        if words:
            keys |= set(words.group(1).split(", "))
    return sorted(keys)

def printed (name):
    return json.load(open("json/" + name))

listing, snapshots = printed("list"), printed("snapshots")
difference = printed("diff")
disk = documented("A disk")
snapshot = documented("A snapshot")
same("keys of lists", sorted({*listing, *snapshots}), documented("Lists"))
for object in [printed("disk"), *listing["disks"]]:
    same("keys of a disk", sorted(object), disk)
for object in [printed("snapshot"), *listing["snapshots"],
               *snapshots["snapshots"]]:
    same("keys of a snapshot", sorted(object), snapshot)
same("keys of the file", sorted(printed("file")), documented("The file"))
same("keys of the trash", sorted(printed("trash")["trash"][0]),
     documented("The trash"))
same("keys of what takes the space", sorted(printed("df")),
     documented("The parts of the file"))
usage = printed("usage")
same("keys of usage", sorted({*usage, *usage["usage"][0]}),
     documented("Usage"))
same("keys of who has what open", sorted(printed("status")["status"][0]),
     documented("Who has what open"))
same("keys of a difference", sorted({*difference, *difference["ranges"][0]}),
     documented("A difference"))
for name, title in (("estimate", "An estimate"), ("stream", "A stream")):
    found = printed(name)
    same("keys of " + title, sorted({*found, *found["streams"][0]}),
         documented(title))
same("keys of a bookmark", sorted(printed("bookmarks")["bookmarks"][0]),
     documented("A bookmark"))
found = printed("key")
same("keys of a key", sorted({*found, *found["slots"][0]}),
     documented("A key"))
same("keys of a reception", sorted(printed("kept")["kept"]),
     documented("A reception"))
same("keys of a map", sorted(printed("map")), documented("A map"))
checked = printed("check")
same("keys of a check", sorted({*checked, *checked["problems"][0]}),
     documented("A check"))
properties = printed("get")
same("keys of properties", sorted({*properties, *properties["properties"][0]}),
     documented("Properties"))
same("keys of a copy", sorted({*printed("export"), *printed("import")}),
     documented("A copy"))
same("keys of what was freed", sorted(printed("compact")),
     documented("What was freed"))
attached = printed("attached")
same("keys of attached devices",
     sorted({*attached, *(key for device in attached["attached"]
                          for key in device)}),
     documented("Attached devices"))
report = printed("top")
server = report["servers"][0]
disk = server["disks"][0]
same("keys of a report", sorted(report), documented("A report"))
same("keys of a server", sorted(server), documented("A server"))
same("keys of a disk of a server", sorted(disk),
     documented("A disk of a server"))
same("keys of a distribution", sorted(disk["read"]),
     documented("A distribution"))
same("keys of a server's distribution",
     sorted({*server["commits"], "bytes", "errors"}),
     documented("A distribution"))

# Whatever else prints JSON is looked at above.
same("commands with --json",
     ["attached", "bookmark list", "check", "compact", "df", "diff", "export",
      "get", "import", "info", "key list", "list", "map", "mount", "receive",
      "send", "snapshot list", "status", "stream info", "top", "trash list",
      "usage"],
     sorted(command for command in commands
            if "--json" in ask("help", *command.split())))

sys.exit(failures > 0)
EOF
python3 compare.py "$manual" || fail "sqlblock.pod and sqlblock differ"

# --- The format -------------------------------------------------------------

wanted=$(nbdkit "$plugin" --dump-plugin | grep '^sqlblock_format=')
grep -qF "B<$wanted>" "$srcdir/../nbdkit-sqlblock-plugin.pod" ||
  fail "the manual does not say $wanted"

# --- Queries ----------------------------------------------------------------

# The blocks of indented lines that end with ";". All find something but the
# one that wants the history of a server.
cat >queries.py <<'EOF'
import re, subprocess, sys

text = open(sys.argv[1]).read()
text = text[text.index("=head1 READING IT WITH SQL"):
            text.index("=head1 FILTERS")]
queries = [block for block in re.findall(r"(?:^ .*\n)+", text, re.M)
           if block.endswith(";\n")]
empty = 0
for query in queries:
    result = subprocess.run(["sqlite3", "-readonly", "-bail", "d.sqlite"],
                            input=query, text=True, check=True,
                            stdout=subprocess.PIPE)
    empty += result.stdout == ""
print(len(queries), "queries, of which", empty, "find nothing")
sys.exit(len(queries) < 10 or empty > 1)
EOF
python3 queries.py "$srcdir/../nbdkit-sqlblock-plugin.pod" ||
  fail "a query of the manual fails"
