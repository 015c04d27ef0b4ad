#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""Does Grafana's dashboard fit what a server writes for Prometheus?

    dashboard.py DASHBOARD FILE

fails unless all that it asks for is in FILE, by name and labels, and each
family that is there is asked for.
"""

import json, re, sys

def check(dashboard, path):
    families, names, labels = set(), set(), {}
    for line in open(path, encoding="utf-8"):
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("#"):
            name, rest = line.split("{", 1)
            names.add(name)
            labels.setdefault(name, set()).update(
                re.findall(r'([a-z_]+)="', rest))
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    assert len({p["id"] for p in dashboard["panels"]}) == \
        len(dashboard["panels"]), "two panels have the same id"
    asked = [t["expr"] for p in panels for t in p["targets"]]
    asked += [v["definition"] for v in dashboard["templating"]["list"]
              if v["type"] == "query"]
    variables = {v["name"] for v in dashboard["templating"]["list"]}
    used = set()
    for query in asked:
        assert query.count("(") == query.count(")"), query
        for variable in re.findall(r"\$([a-z]+)", query):
            assert variable in variables, "no variable $%s" % variable
        for name, selector in re.findall(r"(sqlblock_[a-z_]+)(?:\{([^}]*)\})?",
                                         query):
            assert name in names, "no server has " + name
            used |= {f for f in families if name in (
                f, f + "_bucket", f + "_sum", f + "_count")}
            for label in re.findall(r"([a-z_]+)=", selector):
                assert label in labels[name], "%s has no label %s" % (
                    name, label)
    for panel in panels:
        for target in panel["targets"]:
            have = set().union(*(labels[n] for n in re.findall(
                r"sqlblock_[a-z_]+", target["expr"])))
            for label in re.findall(r"{{([a-z]+)}}", target["legendFormat"]):
                assert label in have, (target["expr"], label)
            for group in re.findall(r"by \(([^)]*)\)", target["expr"]):
                assert set(group.split(", ")) <= have, (target["expr"], group)
    assert used == families, "not shown: %s" % sorted(families - used)

with open(sys.argv[1], encoding="utf-8") as file:
    check(json.load(file), sys.argv[2])
