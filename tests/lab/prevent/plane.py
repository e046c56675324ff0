"""The data plane of a run: starts it with a policy, asks what it did, and insists that every verdict is explained."""
import concurrent.futures
import json
import os
import socket
import subprocess
import time

VERDICTS = ("hold", "pace", "police", "mark", "reset", "reroute")
# Of what was only said, so many are explained at least: each takes a process, and a storm has thousands.
SHADOW_EXPLAINED = 50
EXPLAINED = {"Verdict", "Law", "Enforced"}


class Plane:
    """fermata-fastpath between two interfaces."""

    def __init__(self, processes, work, programs):
        self.processes, self.work, self.programs = processes, work, programs
        self.socket = work / "plane.sock"

    def start(self, mode, rules, addresses, interfaces):
        """Starts it with the policy of `mode`: the servers are an endpoint, nobody is held out."""
        endpoint = {"name": "inference", "class": "llm", "hosts": ["*.inference.test"], "ports": [443],
                    "prefixes": [a + "/32" for a in addresses]}
        (self.work / "plane.yaml").write_text(json.dumps({"rules": mode, "endpoints": [endpoint]}))
        for path in (self.socket, self.work / "stats.json"):
            path.unlink(missing_ok=True)
        vdevs = [w for n, i in enumerate(interfaces) for w in ("--vdev", "net_af_packet%d,iface=%s" % (n, i))]
        command = [self.programs["fastpath"], "--config", str(self.work / "plane.yaml"), *vdevs, "--no-huge", "--idle",
                   "--socket", str(self.socket), "--stats-out", str(self.work / "stats.json")]
        process = self.processes.start("plane", command)
        while not self.socket.exists():
            if process.poll() is not None:
                raise SystemExit("lab-prevent: fermata-fastpath ended with %d; see %s/plane.log" % (process.poll(), self.work))
            time.sleep(0.1)
        policy = self.ask({"request": "policy"})["policy"]
        policy["rules"]["selfDisarm"]["holdoutPercent"] = 0.0
        policy["rules"]["fanOut"]["maxConcurrent"] = rules.get("fanOut")
        self.ask({"request": "apply", "policy": policy})

    def ask(self, request):
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(self.socket))
            link.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(link.makefile().readline())
        if "error" in reply:
            raise SystemExit("lab-prevent: the data plane says: %s" % reply["error"])
        return reply

    def fermata(self, *words):
        """-> what `fermata` prints"""
        return subprocess.run([self.programs["fermata"], *words, "--socket", str(self.socket)], capture_output=True,
                              text=True, check=True).stdout

    def account(self):
        """What it did, with everything it says of each verdict. -> a dict for the result"""
        rows = {}
        for what in ("exchanges", "events"):
            text = self.fermata(what, "--limit", "1000000", "-o", "jsonl")
            (self.work / (what + ".jsonl")).write_text(text)
            rows[what] = [json.loads(line) for line in text.splitlines()]
        status = self.ask({"request": "status"})["status"]
        judged = {r["id"] for r in rows["exchanges"] if r["verdict"] != "pass" and r.get("enforced")}
        shadow = {r["id"] for r in rows["exchanges"] if r["verdict"] != "pass"} - judged
        judged |= set(sorted(shadow)[::max(1, len(shadow) // SHADOW_EXPLAINED)])
        known = {r["id"] for r in rows["exchanges"]}
        judged |= {e["exchange"] for e in rows["events"] if e["event"] == "verdict" and e.get("unit") == "harm" and
                   e.get("exchange") in known}
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            bad = [text for text in pool.map(self.unexplained, sorted(judged)) if text]
        verdicts = {}
        for row in rows["exchanges"]:
            if row["verdict"] != "pass":
                key = "%s%s: %s" % (row["verdict"], "" if row.get("enforced") else " (shadow)", row["reason"])
                verdicts[key] = verdicts.get(key, 0) + 1
        held = sorted(r["hold_ms"] / 1000 for r in rows["exchanges"] if r.get("enforced") and r.get("hold_ms") is not None)
        return dict(exchanges=len(rows["exchanges"]), verdicts=verdicts, explained=len(judged) - len(bad), unexplained=bad,
                    held_s=held[len(held) // 2] if held else None, drops=status["frames"]["drops"],
                    limits=status["limits_reached"], disarmed=sum(e["event"] == "verdict" and e.get("unit") == "harm"
                                                                  for e in rows["events"]))

    def unexplained(self, exchange):
        """What `fermata explain` does not say of an exchange with a verdict; empty when it says all of it."""
        done = subprocess.run([self.programs["fermata"], "explain", exchange, "-o", "json", "--socket", str(self.socket)],
                              capture_output=True, text=True)
        if done.returncode:
            return "%s: %s" % (exchange, done.stderr.strip())
        said = {s["about"] for section in json.loads(done.stdout)["sections"] for s in section["statements"] if s["text"]}
        return "%s: nothing of %s" % (exchange, ", ".join(sorted(EXPLAINED - said))) if EXPLAINED - said else ""

    def stop(self):
        """-> its final counts; an end that is not clean is an error"""
        self.processes.stop("plane")
        stats = json.loads((self.work / "stats.json").read_text())
        if not stats["balanced"]:
            raise SystemExit("lab-prevent: frames are missing: %s" % stats)
        return {key: stats[key] for key in ("rx", "tx", "held", "drops", "burst_latency_us")}


def built(programs):
    for name, path in programs.items():
        if not os.access(path, os.X_OK):
            raise SystemExit("lab-prevent: missing: %s (%s)" % (path, name))
