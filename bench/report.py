# SPDX-License-Identifier: BSD-3-Clause
# Copyright the sqlblock authors; see LICENSE.

"""What came out: the table, the targets, JSON and the chart."""

import statistics
from xml.sax.saxutils import escape

import targets


def show(value, unit):
    """A value for people."""
    if unit == "s":
        return "%.1f ms" % (value * 1e3) if value < 1 else "%.2f s" % value
    return "%s %s" % ("{:,.0f}".format(value), unit)


class Spread:
    """The median of some numbers, and the least and the most."""

    def __init__(self, numbers):
        self.median = statistics.median(numbers)
        self.least = min(numbers)
        self.most = max(numbers)

    def __str__(self):
        return "%.2f (%.2f-%.2f)" % (self.median, self.least, self.most)

    def to_json(self):
        return {"median": self.median, "least": self.least,
                "most": self.most}


def format_table(rows):
    """Lines of columns, the first one to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) if i else cell.ljust(width)
                  for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows)


class Report:
    def __init__(self, results, servers, peers):
        self.results = results
        self.servers = servers
        self.peers = peers
        self.by_key = {(r["size"], r["job"], r["server"], r["round"]): r
                       for r in results}
        self.sizes = list(dict.fromkeys(r["size"] for r in results))
        self.jobs = list(dict.fromkeys(r["job"] for r in results))
        self.units = {r["job"]: r["unit"] for r in results}
        self.rounds = list(dict.fromkeys(r["round"] for r in results))

    # --- Numbers ---

    def values(self, size, job, server, key="value"):
        """The results of all rounds, where there are any."""
        found = (self.by_key.get((size, job, server, i)) for i in self.rounds)
        return [r[key] for r in found if r and r.get(key) is not None]

    def ratio(self, size, job, server, peer, peer_job=None):
        """How many times as fast as the peer, within each round; or None."""
        ratios = []
        for i in self.rounds:
            one = self.by_key.get((size, job, server, i))
            other = self.by_key.get((size, peer_job or job, peer, i))
            if one and other and one["value"] and other["value"]:
                ratio = one["value"] / other["value"]
                ratios.append(1 / ratio if one["unit"] == "s" else ratio)
        return Spread(ratios) if ratios else None

    # --- What it cost ---

    def cost(self, size, job, server):
        """CPU, memory and space, each a median, or None."""
        costs = {"cpu": [], "memory": [], "medium": [], "stored": []}
        for i in self.rounds:
            r = self.by_key.get((size, job, server, i))
            if r is None:
                continue
            written = r.get("written_bytes", 0)
            moved = written + r.get("read_bytes", 0)
            costs["memory"].append(r["memory_bytes"] / (1 << 20))
            if moved:
                costs["cpu"].append(r["cpu_seconds"] / moved * (1 << 30))
            if written and r["file_bytes"]:
                costs["medium"].append(r["medium_bytes"] / written)
                if job.startswith("fill"):
                    costs["stored"].append(r["file_bytes"] / written)
        return {key: statistics.median(numbers) if numbers else None
                for key, numbers in costs.items()}

    # --- Targets ---

    def judged(self):
        """All targets for which there are results: dictionaries."""
        for size in self.sizes:
            yield from self.judged_ratios(size)
            yield from self.judged_limits(size)

    def judged_ratios(self, size):
        wanted = [(job, peer, None, floor, aim)
                  for job, peer, floor, aim in targets.RATIOS]
        wanted += [(job, "sqlblock", peer_job, floor, None)
                   for job, peer_job, floor in targets.JOBS]
        for job, peer, peer_job, floor, aim in wanted:
            ratio = self.ratio(size, job, "sqlblock", peer, peer_job)
            if ratio:
                yield {"size": size, "job": job, "peer": peer_job or peer,
                       "reached": ratio.median, "floor": floor, "aim": aim,
                       "met": ratio.median >= floor,
                       "text": "%.2f x %s, at least %.2f" % (
                           ratio.median, peer_job or peer, floor)}

    def judged_limits(self, size):
        for job, key, peer, most in targets.LIMITS:
            values = self.values(size, job, "sqlblock", key)
            peers = self.values(size, job, peer, key) if peer else [0]
            if not values or not peers:
                continue
            reached = statistics.median(values) - statistics.median(peers)
            if key == "memory_bytes":
                text = "%.1f MiB of memory above %s, at most %d" % (
                    reached / (1 << 20), peer, most >> 20)
            else:
                text = "%s, at most %s" % (show(reached, "s"),
                                           show(most, "s"))
            yield {"size": size, "job": job, "peer": peer, "reached": reached,
                   "most": most, "met": reached <= most, "text": text}

    def missed(self):
        return [target for target in self.judged() if not target["met"]]

    # --- The table ---

    def table(self):
        parts = []
        for size in self.sizes:
            title = "Disks of %d MiB, median of %d rounds" % (
                size >> 20, len(self.rounds))
            parts += [title, format_table(self.value_rows(size))]
            for peer in self.peers:
                parts += ["How many times as fast as %s: median "
                          "(least-most)" % peer,
                          format_table(self.ratio_rows(size, peer))]
            if any("operations" in r for r in self.results):
                parts += ["Requests to the cluster for each request of a "
                          "client: median (least-most)",
                          format_table(self.operation_rows(size))]
            parts += ["Cost: CPU seconds of the server per GiB / MiB of "
                      "memory / bytes to the medium per byte written / bytes "
                      "of file per byte stored",
                      format_table(self.cost_rows(size))]
        missed = self.missed()
        if missed:
            parts.append("Targets that were missed:\n" + "\n".join(
                "  %s (%d MiB): %s" % (t["job"], t["size"] >> 20, t["text"])
                for t in missed))
        elif list(self.judged()):
            parts.append("All targets were met that were looked at.")
        return "\n\n".join(parts)

    def value_rows(self, size):
        rows = [["job", *self.servers]]
        for job in self.jobs:
            row = [job]
            for server in self.servers:
                values = self.values(size, job, server)
                row.append(show(statistics.median(values), self.units[job])
                           if values else "-")
            rows.append(row)
        return rows

    def ratio_rows(self, size, peer):
        others = [server for server in self.servers if server != peer]
        rows = [["job", *others]]
        for job in self.jobs:
            rows.append([job, *(str(self.ratio(size, job, server, peer)
                                    or "-") for server in others)])
        return rows

    def operations(self, size, job, server):
        """Of a cluster, for each request of a client; or None."""
        found = (self.by_key.get((size, job, server, i)) for i in self.rounds)
        numbers = [r["operations"] / r["requests"] for r in found
                   if r and r.get("requests") and "operations" in r]
        return Spread(numbers) if numbers else None

    def operation_rows(self, size):
        return [["job", *self.servers]] + [
            [job, *(str(self.operations(size, job, server) or "-")
                    for server in self.servers)] for job in self.jobs]

    def cost_rows(self, size):
        formats = (("cpu", "%.2f"), ("memory", "%.0f"), ("medium", "%.2f"),
                   ("stored", "%.2f"))
        rows = [["job", *self.servers]]
        for job in self.jobs:
            row = [job]
            for server in self.servers:
                cost = self.cost(size, job, server)
                row.append(" / ".join(
                    "-" if cost[key] is None else text % cost[key]
                    for key, text in formats))
            rows.append(row)
        return rows

    # --- JSON ---

    def to_json(self, machine, options):
        summary = []
        for size in self.sizes:
            for job in self.jobs:
                for server in self.servers:
                    values = self.values(size, job, server)
                    if values:
                        summary.append(self.summarize(size, job, server,
                                                      values))
        return {"machine": machine, "options": options, "summary": summary,
                "targets": list(self.judged()), "results": self.results}

    def summarize(self, size, job, server, values):
        ratios = {peer: self.ratio(size, job, server, peer)
                  for peer in self.peers}
        return {"size": size, "job": job, "server": server,
                "unit": self.units[job], "value": Spread(values).to_json(),
                "ratios": {peer: ratio.to_json()
                           for peer, ratio in ratios.items() if ratio},
                "cost": self.cost(size, job, server)}

    # --- The chart ---

    def chart(self):
        """Bars of the ratios to the first peer, with their spread."""
        peer = self.peers[0] if self.peers else self.servers[0]
        return Chart(self, self.sizes[0], peer).draw()


class Chart:
    COLOURS = ("#1b6ca8", "#b5541c", "#8a8a8a", "#5b8c5a", "#7d5a9b",
               "#c2a83e")
    LEFT, WIDTH, BAR, GAP, TOP = 190, 560, 12, 8, 48

    def __init__(self, report, size, peer):
        self.report = report
        self.size = size
        self.peer = peer
        self.servers = [s for s in report.servers if s not in (peer, "null")]
        self.most = 1.5  # longer bars are cut

    def x(self, ratio):
        return self.LEFT + min(ratio, self.most) / self.most * self.WIDTH

    def text(self, x, y, text, anchor="start"):
        return '<text x="%g" y="%g" text-anchor="%s">%s</text>' % (
            x, y, anchor, escape(text))

    def legend(self):
        at = self.LEFT
        for i, server in enumerate(self.servers):
            yield '<rect x="%g" y="24" width="10" height="10" fill="%s"/>' % (
                at, self.colour(i))
            yield self.text(at + 14, 33, server)
            at += 30 + 7 * len(server)

    def colour(self, i):
        return self.COLOURS[i % len(self.COLOURS)]

    def bar(self, y, i, ratio):
        """A bar to the median, and a line from the least to the most."""
        middle = y + self.BAR / 2
        yield '<rect x="%g" y="%g" width="%.1f" height="%g" fill="%s"/>' % (
            self.LEFT, y, self.x(ratio.median) - self.LEFT, self.BAR - 1,
            self.colour(i))
        yield '<path d="M%.1f %gH%.1f" stroke="#000"/>' % (
            self.x(ratio.least), middle, self.x(ratio.most))
        yield self.text(self.LEFT + self.WIDTH + 6, y + self.BAR - 1,
                        "%.2f" % ratio.median)

    def rows(self):
        y = self.TOP
        for job in self.report.jobs:
            ratios = [(i, self.report.ratio(self.size, job, s, self.peer))
                      for i, s in enumerate(self.servers)]
            ratios = [(i, ratio) for i, ratio in ratios if ratio]
            if not ratios:
                continue
            yield self.text(self.LEFT - 8,
                            y + len(ratios) * self.BAR / 2 + 4, job, "end")
            for i, ratio in ratios:
                yield from self.bar(y, i, ratio)
                y += self.BAR
            y += self.GAP
        self.bottom = y

    def draw(self):
        parts = [*self.rows()]
        one = '<path d="M%.1f %dV%d" stroke="#c00" stroke-dasharray="4 3"/>'
        title = "Speed as a multiple of %s; disks of %d MiB" % (
            self.peer, self.size >> 20)
        return "\n".join([
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'font-family="sans-serif" font-size="11">' % (
                self.LEFT + self.WIDTH + 50, self.bottom + 6),
            "<!-- SPDX-License-Identifier: BSD-3-Clause -->",
            '<rect width="100%" height="100%" fill="#fff"/>',
            self.text(self.LEFT, 14, title), *self.legend(), *parts,
            one % (self.x(1), self.TOP - 6, self.bottom - 4),
            "</svg>", ""])
