"""Two kernels: TCP sockets in two network namespaces of one process, with what their stacks count, and what is on the
wire between."""
import contextlib
import ctypes
import os
import pathlib
import socket
import struct
import subprocess
import threading
import time

OFFLOADS = "rx off tx off sg off tso off gso off gro off txvlan off rxvlan off".split()
CLIENT, SERVER = "fermata-act-client", "fermata-act-server"
ENDS = ("fac1", "fas1")
ADDRESSES = {CLIENT: ("198.51.100.11", "2001:db8:77::11"), SERVER: ("198.51.100.101", "2001:db8:77::101")}
REPLICA = ("198.51.100.102", "2001:db8:77::102")
RST, ECE, CWR = 0x04, 0x40, 0x80
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, ETH_P_ALL, OUTGOING = 0x40000000, 3, 4
TCP_INFO_RETRANS_TOTAL = 100


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def inside(namespace):
    """Sockets opened in the block are the namespace's, and stay there."""
    with open("/proc/self/ns/net") as home, open("/run/netns/" + namespace) as there:
        if LIBC.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            LIBC.setns(home.fileno(), CLONE_NEWNET)


class Host:
    """The two namespaces, and the veth pairs to them. A kernel sends again when its timer says so, not on a busy
    machine's whim: tail loss probes are off, and no connection learns from the one before."""

    def __enter__(self):
        self.down()
        for namespace, inner, outer in ((CLIENT, "fac0", ENDS[0]), (SERVER, "fas0", ENDS[1])):
            run("ip", "netns", "add", namespace)
            run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            run("ip", "link", "set", outer, "addrgenmode", "none")
            run("ethtool", "-K", outer, *OFFLOADS)
            enter = ("ip", "netns", "exec", namespace)
            run(*enter, "ethtool", "-K", inner, *OFFLOADS)
            run(*enter, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.%s.accept_dad=0" % inner,
                "net.ipv4.tcp_ecn=1", "net.ipv4.tcp_early_retrans=0", "net.ipv4.tcp_no_metrics_save=1")
            run("ip", "link", "set", outer, "up")
            for link in ("lo", inner):
                run("ip", "-n", namespace, "link", "set", link, "up")
            for address in ADDRESSES[namespace] + (REPLICA if namespace == SERVER else ()):
                run("ip", "-n", namespace, "address", "add", address + ("/64" if ":" in address else "/24"), "dev", inner)
        return self

    def __exit__(self, *_):
        self.down()

    @staticmethod
    def down():
        for namespace, outer in ((CLIENT, ENDS[0]), (SERVER, ENDS[1])):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True)
            subprocess.run(["ip", "link", "delete", outer], capture_output=True)


def counted(namespace, name):
    """A counter of the namespace's TCP stack, as `nstat` has it."""
    with inside(namespace):
        text = pathlib.Path("/proc/thread-self/net/netstat").read_text() + pathlib.Path("/proc/thread-self/net/snmp").read_text()
    lines = text.splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        for key, value in zip(names.split()[1:], values.split()[1:]):
            if key == name:
                return int(value)
    raise KeyError(name)


def sockets(namespace, port):
    """States of the namespace's sockets to or from this port, listeners and TIME_WAIT left out."""
    with inside(namespace):
        tables = [pathlib.Path("/proc/thread-self/net/" + name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [row.split() for table in tables for row in table]
    hexed = "%04X" % port
    return [row[3] for row in rows if row[3] not in ("0A", "06") and
            hexed in (row[1].rsplit(":")[-1], row[2].rsplit(":")[-1])]


def retransmitted(sock):
    """Segments that this socket has sent again (TCP_INFO)."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), TCP_INFO_RETRANS_TOTAL)[0]


def await_that(what, said, seconds=20.0):
    """Waits until `what()` is true."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise AssertionError("%s: not within %g s" % (said, seconds))
        time.sleep(0.02)


def connect(port, v6=False):
    """A connection through the data plane. -> the client's socket, the server's socket"""
    return Listener(port, v6).connect(port, v6)


class Listener:
    """Who listens at a port of the server's namespace, at an address or at all."""

    def __init__(self, port, v6=False, address=None):
        with inside(SERVER):
            self.sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.sock.bind((address or ADDRESSES[SERVER][v6], port))
            self.sock.listen()
            self.sock.settimeout(5)

    def connect(self, port, v6=False):
        with inside(CLIENT):
            client = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        client.settimeout(10)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.connect((ADDRESSES[SERVER][v6], port))
        server, _ = self.sock.accept()
        self.sock.close()
        server.settimeout(10)
        return client, server


class Segment:
    """A TCP segment on the wire."""

    def __init__(self, frame):
        network = 14
        v6 = frame[network] >> 4 == 6
        self.traffic_class = (frame[14] << 4 | frame[15] >> 4) & 0xff if v6 else frame[15]
        tcp = network + (40 if v6 else (frame[network] & 15) * 4)
        end = network + (40 + int.from_bytes(frame[18:20], "big") if v6 else int.from_bytes(frame[16:18], "big"))
        self.source_port, self.port, self.seq = struct.unpack_from("!HHI", frame, tcp)
        self.flags = frame[tcp + 13]
        self.bytes = end - tcp - (frame[tcp + 12] >> 4) * 4


class Wire:
    """What arrives at a namespace, from the beginning of the block on."""

    def __init__(self, namespace, port):
        with inside(namespace):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.settimeout(0.1)
        self.port, self.segments, self.over = port, [], False

    def __enter__(self):
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        self.sock.close()

    def read(self):
        while not self.over:
            try:
                frame, address = self.sock.recvfrom(65536)
            except TimeoutError:
                continue
            kind = frame[12:14]
            tcp = kind == b"\x08\x00" and frame[23] == 6 or kind == b"\x86\xdd" and frame[20] == 6
            if tcp and address[2] != OUTGOING:
                segment = Segment(frame)
                if self.port in (segment.port, segment.source_port):
                    self.segments.append(segment)

    def data(self):
        return [s for s in self.segments if s.bytes]

    def resets(self):
        return [s for s in self.segments if s.flags & RST]


class Orders:
    """The data plane between the two, with an order for each port (fastpath/examples/orders.rs)."""

    def __init__(self, program, orders):
        vdevs = ["net_af_packet%d,iface=%s" % (n, end) for n, end in enumerate(ENDS)]
        self.process = subprocess.Popen([program, *vdevs, *orders], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit("lab-actions: orders did not start: %s" % self.process.communicate()[1])

    def stop(self):
        """-> its account; the last line it prints"""
        self.process.terminate()
        out, err = self.process.communicate(timeout=20)
        if self.process.returncode:
            raise SystemExit("lab-actions: orders ended with %d: %s" % (self.process.returncode, err))
        return out.strip().splitlines()[-1]
