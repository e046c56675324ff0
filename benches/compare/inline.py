"""Inline on veth pairs: added latency beside testpmd io, processor time of a request beside proxies.

    namespace fmb-client: fmbc0 -- fmbc1 :host: fmbs1 -- fmbs0 :namespace fmb-server

A wire joins fmbc1 and fmbs1 frame by frame, and both ends are in one network (10.88.0.0/24). A proxy
listens on the host's end of the first and connects over the second (10.88.1.0/24, 10.88.2.0/24)."""

import contextlib
import glob
import json
import os
import re
import subprocess
import time
from pathlib import Path

from programs import OTHER_CORE, Failed, Fermata, Program, Testpmd
from rows import row, spread

NAME = "api.bench.test"
ENDS = (("fmb-client", "fmbc", "10.88.1", 2), ("fmb-server", "fmbs", "10.88.2", 3))
OFFLOADS = ["rx", "tx", "sg", "tso", "gso", "gro"]
# A response of the size of a short completion, and one of bulk.
SMALL_BYTES, BULK_BYTES = 600, 64 << 20


def host(*words, check=True):
    """A command that changes the host."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def down():
    """Removes the topology, and what a broken run has left of it."""
    for space, link, _, _ in ENDS:
        host("ip", "netns", "delete", space, check=False)
        host("ip", "link", "delete", f"{link}1", check=False)
        host("rm", "-rf", f"/etc/netns/{space}", check=False)


@contextlib.contextmanager
def topology():
    """Both namespaces, with addresses for a wire and for a proxy."""
    down()
    try:
        for space, link, net, last in ENDS:
            host("ip", "netns", "add", space)
            host("ip", "link", "add", f"{link}1", "type", "veth", "peer", "name", f"{link}0",
                 "netns", space)
            host("sysctl", "-qw", f"net.ipv6.conf.{link}1.disable_ipv6=1")
            host("ip", "addr", "add", f"{net}.1/24", "dev", f"{link}1")
            host("ip", "link", "set", f"{link}1", "up")
            for address in (f"{net}.{last}/24", f"10.88.0.{last}/24"):
                host("ip", "-n", space, "addr", "add", address, "dev", f"{link}0")
            host("ip", "-n", space, "link", "set", "lo", "up")
            host("ip", "-n", space, "link", "set", f"{link}0", "up")
        yield
    finally:
        down()


def offloads(state):
    """A wire of af_packet needs whole checksums and frames of their real size; a proxy is given
    all that the kernel has."""
    for space, link, _, _ in ENDS:
        words = [word for offload in OFFLOADS for word in (offload, state)]
        host("ethtool", "-K", f"{link}1", *words, check=False)
        host("ip", "netns", "exec", space, "ethtool", "-K", f"{link}0", *words, check=False)


def name_is(address):
    """What the client takes the server's name for."""
    os.makedirs("/etc/netns/fmb-client", exist_ok=True)
    with open("/etc/netns/fmb-client/hosts", "w") as file:
        file.write(f"{address} {NAME}\n")


def in_space(space, *words):
    """A command line in a namespace, away from the measured core."""
    return ["ip", "netns", "exec", space, "taskset", "-c", str(OTHER_CORE), *words]


def wires(bench):
    """What can be between the two ends."""
    vdevs = ["net_af_packet0,iface=fmbc1", "net_af_packet1,iface=fmbs1"]
    return {"fermata": lambda: Fermata(bench.fastpath, vdevs, bench.work),
            "testpmd_io": lambda: Testpmd("io", vdevs)}


def latency(bench):
    """Round trips of datagrams through the wire, which they pass twice."""
    samples = {}
    with topology():
        offloads("off")
        answer = Program(in_space("fmb-server", bench.program("bench-latency"), "answer",
                                  "10.88.0.3:9000"), "bench-latency")
        with answer:
            for _ in range(bench.rounds):
                for name, start in wires(bench).items():
                    with start():
                        samples.setdefault(name, []).append(ask(bench))
    base = samples["testpmd_io"]
    for name, asked in samples.items():
        told = {key: [one[key] / 1000 for one in asked] for key in ("p50", "p99", "p999")}
        plain = {key: min(one[key] for one in base) / 1000 for key in told}
        peer = {} if name == "fermata" else {"peer": "dpdk-testpmd io"}
        bench.add(row(f"latency/veth_round_trip/{name}", frame_bytes=242,
                      microseconds={key: spread(values) for key, values in told.items()},
                      added_microseconds={key: round(min(told[key]) - plain[key], 2)
                                          for key in told}, **peer))


def ask(bench):
    """Quantiles of one run, in nanoseconds."""
    ping = in_space("fmb-client", bench.program("bench-latency"), "ask", "10.88.0.3:9000")
    for _ in range(20):
        # The wire is up when a datagram comes back.
        if json.loads(host(*ping, "1", "0"))["count"]:
            return json.loads(host(*ping, "3000" if bench.quick else "10000", "100"))
    raise Failed("no datagram comes back through the wire")


def write_server(work):
    """nginx with TLS in the server's namespace: a short answer, and bulk."""
    host("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", f"/CN={NAME}", "-keyout", f"{work}/key.pem", "-out",
         f"{work}/cert.pem")
    os.makedirs(f"{work}/www", exist_ok=True)
    for name, size in (("small", SMALL_BYTES), ("bulk", BULK_BYTES)):
        with open(f"{work}/www/{name}", "wb") as file:
            file.write(b"x" * size)
    os.chmod(work, 0o755)
    return config(work, "server", f"""http {{ access_log off; server {{
        listen 10.88.0.3:443 ssl; listen 10.88.2.3:443 ssl; root {work}/www; keepalive_requests 1000000;
        ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem; }} }}""")


def config(work, name, text, head=""):
    """A configuration of nginx with one worker in the foreground."""
    path = f"{work}/{name}.conf"
    with open(path, "w") as file:
        file.write(f"{head}\nuser root; daemon off; worker_processes 1; pid {work}/{name}.pid;\n"
                   f"error_log {work}/{name}.err;\nevents {{ worker_connections 4096; }}\n{text}\n")
    return path


def proxies(bench):
    """Command lines of the proxies, by name."""
    work = bench.work
    module = next(iter(glob.glob("/usr/lib/nginx/modules/ngx_stream_module.so")), None)
    found = {}
    if module:
        path = config(work, "stream", f"""stream {{ map $ssl_preread_server_name $to {{
            {NAME} 10.88.2.3:443; default 10.88.2.3:444; }}
            server {{ listen 10.88.1.1:443; ssl_preread on; proxy_pass $to; }} }}""",
                      f"load_module {module};")
        found["nginx_stream"] = ["nginx", "-c", path]
    else:
        bench.absent("inline/nginx_stream", "its stream module is not installed")
    with open(f"{work}/haproxy.cfg", "w") as file:
        file.write(f"""global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 10.88.1.1:443
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req_ssl_hello_type 1 }}
  use_backend back if {{ req_ssl_sni -i {NAME} }}
backend back
  stick-table type ip size 100k expire 30s store conn_cur,gpc0
  server one 10.88.2.3:443
""")
    found["haproxy"] = ["haproxy", "-f", f"{work}/haproxy.cfg"]
    return found


def tree_cpu_seconds(pid):
    """Processor time of a process and its children."""
    ticks = 0
    for stat in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = Path(stat).read_text().rpartition(")")[2].split()
            if int(stat.split("/")[2]) == pid or int(fields[1]) == pid:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def inline(bench):
    """A TLS keep-alive request, and bulk, through each of them."""
    samples = {}
    with topology():
        server = Program(in_space("fmb-server", "nginx", "-c", write_server(bench.work)), "nginx")
        with server:
            time.sleep(0.5)
            for _ in range(bench.rounds):
                one_round(bench, samples)
    for name, runs in samples.items():
        peer = {} if name.startswith("fermata") else {"peer": name.replace("_", " ")}
        micros = spread([one["request"] for one in runs])
        gbits = [one["gbits"] for one in runs]
        bench.add(row(f"inline/{name}", frame_bytes=None, cpu_us_per_request=micros,
                      bulk_gbit_per_core_second=spread(gbits), **peer))


def one_round(bench, samples):
    """Each of them once."""
    name_is("10.88.0.3")
    offloads("off")
    vdevs = ["net_af_packet0,iface=fmbc1", "net_af_packet1,iface=fmbs1"]
    with Fermata(bench.fastpath, vdevs, bench.work, "--idle") as wire:
        cpu = lambda: wire.cpu_ns() / 1e9
        samples.setdefault("fermata", []).append(play(bench, cpu))
    name_is("10.88.1.1")
    offloads("on")
    for name, words in proxies(bench).items():
        with Program(["taskset", "-c", str(bench.core), *words], name) as proxy:
            time.sleep(0.5)
            cpu = lambda: tree_cpu_seconds(proxy.process.pid)
            samples.setdefault(name, []).append(play(bench, cpu))


def play(bench, cpu):
    """Microseconds of processor time a request, and gigabits a second of it in bulk."""
    count = 5_000 if bench.quick else 20_000
    load = lambda path, n, c: host(*in_space("fmb-client", "ab", "-k", "-q", "-n", str(n), "-c",
                                             str(c), f"https://{NAME}/{path}"))
    load("small", 50, 4)
    before = cpu()
    done(load("small", count, 4), count)
    request = (cpu() - before) / count
    bulk = 2 if bench.quick else 6
    before = cpu()
    done(load("bulk", bulk, 1), bulk)
    return {"request": request * 1e6,
            "gbits": bulk * BULK_BYTES * 8 / 1e9 / max(cpu() - before, 1e-3)}


def done(text, count):
    """All requests were answered."""
    complete = re.search(r"Complete requests:\s+(\d+)", text)
    failed = re.search(r"Failed requests:\s+(\d+)", text)
    if not complete or int(complete[1]) != count or int(failed[1]):
        raise Failed(f"ab: {text[-300:]}")
