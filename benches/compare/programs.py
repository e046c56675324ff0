"""Data planes as processes: started, asked for their counts, and stopped.

Cycles a packet are the processor time of the forwarding thread over the frames it took, so that a
neighbour who takes the core away is not counted, apart from what he leaves in the caches."""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import tempfile
import time
from pathlib import Path

# One core for what is measured, another for everything else, where there are two.
MEASURED_CORE = (os.cpu_count() or 1) - 1
OTHER_CORE = 0
START_SECONDS_MAX = 30
# Measurements of one start: the core may be busy with something else in one of them.
WINDOWS = 2


class Failed(Exception):
    """A program did not do what it was started for; the text says what it said."""


class Program:
    """A process with one thread that forwards."""

    def __init__(self, words, thread, **options):
        self.thread = thread
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(words, stdout=options.get("stdout", self.log),
                                        stderr=self.log, stdin=options.get("stdin"),
                                        env=options.get("env"))
        self.task = None

    def said(self):
        """The end of its output, for an error."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace").strip()[-400:]

    def cpu_ns(self):
        """Processor time of the forwarding thread."""
        if self.task is None:
            base = f"/proc/{self.process.pid}/task"
            for task in os.listdir(base):
                # A thread of the start may have ended since it was listed.
                with contextlib.suppress(FileNotFoundError):
                    if re.fullmatch(self.thread, Path(f"{base}/{task}/comm").read_text().strip()):
                        self.task = f"{base}/{task}/schedstat"
        if self.task is None:
            raise Failed(f"no thread {self.thread}: {self.said()}")
        return int(Path(self.task).read_text().split()[0])

    def until(self, ready):
        """Waits until `ready()`, or fails with what the process has said."""
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            if ready():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.stop()
        raise Failed(self.said())

    def stop(self):
        """Ends it, this process and no other."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Fermata(Program):
    """`fermata-fastpath` in mode wire."""

    def __init__(self, binary, vdevs, work, *more):
        self.socket = f"{work}/fermata-{time.monotonic_ns()}.sock"
        words = [binary, "--mode", "wire", "--socket", self.socket, *more]
        words += ["--lcores", str(MEASURED_CORE)] + [w for v in vdevs for w in ("--vdev", v)]
        super().__init__(words, "lcore-0")
        self.until(lambda: "running" in self.said())

    def ask(self, request, **arguments):
        """One request over the socket, and its reply."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(self.socket)
            stream.sendall(json.dumps({"request": request, **arguments}).encode() + b"\n")
            reply = json.loads(stream.makefile().readline())
        if "error" in reply:
            raise Failed(reply["error"]["message"])
        return next(iter(reply.values()))

    def frames(self):
        """Frames received so far, as published each 10 ms."""
        return self.ask("status")["frames"]["rx_frames"]


class Testpmd(Program):
    """`dpdk-testpmd` with one forwarding core."""

    def __init__(self, mode, vdevs, *more, core=MEASURED_CORE, mbufs=32768, start="--auto-start"):
        main = OTHER_CORE if core != OTHER_CORE else MEASURED_CORE
        # Into a pipe printf would keep everything until the end.
        words = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{main},1@{core}", "--no-pci", "--no-telemetry",
                 f"--file-prefix=bench-{time.monotonic_ns()}", "--in-memory",
                 "--single-file-segments", "-m", "256", "--log-level=*:error"]
        words += [w for v in vdevs for w in ("--vdev", v)]
        words += ["--", "--interactive", "--burst=32", f"--total-num-mbufs={mbufs}",
                  f"--forward-mode={mode}", *([start] if start else []), *more]
        super().__init__(words, "(rte|lcore)-worker-1", stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.tell("")

    def tell(self, command):
        """One command; what is printed until the prompt after it."""
        # An unknown command is answered at once, and behind what came before it.
        marker = b"Command not found"
        self.process.stdin.write(f"{command}\nbench-end\n".encode())
        self.process.stdin.flush()
        text, end = b"", time.monotonic() + START_SECONDS_MAX
        while marker not in text and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                text += self.process.stdout.read() or b""
            elif self.process.poll() is not None:
                raise Failed(self.said())
        if marker not in text:
            raise Failed(f"no answer to `{command}`: {text[-200:]!r}")
        return text.decode(errors="replace")

    def frames(self):
        """Frames received by all ports so far."""
        return sum(map(int, re.findall(r"RX-packets:\s+(\d+)", self.tell("show port stats all"))))


def cycles(program, seconds, ghz):
    """TSC cycles a packet over some time, of a program that forwards."""
    frames, cpu = program.frames(), program.cpu_ns()
    time.sleep(seconds)
    frames, cpu = program.frames() - frames, program.cpu_ns() - cpu
    if frames <= 0:
        raise Failed(f"no frames: {program.said()}")
    return cpu * ghz / frames


def interleaved(starts, rounds, seconds, ghz, warm=0.4):
    """Cycles a packet of several programs, each started once a round, one after the other: what
    changes on the machine meanwhile changes for all. By name; a program that cannot be started is
    left out, and why is the second thing returned."""
    samples, absent = {}, {}
    for _ in range(rounds):
        for name, start in starts.items():
            if name in absent:
                continue
            try:
                with start() as program:
                    time.sleep(warm)
                    samples.setdefault(name, []).extend(
                        cycles(program, seconds, ghz) for _ in range(WINDOWS))
            except (Failed, OSError) as error:
                absent[name] = str(error).splitlines()[-1] if str(error) else type(error).__name__
                samples.pop(name, None)
    return samples, absent
