"""What it costs to forward: Fermata beside testpmd's io, macswap and csum, on the same source."""

import contextlib
import threading
import time

from programs import OTHER_CORE, Failed, Fermata, Testpmd, cycles, interleaved
from reading import cpu_seconds, mean_bytes
from rows import row

# Fermata sizes its mempool by its devices, and net_pcap wants an mbuf for each frame of the capture:
# a second, silent pair makes room for 10,000.
SILENT = ["net_null2,no-rx=1", "net_null3,no-rx=1"]


def sources(work):
    """Name, flows, bytes of a frame, devices, further devices for Fermata."""
    def pcap(name):
        return [f"net_pcap0,rx_pcap={work}/{name}.pcap,infinite_rx=1", "net_null1,no-rx=1"]
    return [
        ("net_null/not_ip", 0, 64, ["net_null0", "net_null1,no-rx=1"], []),
        ("net_pcap/acks", 2_000, 60, pcap("acks_2000"), []),
        ("net_pcap/acks", 10_000, 60, pcap("acks_10000"), SILENT),
        ("net_pcap/acks", 100_000, 60, pcap("acks_100000"), SILENT),
        ("net_pcap/tls_connections", 200, None, pcap("connections_1"), SILENT),
    ]


def forward(bench):
    """The rows of all sources."""
    for name, flows, size, vdevs, more in sources(bench.work):
        mbufs = max(32768, 2 * flows)
        starts = {
            "fermata": lambda: Fermata(bench.fastpath, vdevs + more, bench.work,
                                       "--flows", str(max(65_536, 2 * flows))),
            **{f"testpmd_{mode}": lambda mode=mode: Testpmd(mode, vdevs, mbufs=mbufs)
               for mode in ("io", "macswap", "csum")},
        }
        samples, absent = interleaved(starts, bench.rounds, bench.seconds, bench.ghz)
        told = f"forward/{name}/{flows}"
        for program, why in absent.items():
            bench.absent(f"{told}/{program}", why)
        base = min(samples["testpmd_io"]) if "testpmd_io" in samples else None
        for program, cyc in samples.items():
            peer = {} if program == "fermata" else {"peer": f"dpdk-{program.replace('_', ' ')}"}
            bench.add(row(f"{told}/{program}", cyc, base, bench.ghz, flows=flows,
                          frame_bytes=size or mean_bytes(f"{bench.work}/connections_1.pcap"),
                          **peer))


def vhost(bench):
    """Between two vhost-user ports, the other ends of which are virtio-user ports of a testpmd on
    the other core that sends as fast as it can."""
    def start(kind):
        stamp = time.monotonic_ns()
        paths = [f"{bench.work}/v{n}-{stamp}.sock" for n in (0, 1)]
        vdevs = [f"net_vhost{n},iface={path}" for n, path in enumerate(paths)]
        if kind == "fermata":
            wire = Fermata(bench.fastpath, vdevs, bench.work)
        else:
            wire = Testpmd("io", vdevs)
        return wire, [f"net_virtio_user{n},path={path},queue_size=1024"
                      for n, path in enumerate(paths)]

    @contextlib.contextmanager
    def running(kind):
        wire, virtio = start(kind)
        with wire, Testpmd("flowgen", virtio, "--rxd=1024", "--txd=1024", core=OTHER_CORE,
                           start=None) as load:
            time.sleep(1)
            load.tell("start")
            yield wire

    starts = {name: (lambda name=name: running(name)) for name in ("fermata", "testpmd_io")}
    samples, absent = interleaved(starts, bench.rounds, bench.seconds, bench.ghz, warm=1)
    for program, why in absent.items():
        bench.absent(f"vhost/flowgen/{program}", why)
    base = min(samples.get("testpmd_io", [0])) or None
    for program, cyc in samples.items():
        peer = {} if program == "fermata" else {"peer": "dpdk-testpmd io"}
        bench.add(row(f"vhost/flowgen/{program}", cyc, base, bench.ghz, flows=1024,
                      frame_bytes=64, **peer))


def swap(bench):
    """Policies put in force meanwhile, as fast as the socket takes and compiles them."""
    name, flows, size, vdevs, more = sources(bench.work)[2]
    quiet, swapping, rates = [], [], []
    for _ in range(bench.rounds):
        with Fermata(bench.fastpath, vdevs + more, bench.work) as fermata:
            time.sleep(0.4)
            quiet.append(cycles(fermata, bench.seconds, bench.ghz))
            with Swaps(fermata) as swaps:
                swapping.append(cycles(fermata, bench.seconds, bench.ghz))
            rates.append(swaps.rate)
    base = min(quiet)
    told = {"flows": flows, "frame_bytes": size}
    bench.add(row("swap/without", quiet, None, bench.ghz, **told))
    bench.add(row("swap/with", swapping, base, bench.ghz, swaps_per_second=round(max(rates)),
                  **told))


class Swaps:
    """Applies the policy in force again and again."""

    def __init__(self, fermata):
        self.fermata, self.policy = fermata, fermata.ask("policy")
        self.over, self.rate = threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        done, start = 0, time.monotonic()
        while not self.over.is_set():
            self.fermata.ask("apply", policy=self.policy)
            done += 1
            ahead = start + done / 1000 - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        self.rate = done / (time.monotonic() - start)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def loop(bench):
    """The loop alone on frames in memory, by traffic."""
    for traffic, flows in ((t, n) for t in TRAFFIC for n in (1024, 65_536)):
        if flows > 1024 and traffic in ("exchanges", "mixed"):
            continue  # their connections would take gigabytes
        samples = [loop_cost(bench, traffic, flows) for _ in range(min(bench.rounds, 3))]
        bench.add(row(f"loop/{traffic}", samples, None, bench.ghz, flows=flows,
                      frame_bytes={"acks": 54, "data": 1502}.get(traffic)))
    quiet = [loop_cost(bench, "data", 1024) for _ in range(bench.rounds)]
    swaps = [loop_cost(bench, "data", 1024, 1000) for _ in range(bench.rounds)]
    bench.add(row("loop/data/1000_swaps_a_second", swaps, min(quiet), bench.ghz, flows=1024,
                  frame_bytes=1502))


def loop_cost(bench, traffic, flows, swaps_per_second=0):
    """Cycles a frame: processor time of two runs that differ in their batches only."""
    more = 200 if bench.quick else 600

    def cpu(batches):
        words = [bench.program("examples/loop_cost"), traffic, str(flows), str(batches)]
        code, seconds = cpu_seconds(words + [str(swaps_per_second)] * bool(swaps_per_second))
        if code:
            raise Failed(f"loop_cost ended with {code}")
        return seconds
    return (cpu(50 + more) - cpu(50)) * bench.ghz * 1e9 / (more * BATCH_FRAMES)


# Of loop_cost: 64 bursts of 64.
BATCH_FRAMES = 4096
TRAFFIC = ("acks", "data", "new_flows", "hellos", "exchanges", "mixed")
