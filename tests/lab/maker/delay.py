#!/usr/bin/env python3
"""A delay line between two interfaces: every frame that enters one leaves the other MS milliseconds later, in order.

    delay.py INTERFACE INTERFACE MS

For machines whose kernel has no netem. Ends on SIGTERM, says how many frames passed and how many of them were more than
LATE late (a busy machine: the capture is no good), exit 0.
"""
import collections
import os
import select
import signal
import socket
import sys
import time

ETH_P_ALL, OUTGOING, LATE = 3, 4, 0.005
passed = {"frames": 0, "late": 0}


def line(name):
    """A packet socket on an interface, with room for a burst."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((name, 0))
    sock.setblocking(False)
    return sock


def take(sock, queue, delay):
    """Puts what has arrived into the queue, each frame with the time it is due."""
    while True:
        try:
            frame, address = sock.recvfrom(65536)
        except BlockingIOError:
            return
        if address[2] != OUTGOING:
            queue.append((time.monotonic() + delay, frame))


def give(sock, queue):
    """Sends what is due. -> seconds until the next frame is"""
    while queue:
        wait = queue[0][0] - time.monotonic()
        if wait > 0:
            return wait
        passed["frames"] += 1
        passed["late"] += -wait > LATE
        try:
            sock.send(queue.popleft()[1])
        except OSError:
            pass                                        # an interface that went away, or a full queue: lost, as on any line
    return 1.0


def end(*_):
    print("%(frames)d frames, %(late)d late" % passed, flush=True)
    sys.exit(0)


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, end)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))        # it sleeps, or moves one frame
    except OSError:
        pass                                            # the count of late frames tells whether it was needed
    ends, delay = [line(name) for name in sys.argv[1:3]], float(sys.argv[3]) / 1000
    queues = {sock: collections.deque() for sock in ends}
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    wait = 1.0
    while True:
        ready, _, _ = select.select(ends, [], [], wait)
        for sock in ready:
            take(sock, queues[sock], delay)
        wait = min(give(other[sock], queues[sock]) for sock in ends)


if __name__ == "__main__":
    main()
