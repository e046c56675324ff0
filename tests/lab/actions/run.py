#!/usr/bin/env python3
"""Every action on real TCP: two kernels, the data plane between, and what both stacks make of it.

    run.py --orders PROGRAM [--repeat N] [ACTION..]

Needs root. scripts/lab-actions prepares what it needs and calls it. Exit 0, 1 on an error, 2 when a kernel saw something
it should not.
"""
import argparse
import json
import socket
import struct
import sys
import threading
import time

from kernel import (ADDRESSES, CLIENT, CWR, ECE, REPLICA, SERVER, Host, Listener, Orders, Wire, await_that,
                    connect, counted, retransmitted, run, sockets)

# How long a hold lasts, and how long if nobody ended it.
HOLD_S, HOLD_MAX_S = 0.7, 30
PACE, POLICE = 100_000, 60_000
DSCP = 10
REQUEST, ANSWER = b"q" * 2400, b"a" * 9000


def read(sock, count):
    got = b""
    while len(got) < count:
        part = sock.recv(65536)
        if not part:
            raise AssertionError("the stream ended after %d of %d bytes" % (len(got), count))
        got += part
    return got


def check(truth, said):
    if not truth:
        raise AssertionError(said)


def exchange(client, server):
    """A request and an answer, both whole. -> seconds until the server had the request"""
    began = time.monotonic()
    client.sendall(REQUEST)
    check(read(server, len(REQUEST)) == REQUEST, "the request is not what was sent")
    took = time.monotonic() - began
    server.sendall(ANSWER)
    check(read(client, len(ANSWER)) == ANSWER, "the answer is not what was sent")
    return took


def close(client, server, port):
    """Both sides close, and both stacks have nothing left."""
    client.close()
    check(server.recv(1) == b"", "the server did not see the end")
    server.close()
    await_that(lambda: not sockets(CLIENT, port) and not sockets(SERVER, port), "the connection is gone at both ends")


def once(segments):
    """No byte arrived twice, and none before another."""
    seqs = [(s.seq, s.bytes) for s in segments]
    return all(a[0] + a[1] & 0xffffffff == b[0] for a, b in zip(seqs, seqs[1:]))


def hold(port, v6=False):
    """A first flight is held: the server has it later, whole, in order and once; the client's repeats are absorbed."""
    client, server = connect(port, v6)
    with Wire(SERVER, port) as wire:
        took = exchange(client, server)
        again = retransmitted(client)
        check(HOLD_S <= took < HOLD_MAX_S, "held for %.3f s, wanted %g" % (took, HOLD_S))
    check(once(wire.data()), "the server's kernel saw a byte twice or out of order")
    check(again > 0, "the client's kernel never sent again: nothing was absorbed")
    check(not wire.resets(), "the server saw an RST")
    check(exchange(client, server) < HOLD_S, "a second request was held too")
    close(client, server, port)
    return "released after %.3f s; %d retransmissions of the client absorbed" % (took, again)


def leave(port, abrupt=False):
    """A client leaves while it is held: its server sees an RST and no byte, and no socket is left."""
    client, server = connect(port)
    with Wire(SERVER, port) as wire:
        client.sendall(REQUEST)
        time.sleep(0.1)
        if abrupt:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        try:
            got = server.recv(1)
            raise AssertionError("the server's application read %r" % got)
        except ConnectionResetError:
            pass
        server.close()
        await_that(lambda: not sockets(CLIENT, port) and not sockets(SERVER, port), "no socket is left")
    before = wire.segments[:wire.segments.index(wire.resets()[0])]
    check(not [s for s in before if s.bytes], "the server's kernel saw the request")
    return "the server's application got ECONNRESET, its kernel no byte of the request"


def leave_abruptly(port):
    """The same with an RST of the client."""
    return leave(port, True)


def upload(port, size):
    """Sends so many bytes and reads them at the server: seconds, and segments that were sent again."""
    client, server = connect(port)
    began = time.monotonic()
    sender = threading.Thread(target=client.sendall, args=(b"u" * size,))
    sender.start()
    read(server, size)
    took = time.monotonic() - began
    sender.join()
    again = retransmitted(client)
    close(client, server, port)
    return took, again


def pace(port):
    """A paced client takes as long as its rate says, and its server has all of it."""
    size = 60_000
    took, again = upload(port, size)
    check(took > 0.9 * size / PACE, "took %.2f s, wanted %.2f" % (took, size / PACE))
    return "%d bytes in %.2f s at %d bytes/s; %d retransmissions" % (size, took, PACE, again)


def police(port):
    """What a policed client sends too fast is lost, its kernel sends it again, and its server has all of it."""
    size = 80_000
    took, again = upload(port, size)
    check(again > 0, "nothing was lost")
    check(took > 0.5 * size / POLICE, "took %.2f s: it was not policed" % took)
    return "%d bytes in %.2f s at %d bytes/s; %d retransmissions" % (size, took, POLICE, again)


def dscp(port):
    """A codepoint reaches the server's kernel in each frame after the first data; ECN stays as it was."""
    client, server = connect(port)
    with Wire(SERVER, port) as wire:
        exchange(client, server)
    classes = {s.traffic_class >> 2 for s in wire.segments}
    check(classes == {DSCP}, "codepoints %s" % classes)
    close(client, server, port)
    return "codepoint %d in %d segments" % (DSCP, len(wire.segments))


def ce(port):
    """Congestion experienced: the server's kernel answers with ECE, the client's slows down and says CWR."""
    before = counted(CLIENT, "TCPDeliveredCE")
    client, server = connect(port)
    with Wire(SERVER, port) as wire, Wire(CLIENT, port) as back:
        exchange(client, server)
        exchange(client, server)
    marked = [s for s in wire.data() if s.traffic_class & 3 == 3]
    check(marked == wire.data(), "%d of %d data segments are marked" % (len(marked), len(wire.data())))
    check(any(s.flags & ECE for s in back.segments), "the server's kernel did not answer with ECE")
    check(any(s.flags & CWR for s in wire.segments), "the client's kernel did not answer with CWR")
    delivered = counted(CLIENT, "TCPDeliveredCE") - before
    check(delivered > 0, "the client's kernel counts no CE delivered")
    close(client, server, port)
    return "%d segments marked, ECE came back, CWR went out, TCPDeliveredCE +%d" % (len(marked), delivered)


def ce_without_ecn(port):
    """Who does not take part in congestion notification is never marked."""
    with Wire(SERVER, port) as wire:
        listener = Listener(port)
        run("ip", "netns", "exec", CLIENT, "sysctl", "-qw", "net.ipv4.tcp_ecn=0")
        try:
            client, server = listener.connect(port)
        finally:
            run("ip", "netns", "exec", CLIENT, "sysctl", "-qw", "net.ipv4.tcp_ecn=1")
        exchange(client, server)
    check({s.traffic_class & 3 for s in wire.segments} == {0}, "a segment is marked")
    close(client, server, port)
    return "no segment marked"


def ended(sock):
    """The error that an application gets, reading and then writing, once its kernel knows."""
    try:
        while sock.recv(65536):
            pass
        return "end"
    except OSError as error:
        return type(error).__name__


def reset(port, both=True):
    """Both kernels take the RST at once: exact numbers, no challenge ACK, no socket left."""
    before = {ns: counted(ns, "TCPChallengeACK") for ns in (CLIENT, SERVER)}
    client, server = connect(port)
    with Wire(SERVER, port) as up, Wire(CLIENT, port) as down:
        client.sendall(REQUEST)
        read(server, len(REQUEST))
        server.sendall(b"a" * 100)
        at = time.monotonic()
        said = {"server": ended(server)}
        took = time.monotonic() - at
        if both:
            said["client"] = ended(client)
        else:
            read(client, 100)                             # what is left unread makes a close an RST
            client.close()
        await_that(lambda: not sockets(SERVER, port), "no socket is left at the server")
        await_that(lambda: not sockets(CLIENT, port), "no socket is left at the client")
        time.sleep(0.3)                                   # a loop of challenges would go on
    check(set(said.values()) == {"ConnectionResetError"}, "the applications got %s" % said)
    challenges = {ns: counted(ns, "TCPChallengeACK") - before[ns] for ns in before}
    check(not any(challenges.values()), "challenge ACKs: %s" % challenges)
    ours = [s for s in up.resets()]
    check(len(ours) == 1, "%d RSTs towards the server" % len(ours))
    # A second one is the server's kernel's own: it answers the client's last acknowledgment.
    check(len(down.resets()) <= 2, "%d RSTs towards the client" % len(down.resets()))
    server.close()
    return "ECONNRESET at %s after %.1f ms; RSTs %d up, %d down; no challenge ACK" % (
        " and ".join(sorted(said)), took * 1000, len(ours), len(down.resets()))


def reset_server(port):
    """Only the server is told."""
    return reset(port, False)


def reroute(port, v6=False):
    """The client's kernel speaks with the address it called, the replica's with the client; nobody listens at the former."""
    listener = Listener(port + 1000, v6, REPLICA[v6])
    client, server = listener.connect(port, v6)
    check(client.getpeername()[:2] == (ADDRESSES[SERVER][v6], port), "the client is connected to %s" % (client.getpeername(),))
    check(server.getsockname()[:2] == (REPLICA[v6], port + 1000), "the replica is %s" % (server.getsockname(),))
    check(server.getpeername()[0] == ADDRESSES[CLIENT][v6], "the replica's peer is %s" % (server.getpeername(),))
    wrong = {ns: counted(ns, "InCsumErrors") for ns in (CLIENT, SERVER)}
    for _ in range(5):
        exchange(client, server)
    check({ns: counted(ns, "InCsumErrors") for ns in wrong} == wrong, "a kernel counts wrong checksums")
    client.close()
    check(server.recv(1) == b"", "the replica did not see the end")
    server.close()
    await_that(lambda: not sockets(CLIENT, port) and not sockets(SERVER, port + 1000), "the connection is gone at both ends")
    return "5 exchanges with %s port %d, for the client %s port %d" % (REPLICA[v6], port + 1000, ADDRESSES[SERVER][v6], port)


ACTIONS = {
    "hold": (hold, "hold:%d" % (HOLD_S * 1000), False),
    "hold_v6": (lambda port: hold(port, True), "hold:%d" % (HOLD_S * 1000), False),
    "leave": (leave, "hold:20000", False),
    "leave_abruptly": (leave_abruptly, "hold:20000", False),
    "pace": (pace, "pace:%d" % PACE, False),
    "police": (police, "police:%d" % POLICE, False),
    "dscp": (dscp, "dscp:%d" % DSCP, False),
    "ce": (ce, "ce", False),
    "ce_without_ecn": (ce_without_ecn, "ce", False),
    "reset_both": (reset, "reset:both", False),
    "reset_server": (reset_server, "reset:server", False),
    "reroute": (reroute, "reroute:%s=%%d" % REPLICA[0], True),
    "reroute_v6": (lambda port: reroute(port, True), "reroute:%s=%%d" % REPLICA[1], True),
}
# What must have been counted when all of them have run.
COUNTED = {"hold.repeated", "hold.client_left", "police.over_rate"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("actions", nargs="*", metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("--orders", required=True)
    parser.add_argument("--repeat", type=int, default=1)
    chosen = parser.parse_args()
    if not set(chosen.actions) <= set(ACTIONS):
        parser.error("actions are %s" % ", ".join(ACTIONS))
    ports = {name: 5001 + n for n, name in enumerate(ACTIONS)}
    orders = ["%d=%s" % (ports[name], order % (ports[name] + 1000) if own else order)
              for name, (_, order, own) in ACTIONS.items()]
    bad = 0
    with Host():
        plane = Orders(chosen.orders, orders)
        for name in (chosen.actions or list(ACTIONS)) * chosen.repeat:
            try:
                print("%-15s %s" % (name, ACTIONS[name][0](ports[name])), flush=True)
            except (AssertionError, OSError) as error:
                bad += 1
                print("%-15s WRONG: %s: %s" % (name, type(error).__name__, error), flush=True)
        said = plane.stop()
    print("fermata         " + said)
    account = json.loads(said)
    if not account["balanced"] or account["mbufs"] or account["held_frames"] or account["refused"]:
        print("WRONG: frames or mbufs are missing, or an order was refused")
        bad += 1
    if not chosen.actions and COUNTED - set(account["drops"]):
        print("WRONG: never counted: %s" % ", ".join(sorted(COUNTED - set(account["drops"]))))
        bad += 1
    sys.exit(2 if bad else 0)


if __name__ == "__main__":
    main()
