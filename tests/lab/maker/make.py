#!/usr/bin/env python3
"""Makes captures with truth, of kinds that are named in kinds.py.

    make.py [--seed N] [--rtt MS] [--tasks N] --out DIR --modules NODE_DIR KIND...

Writes DIR/KIND/capture.pcap, truth.jsonl and README.md. Needs root. scripts/lab-capture prepares what it needs and
calls it. Exit 0, 1 on an error, 4 on wrong usage.
"""
import argparse
import collections
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import edges
import kinds
import truth

HERE = pathlib.Path(__file__).parent
CLIENT, SERVER = "fermata-cap-client", "fermata-cap-server"
CLIENTS = ["198.51.100.%d" % n for n in (11, 12, 13, 14)]
OFFLOADS = "rx off tx off sg off tso off gso off gro off txvlan off rxvlan off".split()


def run(*words, **more):
    return subprocess.run(words, check=True, capture_output=True, text=True, **more).stdout


def inside(namespace, *words):
    return ["ip", "netns", "exec", namespace, *words]


class Host:
    """Two namespaces and the veth pairs to them; the delay line joins the host's ends."""

    def __enter__(self):
        self.down()
        servers = sorted({e[0] for e in edges.ENDPOINTS.values()})
        names = "127.0.0.1 localhost\n" + "".join("%s %s\n" % (a, n) for a,
                                                  n in sorted({(e[0], e[2]) for e in edges.ENDPOINTS.values()}))
        for namespace, inner, outer, addresses in ((CLIENT, "fcc0", "fcc1", CLIENTS), (SERVER, "fcs0", "fcs1", servers)):
            run("ip", "netns", "add", namespace)
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            run("ip", "link", "set", outer, "addrgenmode", "none")
            run("ethtool", "-K", outer, *OFFLOADS)
            run(*inside(namespace, "ethtool", "-K", inner, *OFFLOADS))
            run(*inside(namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            run("ip", "link", "set", outer, "up")
            for link in ("lo", inner):
                run("ip", "-n", namespace, "link", "set", link, "up")
            for address in addresses:
                run("ip", "-n", namespace, "address", "add", address + "/24", "dev", inner)
            path = pathlib.Path("/etc/netns") / namespace
            path.mkdir(parents=True, exist_ok=True)
            (path / "hosts").write_text(names)
        return self

    def __exit__(self, *_):
        self.down()

    @staticmethod
    def down():
        for namespace, outer in ((CLIENT, "fcc1"), (SERVER, "fcs1")):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
            subprocess.run(["ip", "link", "delete", outer], capture_output=True)
            shutil.rmtree("/etc/netns/" + namespace, ignore_errors=True)


class Processes:
    """What runs for one capture; all of it ends with the block."""

    def __init__(self, work):
        self.work, self.all = work, []

    def start(self, name, command, env=None, **more):
        log = open(self.work / (name + ".log"), "wb")
        more.setdefault("stdout", log)
        process = subprocess.Popen(command, env=env, stderr=log, cwd=self.work, **more)
        self.all.append((name, process))
        return process

    def stop(self, name):
        """Ends a process politely, and waits for it."""
        for n, process in self.all:
            if n == name and process.poll() is None:
                process.send_signal(signal.SIGINT if name == "tcpdump" else signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name, _ in reversed(self.all):
            self.stop(name)


def await_servers(processes):
    """Until every server takes connections, seen from its own side: nothing of this is in the capture."""
    ask = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"
    wanted = [(e[0], e[1]) for e in edges.ENDPOINTS.values()] + [("127.0.0.1",
                                                                  port) for e in edges.ENDPOINTS.values() for port in e[4]]
    for address, port in wanted:
        for _ in range(150):
            if subprocess.run(inside(SERVER, sys.executable, "-c", ask, address, str(port)),
                              capture_output=True).returncode == 0:
                break
            dead = [n for n, p in processes.all if p.poll() is not None]
            if dead:
                raise SystemExit("make.py: %s ended; see %s" % (", ".join(dead), processes.work))
            time.sleep(0.2)
        else:
            raise SystemExit("make.py: nobody at %s:%d; see %s" % (address, port, processes.work))


def play(processes, work, tasks, modules, begin):
    """Starts the clients, says when to begin, waits for their end."""
    libraries = {t["lib"] for t in tasks}
    node, slow = {x for x in libraries if x.startswith("node")}, libraries & {"litellm"}
    drivers = []
    for name, libs in (("py", libraries - node - slow), ("litellm", slow)):      # litellm blocks its process for seconds
        if libs:
            drivers.append(("drive-" + name,
                            [sys.executable, str(HERE / "drive.py"), str(work / "script.json"),
                             str(work / ("seen.%s.jsonl" % name)), *sorted(libs)]))
    if node:
        drivers.append(("drive-node",
                        ["node", str(HERE / "drive.mjs"), str(work / "script.json"), str(work / "seen.node.jsonl"),
                         modules]))
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    at_work = [processes.start(name, inside(CLIENT, *command), env, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE) for name, command in drivers]
    for process in at_work:
        if process.stdout.readline().strip() != b"ready":
            raise SystemExit("make.py: a driver did not start; see %s" % work)
    start = time.time() + 0.7
    begin(start)
    for process in at_work:
        process.stdin.write(b"%.3f\n" % start)
        process.stdin.flush()
    for process in at_work:
        if process.wait(180):
            raise SystemExit("make.py: a driver failed; see %s" % work)


def make(kind, seed, rtt, few, out, modules):
    """Makes one capture."""
    plan, tasks, wire = kinds.build(kind, seed)
    if few:                                               # spread over the whole kind, in half the time
        tasks = [dict(t, at=t["at"] / 2) for t in tasks[::max(1, -(-len(tasks) // few))]]
    wire["rtt"] = rtt or wire["rtt"]
    work = pathlib.Path(tempfile.mkdtemp(prefix="lab-capture-%s-" % kind))
    (work / "plan.json").write_text(json.dumps(plan))
    bases = {ep: "%s://%s" % ("https" if port == 443 else "http",
                              name if port == 443 else "%s:%d" % (name, port)) for ep,
                              (_, port, name, _, _) in edges.ENDPOINTS.items()}
    (work / "script.json").write_text(json.dumps(dict(tasks=tasks, clients=CLIENTS, ca=str(work / "ca.pem"),
                                                      bases=bases)))
    edges.certificates(work)
    edges.configure(work, wire["tls"])
    folder = out / (kind if seed == 1 else "%s_%d" % (kind, seed))
    folder.mkdir(parents=True, exist_ok=True)
    capture = folder / "capture.pcap"
    with Processes(work) as processes:
        for name, command, env in edges.commands(work, wire["tls"]):
            processes.start(name, inside(SERVER, *command), env)
        await_servers(processes)
        processes.start("delay", [sys.executable, str(HERE / "delay.py"), "fcc1", "fcs1", str(wire["rtt"] / 2)])
        processes.start("tcpdump",
                        inside(CLIENT, "tcpdump", "-Z", "root", "-i", "fcc0", "-s", "0", "-B", "16384", "-U", "-w",
                               str(capture), "tcp"))
        play(processes, work, tasks, modules, lambda start: (work / "plan.json.t0").write_text(str(start)))
        time.sleep(1.5)                                   # what the servers have yet to notice
        processes.stop("tcpdump")
        processes.stop("delay")
    rows = truth.join(sorted(work.glob("model.*.jsonl")), sorted(work.glob("seen.*.jsonl")), tasks)
    with open(folder / "truth.jsonl", "w") as file:
        for row in rows:
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
    line = (work / "delay.log").read_text().strip()
    describe(folder, kind, seed, wire, rows, line)
    classes = dict(collections.Counter(r["cls"] for r in rows))
    print("%-14s %5.2f MB %4d requests  %s  delay line: %s"
          % (folder.name, capture.stat().st_size / 1e6, len(rows), classes, line), flush=True)
    shutil.rmtree(work)                                   # left where something failed: the logs say what


def describe(folder, kind, seed, wire, rows, line):
    """The capture's own page."""
    count = lambda key: ", ".join("%s %d" % x for x in collections.Counter(r[key] for r in rows).most_common())
    lines = ["# " + folder.name, "", kinds.KINDS[kind].__doc__.strip(), "",
             "RTT %d ms, TLS %s, seed %d. Libraries: %s." % (wire["rtt"], wire["tls"].get("max", "1.3"), seed,
                                                             count("lib")), "Endpoints: %s." % count("ep"),
             "HTTP versions: %s. Classes: %s." % (count("http"), count("cls")),
             "Delay line: %s." % line,
             "Retries %d, hedges %d, requests of a later run %d." % (sum(r["is_retry"] for r in rows),
                                                                     sum(r["is_hedge"] for r in rows),
                                                                     sum(r["is_restart"] for r in rows)), ""]
    (folder / "README.md").write_text("\n".join(lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="+", choices=sorted(kinds.KINDS), metavar="KIND", help=", ".join(kinds.KINDS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rtt", type=float, default=0, help="round-trip time in ms (default: the kind's)")
    parser.add_argument("--tasks", type=int, default=0, help="play about so many tasks of the kind only")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--modules", required=True, help="folder of the node packages")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.nice(-12)                                          # times are what is recorded; the work itself is little
    with Host():
        for kind in chosen.kinds:
            make(kind, chosen.seed, chosen.rtt, chosen.tasks, chosen.out.resolve(), chosen.modules)


if __name__ == "__main__":
    main()
