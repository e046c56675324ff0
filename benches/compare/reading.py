"""Reading a capture of TLS connections: Fermata beside softflowd, ndpiReader and tshark."""

import os
import subprocess

from rows import row


def cpu_seconds(words):
    """Processor time of a program that reads a file, itself and the kernel for it."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def readers(bench, capture):
    """Command lines by name."""
    return {
        "fermata_assess": [bench.fermata, "assess", capture],
        "fermata_flows": [bench.fermata, "flows", "--read", capture],
        # To a port where nobody listens: records are made and sent, as to a collector.
        "softflowd": ["softflowd", "-r", capture, "-n", "127.0.0.1:9", "-v", "9"],
        "ndpiReader": ["ndpiReader", "-q", "-i", capture],
        "tshark": ["tshark", "-r", capture, "-T", "fields", "-e",
                   "tls.handshake.extensions_server_name", "-Y", "tls.handshake.type==1"],
    }


def read(bench):
    """Frames a second of processor time, and cycles a frame."""
    capture = bench.capture
    frames = frame_count(capture)
    samples, absent = {}, set()
    for number in range(bench.rounds):
        for name, words in readers(bench, capture).items():
            # It takes a hundred times as long as the others: once is enough.
            if name in absent or (name == "tshark" and number > 0):
                continue
            try:
                code, seconds = cpu_seconds(words)
            except FileNotFoundError:
                code, seconds = "it is not installed", 0
            if code != 0:
                absent.add(name)
                bench.absent(f"read/{name}", f"exit code {code}" if isinstance(code, int) else code)
                continue
            samples.setdefault(name, []).append(seconds * bench.ghz * 1e9 / frames)
    base = min(samples.get("softflowd", [0])) or None
    for name, cyc in samples.items():
        peer = {} if name.startswith("fermata") else {"peer": name}
        bench.add(row(f"read/{name}", cyc, base, bench.ghz, frame_bytes=mean_bytes(capture), frames=frames, **peer))


def frame_count(path):
    """Frames of a classic pcap in this machine's byte order."""
    with open(path, "rb") as file:
        data, at, count = file.read(), 24, 0
    while at + 16 <= len(data):
        at += 16 + int.from_bytes(data[at + 8:at + 12], "little")
        count += 1
    return count


def mean_bytes(path):
    """Bytes of a frame, on average."""
    return round((os.path.getsize(path) - 24) / frame_count(path) - 16)
