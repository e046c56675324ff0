#!/usr/bin/env python3
"""Plays scenarios with real SDK clients, and Fermata or HAProxy before model servers with finite slots.

    run.py [--seconds N] [--seed N] [--modes LIST] [--json FILE] --out DIR --modules NODE_DIR --fastpath FILE --fermata FILE SCENARIO..

Needs root. scripts/lab-prevent prepares what it needs and calls it. Exit 0, 1 on an error, 2 when a bar is not met, 4 on
wrong usage.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "maker"))

import judge
import make
import plane
import proxy
import scenarios
from edges import UVICORN

CLIENT, SERVER = "fermata-prv-client", "fermata-prv-server"
ENDS = ("fpc1", "fps1")
BRIDGE = "fpbr"
MODES = ("off", "shadow", "enforce", "haproxy")
GRACE_S = 45


class Host:
    """Two namespaces and the veth pairs to them, whose ends at the host wait for a data plane, or for a bridge."""

    def __enter__(self):
        self.down()
        names = "127.0.0.1 localhost\n" + "".join("%s %s\n" % (a, name(n)) for n, a in enumerate(scenarios.REPLICAS))
        for namespace, inner, outer, addresses in ((CLIENT, "fpc0", ENDS[0], scenarios.CLIENTS),
                                                   (SERVER, "fps0", ENDS[1], scenarios.REPLICAS)):
            make.run("ip", "netns", "add", namespace)
            make.run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            make.run("ip", "link", "set", outer, "addrgenmode", "none")
            make.run("ethtool", "-K", outer, *make.OFFLOADS)
            make.run(*make.inside(namespace, "ethtool", "-K", inner, *make.OFFLOADS))
            make.run(*make.inside(namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"))
            make.run("ip", "link", "set", outer, "up")
            for link in ("lo", inner):
                make.run("ip", "-n", namespace, "link", "set", link, "up")
            for address in addresses:
                make.run("ip", "-n", namespace, "address", "add", address + "/24", "dev", inner)
            path = pathlib.Path("/etc/netns") / namespace
            path.mkdir(parents=True, exist_ok=True)
            (path / "hosts").write_text(names)
        return self

    def __exit__(self, *_):
        self.down()

    @staticmethod
    def bridge(on):
        """A plain wire, for the proxy's run."""
        if on:
            make.run("ip", "link", "add", BRIDGE, "type", "bridge")
            for end in ENDS:
                make.run("ip", "link", "set", end, "master", BRIDGE)
            make.run("ip", "link", "set", BRIDGE, "addrgenmode", "none", "up")
        else:
            subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)

    @classmethod
    def down(cls):
        cls.bridge(False)
        for namespace, outer in ((CLIENT, ENDS[0]), (SERVER, ENDS[1])):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
            subprocess.run(["ip", "link", "delete", outer], capture_output=True)
            shutil.rmtree("/etc/netns/" + namespace, ignore_errors=True)


def name(replica):
    return "r%d.inference.test" % replica


def certificates(work):
    """An authority, and one certificate for every replica."""
    openssl = lambda *words: subprocess.run(["openssl", *words], check=True, cwd=work, capture_output=True)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj",
            "/CN=Fermata lab CA", "-addext", "basicConstraints=critical,CA:TRUE", "-addext",
            "keyUsage=critical,keyCertSign,cRLSign")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "lab.key", "-out", "lab.csr",
            "-subj", "/CN=lab")
    (work / "ext").write_text("subjectAltName=DNS:*.inference.test\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "lab.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
            "-extfile", "ext", "-out", "lab.crt")
    (work / "lab.pem").write_text((work / "lab.crt").read_text() + (work / "ca.pem").read_text())
    (work / "lab.both").write_text((work / "lab.pem").read_text() + (work / "lab.key").read_text())


def serve(processes, work, scenario, proxied):
    """Starts the model servers, and before them HAProxy where it is its turn. Waits until they answer."""
    python = str(pathlib.Path(sys.executable).parent)
    addresses = scenarios.REPLICAS[:scenario["replicas"]]
    ports = [9121 + n for n in range(len(addresses))]
    for n, address in enumerate(addresses):
        where = ["--host", "127.0.0.1", "--port", str(ports[n])] if proxied else [
            "--host", address, "--port", "443", "--ssl-certfile", "lab.pem", "--ssl-keyfile", "lab.key"]
        env = dict(os.environ, PREVENT_PLAN=str(work / "plan.json"), PREVENT_REPLICA=str(n),
                   PREVENT_LOG=str(work / ("model.%d.jsonl" % n)), PYTHONPATH=str(HERE), PYTHONDONTWRITEBYTECODE="1")
        processes.start("model%d" % n, make.inside(SERVER, python + "/uvicorn", "model:app", *UVICORN, *where), env)
    if proxied:
        proxy.configure(work, scenario, addresses, ports)
        processes.start("haproxy", make.inside(SERVER, *proxy.command(work)))
    ask = "import socket,sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()"
    for address, port in [(a, 443) for a in addresses] + [("127.0.0.1", p) for p in ports if proxied]:
        for _ in range(100):
            if subprocess.run(make.inside(SERVER, sys.executable, "-c", ask, address, str(port)),
                              capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            raise SystemExit("lab-prevent: nobody at %s:%d; see %s" % (address, port, work))


def play(processes, work, scenario, modules):
    """Starts the clients, says when to begin, waits for their end. -> when they began"""
    bases = ["https://" + name(n) for n in range(scenario["replicas"])]
    (work / "script.json").write_text(json.dumps(dict(calls=scenario["calls"], bases=bases, ca=str(work / "ca.pem"))))
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    script = str(work / "script.json")
    commands = [("calls-" + lib, [sys.executable, str(HERE / "calls.py"), script, str(work / ("seen.%s.jsonl" % lib)), lib])
                for lib in ("openai", "httpx")]
    commands.append(("calls-node", ["node", str(HERE / "calls.mjs"), script, str(work / "seen.node.jsonl"), modules]))
    at_work = [processes.start(n, make.inside(CLIENT, *command), env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for n, command in commands]
    for process in at_work:
        if process.stdout.readline().strip() != b"ready":
            raise SystemExit("lab-prevent: a client did not start; see %s" % work)
    start = time.time() + 0.5
    (work / "plan.json.t0").write_text(str(start))
    for process in at_work:
        process.stdin.write(b"%.3f\n" % start)
        process.stdin.flush()
    for process in at_work:
        if process.wait(scenario["seconds"] + GRACE_S + 60):
            raise SystemExit("lab-prevent: a client failed; see %s" % work)
    return start


def rows(paths):
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def run(host, which, mode, scenario, chosen):
    """One scenario in one mode. -> its figures"""
    work = chosen.out / which / mode
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("*.jsonl*"):
        old.unlink()
    (work / "plan.json.t0").unlink(missing_ok=True)
    certificates(work)
    (work / "plan.json").write_text(json.dumps(scenario))
    account = None
    with make.Processes(work) as processes:
        serve(processes, work, scenario, mode == "haproxy")
        between = None
        if mode == "haproxy":
            host.bridge(True)
        else:
            between = plane.Plane(processes, work, dict(fastpath=chosen.fastpath, fermata=chosen.fermata))
            between.start(mode, scenario["rules"], scenarios.REPLICAS, ENDS)
        start = play(processes, work, scenario, chosen.modules)
        time.sleep(2)                                     # what servers and the data plane have yet to say
        if between:
            account = between.account()
            account["frames"] = between.stop()
        else:
            host.bridge(False)
        for n in range(scenario["replicas"]):
            processes.stop("model%d" % n)
    made, seen = rows(sorted(work.glob("model.*.jsonl"))), rows(sorted(work.glob("seen.*.jsonl")))
    return judge.figures(scenario, made, seen, start) | dict(fermata=account)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="+", choices=sorted(scenarios.SCENARIOS), metavar="SCENARIO")
    parser.add_argument("--seconds", type=int, default=36, help="how long a run sends (36)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modes", default=",".join(MODES), help="off,shadow,enforce,haproxy")
    parser.add_argument("--json", type=pathlib.Path, help="write the figures there")
    for option in ("--out", "--modules", "--fastpath", "--fermata"):
        parser.add_argument(option, required=True)
    chosen = parser.parse_args()
    modes = chosen.modes.split(",")
    if not set(modes) <= set(MODES) or not 20 <= chosen.seconds <= 120:
        parser.error("modes are %s; seconds are 20 to 120" % ", ".join(MODES))
    chosen.out = pathlib.Path(chosen.out).resolve()
    plane.built(dict(fastpath=chosen.fastpath, fermata=chosen.fermata))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.nice(-8)                                           # a busy machine would be a slow server
    result, good = {}, True
    with Host() as host:
        for which in chosen.scenarios:
            scenario = scenarios.build(which, chosen.seconds, chosen.seed)
            result[which] = {}
            for mode in modes:
                result[which][mode] = figures = run(host, which, mode, scenario, chosen)
                said = (figures["fermata"] or {}).get("unexplained", [])
                for text in said:
                    print("lab-prevent: %s, %s: not explained: %s" % (which, mode, text), file=sys.stderr)
                good = good and not said
            print(judge.table(which, result[which]), flush=True)
            for mode, figures in result[which].items():
                if figures["fermata"] and figures["fermata"]["verdicts"]:
                    print("  %s: %s; %d explained" % (mode, figures["fermata"]["verdicts"], figures["fermata"]["explained"]))
            for sentence, holds in judge.bars(which, result[which]):
                print("  %s %s" % ("met    " if holds else "NOT MET", sentence), flush=True)
                good = good and holds
    if chosen.json:
        chosen.json.write_text(json.dumps(dict(seconds=chosen.seconds, seed=chosen.seed, scenarios=result), indent=1) + "\n")
    sys.exit(0 if good else 2)


if __name__ == "__main__":
    main()
