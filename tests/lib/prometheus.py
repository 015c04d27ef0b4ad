# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""A strict reader of Prometheus's text format 0.0.4, for test-statistics.sh.

    python3 prometheus.py FILE [SERIES VALUE]...

fails unless the file is right in every line and has each series with that
value: a name, or a name and its labels in the order of the file, such as
'sqlblock_clients{server="x",disk="y"}'. VALUE may be "any".
"""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(r"(%s)\{(%s(?:,%s)*)\} ([0-9]+(?:\.[0-9]+)?)"
                    % (NAME, LABEL, LABEL))
UNITS = ("_seconds", "_bytes", "_total", "_info", "_operations", "_clients")


def check_histogram(name, series):
    """Its buckets grow, end with all, and are what _count says."""
    groups = {}
    for full, labels, value in series:
        bound = re.search(r',le="([^"]*)"$', labels)
        key = labels[:bound.start()] if bound else labels
        group = groups.setdefault(key, {"bounds": [], "counts": []})
        if bound:
            assert full == name + "_bucket", full
            group["bounds"].append(float(bound.group(1)))
            group["counts"].append(float(value))
        else:
            group[full[len(name):]] = float(value)
    for key, group in groups.items():
        assert group["bounds"] == sorted(set(group["bounds"])), (name, key)
        assert group["bounds"][-1] == float("inf"), (name, key)
        assert group["counts"] == sorted(group["counts"]), (name, key)
        assert group["counts"][-1] == group["_count"], (name, key)
        assert (group["_sum"] > 0) == (group["_count"] > 0), (name, key)


def check_family(name, kind, series):
    assert series, "no series of " + name
    assert name.startswith("sqlblock_") and name.endswith(UNITS), name
    assert name.endswith("_total") == (kind == "counter"), name
    if kind == "histogram":
        check_histogram(name, series)
    else:
        assert all(full == name for full, _, _ in series), name


def read(path):
    """All series of a file, as {name{labels}: value}; it must be right."""
    text = open(path, encoding="utf-8", errors="strict").read()
    lines = text.split("\n")
    assert lines.pop() == "", "the last line has no end"
    values, families, family = {}, set(), None
    assert lines.pop(0) == "# Statistics of sqlblock"
    for line in lines + ["# HELP end "]:
        if line.startswith("# HELP "):
            if family:
                check_family(*family)
            name = line.split(" ")[2]
            assert name not in families, name + " twice"
            families.add(name)
            family = None
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name and family is None, line
            assert kind in ("counter", "gauge", "histogram"), line
            family = (name, kind, [])
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, "wrong line: " + line
            full, labels, value = sample.groups()
            assert full.startswith(name), line
            series = "%s{%s}" % (full, labels)
            assert series not in values, series + " twice"
            values[series] = float(value)
            family[2].append((full, labels, value))
    return values


def main():
    values = read(sys.argv[1])
    failed = False
    for series, wanted in zip(sys.argv[2::2], sys.argv[3::2]):
        got = values.get(series)
        if got is None or (wanted != "any" and got != float(wanted)):
            print("%s is %s, not %s" % (series, got, wanted))
            failed = True
    sys.exit(failed)


main()
