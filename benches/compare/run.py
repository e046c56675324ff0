"""Runs what is asked for and writes rows; `scripts/bench` prepares what it needs."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile

import forwarding
import inline
import page
import peers
import programs
import reading
import rows
import vswitch

GROUPS = {
    "forward": forwarding.forward,
    "vhost": forwarding.vhost,
    "swap": forwarding.swap,
    "loop": forwarding.loop,
    "peers": peers.peers,
    "vswitch": vswitch.vswitch,
    "read": reading.read,
    "latency": inline.latency,
    "inline": inline.inline,
}


class Bench:
    """What all groups need, and the rows so far."""

    def __init__(self, options):
        self.quick, self.peers = options.quick, options.peers
        self.rounds, self.seconds = (2, 0.4) if options.quick else (3, 0.8)
        self.binaries = options.binaries
        self.fastpath, self.fermata = (self.program(name) for name in ("fermata-fastpath", "fermata"))
        self.ghz, self.core, self.machine = rows.tsc_ghz(), programs.MEASURED_CORE, rows.machine()
        self.work = tempfile.mkdtemp(prefix="fermata-bench.")
        self.rows = []
        self.capture = options.capture or f"{self.work}/connections_50.pcap"

    def program(self, name):
        return f"{self.binaries}/{name}"

    def make_captures(self):
        """Those that are played; small ones, made anew each time."""
        for kind, count in (("acks", 2_000), ("acks", 10_000), ("acks", 100_000),
                            ("connections", 1), ("connections", 50)):
            subprocess.run([self.program("bench-captures"), kind, str(count),
                            f"{self.work}/{kind}_{count}.pcap"], check=True)

    def add(self, made):
        made["machine"] = self.machine
        self.rows.append(made)
        print(page.line(made), flush=True)

    def absent(self, name, why):
        """Something that is not measured here, by name and with the reason."""
        if not any(made["name"] == name for made in self.rows):
            self.add(rows.row(name, left_out=why))

    def keep(self, path):
        """Rows of an earlier run whose group is not in this one: a group is measured in one run."""
        if os.path.exists(path):
            measured = {group_of(made) for made in self.rows}
            with open(path) as file:
                kept = [made for made in json.load(file) if group_of(made) not in measured]
            order = list(GROUPS)
            self.rows = sorted(self.rows + kept, key=lambda made: order.index(group_of(made)))


def group_of(made):
    """The group that a row belongs to."""
    return made["name"].split("/")[0]


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers")
    parser.add_argument("--capture")
    parser.add_argument("--page")
    parser.add_argument("--binaries", required=True)
    options = parser.parse_args()
    unknown = set(options.names) - set(GROUPS)
    if unknown:
        parser.exit(4, f"bench: unknown: {', '.join(sorted(unknown))}; one of {', '.join(GROUPS)}\n")
    bench, failed = Bench(options), 0
    print(bench.machine)
    try:
        bench.make_captures()
        for name, measure in GROUPS.items():
            if options.names and name not in options.names:
                continue
            try:
                measure(bench)
            except (programs.Failed, subprocess.CalledProcessError, OSError) as error:
                failed += 1
                print(f"bench: {name}: {error}", file=sys.stderr)
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)
    if options.json:
        if options.names:
            bench.keep(options.json)
        with open(options.json, "w") as file:
            json.dump(bench.rows, file, indent=1)
            file.write("\n")
    if options.page:
        page.write(options.page, bench.rows)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
