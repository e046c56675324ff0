"""Reference programs for flow state, from a directory of sources that are compiled in a copy."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from rows import row

# For a processor without AVX-512, what the programs use of it, by two halves of AVX2.
SHIM = """#include <immintrin.h>
typedef struct { __m256i a, b; } two256;
static inline two256 two_load(const void*p){two256 r={_mm256_loadu_si256(p),
  _mm256_loadu_si256((const __m256i*)p+1)};return r;}
static inline void two_store(void*p,two256 v){_mm256_storeu_si256(p,v.a);
  _mm256_storeu_si256((__m256i*)p+1,v.b);}
static inline two256 two_set1_16(short t){two256 r={_mm256_set1_epi16(t),_mm256_set1_epi16(t)};return r;}
static inline unsigned two_cmpeq_16(two256 x,two256 y){
  __m256i p=_mm256_packs_epi16(_mm256_cmpeq_epi16(x.a,y.a),_mm256_cmpeq_epi16(x.b,y.b));
  return _mm256_movemask_epi8(_mm256_permute4x64_epi64(p,0xd8));}
#define _mm512_load_si512 two_load
#define _mm512_loadu_si512 two_load
#define _mm512_storeu_si512 two_store
#define _mm512_set1_epi16 two_set1_16
#define _mm512_cmpeq_epi16_mask two_cmpeq_16
"""


def build(bench, name):
    """The program, compiled; None and a row of absence when it cannot be."""
    source = f"{bench.peers}/{name}.c" if bench.peers else None
    if source is None or not os.path.exists(source):
        bench.absent(f"peers/{name}", "no --peers directory with its source")
        return None
    copy = f"{bench.work}/peers"
    os.makedirs(copy, exist_ok=True)
    shutil.copy(source, copy)
    flags = ["-O3", "-march=native"]
    if " avx512bw" not in Path("/proc/cpuinfo").read_text():
        with open(f"{copy}/avx2.h", "w") as file:
            file.write(SHIM)
        flags += ["-include", f"{copy}/avx2.h"]
    dpdk = {part: subprocess.run(["pkg-config", part, "libdpdk"], capture_output=True, text=True,
                                 check=True).stdout.split() for part in ("--cflags", "--libs")}
    made = f"{copy}/{name}"
    done = subprocess.run(["gcc", *dpdk["--cflags"], *flags, f"{copy}/{name}.c", "-o", made,
                           *dpdk["--libs"]], capture_output=True, text=True, check=False)
    if done.returncode:
        bench.absent(f"peers/{name}", done.stderr.strip().splitlines()[-1])
        return None
    return made


def figures(text):
    """What the programs print: name, burst, and the least, median and most of their cycles."""
    pattern = r"b=(\d+)\s+(?:huge=\d\s+)?(\S.*?)\s+med\s+([\d.]+) cyc\S*\s+\[\s*([\d.]+)\.\.\s*([\d.]+)\]"
    return {(found[1].strip(), int(found[0])): [float(found[3]), float(found[2]), float(found[4])]
            for found in re.findall(pattern, text)}


def run(bench, name, program, *arguments):
    """Its figures, of all that it prints in one run. It reads the time stamp counter itself, so they
    are scaled by the share of the core that it was given: a neighbour's time is not its own."""
    eal = ["--lcores", f"0@{bench.core}", "--no-pci", "--no-telemetry", "--in-memory",
           "--log-level=*:error", f"--file-prefix=bench-{os.getpid()}"]
    devices = ["--vdev", "net_null0", "--vdev", "net_null1"] if name == "floor" else []
    start, before = time.monotonic(), os.times()
    done = subprocess.run([program, *eal, *devices, "--", *map(str, arguments)],
                          capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - start, os.times()
    if done.returncode:
        tail = (done.stderr or done.stdout).strip().splitlines()
        bench.absent(f"peers/{name}/{arguments[0]}", tail[-1] if tail else str(done.returncode))
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    share = min(cpu / wall, 1)
    return {key: [value * share for value in values]
            for key, values in figures(done.stdout).items()}


def peers(bench):
    """`floor`, the same over rte_hash, and rte_hash alone, at 64 k, 1 M and 10 M flows."""
    floor, rte_hash = build(bench, "floor"), build(bench, "rte_hash")
    for flows in (65_536, 1_000_000) if bench.quick else (65_536, 1_000_000, 10_000_000):
        if floor:
            found = run(bench, "floor", floor, flows, 8191, 256, int(flows <= 1_000_000))
            base = found.get(("baseline rx_sim+tx(net_null)", 64))
            for program, label in (("floor", "FULL cross-burst"), ("floor_in_burst", "FULL in-burst"),
                                   ("floor_rte_hash", "FULL with rte_hash_lookup_bulk")):
                if (label, 64) in found and base:
                    bench.add(row(f"peers/{program}", found[label, 64], base[0], bench.ghz,
                                  flows=flows, frame_bytes=60, peer=f"reference {program}"))
        if rte_hash:
            found = run(bench, "rte_hash", rte_hash, flows, 16)
            base = found.get(("gen-only", 64))
            if ("lookup_bulk+record", 64) in found and base:
                bench.add(row("peers/rte_hash", found["lookup_bulk+record", 64], base[0],
                              bench.ghz, flows=flows, peer="DPDK rte_hash, 16-byte key"))
