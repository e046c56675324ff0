"""Rows of the result, what a repeated measurement says, and the machine."""

import os
import re
import statistics
from pathlib import Path

# Of a row, in the order in which they are written; a row may have more.
FIELDS = ("name", "flows", "frame_bytes", "cycles_per_packet", "mpps", "baseline", "added_cycles",
          "machine")


def row(name, samples=(), baseline=None, ghz=None, **more):
    """A row from cycles a packet of several runs. The least counts: what else a machine does can
    only add to it. `spread` holds least, median and most, so that nobody is misled."""
    made = dict.fromkeys(FIELDS)
    made["name"] = name
    if samples:
        least = min(samples)
        made["cycles_per_packet"] = round(least, 1)
        made["mpps"] = round(ghz * 1000 / least, 2)
        made["spread"] = spread(samples)
        if baseline is not None:
            made["baseline"] = round(baseline, 1)
            made["added_cycles"] = round(least - baseline, 1)
    made.update(more)
    return made


def spread(samples):
    """Least, median and most."""
    return [round(min(samples), 2), round(statistics.median(samples), 2), round(max(samples), 2)]


def tsc_ghz(cpuinfo=None):
    """Rate of the time stamp counter: Linux derives bogomips from it, two a cycle."""
    text = cpuinfo if cpuinfo is not None else Path("/proc/cpuinfo").read_text()
    return float(re.search(r"^bogomips\s*:\s*([\d.]+)", text, re.M)[1]) / 2000


def machine():
    """Processor, cores and load, in a line: figures of another line are not to be compared."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*:\s*(.*)", cpuinfo, re.M)[1].strip()
    ids = [re.search(rf"^{key}\s*:\s*(\d+)", cpuinfo, re.M)[1] for key in ("cpu family", "model")]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    level = next((name for name in ("avx512bw", "avx2") if f" {name} " in cpuinfo), "no AVX2")
    return (f"{model} (family {ids[0]}, model {ids[1]}), {os.cpu_count()} cores, {level}, "
            f"TSC {tsc_ghz():.3f} GHz, load {load}")
