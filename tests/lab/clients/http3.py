#!/usr/bin/env python3
"""A real HTTP/3 client and server (aioquic) with a path of 20 ms between them, and the truth of every request.

    http3.py --truth TRUTH.jsonl [--seed N] [--requests N]

Streamed and plain answers of a model, errors, one after the other on each connection, with pauses and without; one
connection asks several things at once, one gives up in the middle. Everything runs on 127.0.0.1: the server on port
4443, the path on port 443. Exit 0 when every request was played, 1 on an error, 4 on wrong usage.
"""
import argparse
import asyncio
import datetime
import json
import random
import ssl
import sys
import time

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = "api.openai.test"
PATH, SERVER = ("127.0.0.1", 443), ("127.0.0.1", 4443)
ONE_WAY = 0.010


def certificate():
    """-> (certificate, key) for NAME, by itself"""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=30))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
    return builder.sign(key, hashes.SHA256()), key


class Path(asyncio.DatagramProtocol):
    """Carries datagrams to the server and back, each ONE_WAY later. A client has a socket of its own behind it."""

    def __init__(self):
        self.behind, self.front = {}, None

    def connection_made(self, transport):
        self.front = transport

    def datagram_received(self, data, client):
        asyncio.get_running_loop().call_later(ONE_WAY, self.on, data, client)

    def on(self, data, client):
        if client in self.behind:
            self.behind[client].sendto(data)
        else:
            asyncio.ensure_future(self.open(data, client))

    async def open(self, data, client):
        path = self

        class Back(asyncio.DatagramProtocol):
            def datagram_received(self, answer, _):
                asyncio.get_running_loop().call_later(ONE_WAY, path.front.sendto, answer, client)

        loop = asyncio.get_running_loop()
        self.behind[client], _ = await loop.create_datagram_endpoint(Back, remote_addr=SERVER)
        self.behind[client].sendto(data)


class Model(QuicConnectionProtocol):
    """The server: answers as its request says."""

    def __init__(self, *args, truth=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.bodies, self.truth = None, {}, truth

    def quic_event_received(self, event: QuicEvent):
        self.http = self.http or H3Connection(self._quic)
        for got in self.http.handle_event(event):
            if isinstance(got, HeadersReceived):
                self.bodies[got.stream_id] = [time.time(), b""]
            if isinstance(got, DataReceived):
                self.bodies[got.stream_id][1] += got.data
            if getattr(got, "stream_ended", False):
                began, body = self.bodies.pop(got.stream_id)
                asyncio.ensure_future(self.answer(got.stream_id, began, json.loads(body)))

    async def answer(self, stream, began, asked):
        row = dict(asked["plan"], t_hdr=began, t_first=0, status=asked["plan"]["status"])
        await asyncio.sleep(asked["plan"]["think"])
        events = asked["plan"]["events"]
        kind = b"text/event-stream" if events else b"application/json"
        self.send(row, lambda: self.http.send_headers(stream, [
            (b":status", str(row["status"]).encode()), (b"content-type", kind), (b"x-request-id", b"%016x" % stream)]))
        for n in range(events):
            piece = b'data: {"id":"c","choices":[{"delta":{"content":"%s"}}]}\n\n' % (b"w" * (3 + n % 7))
            self.send(row, lambda: self.http.send_data(stream, piece, False))
            await asyncio.sleep(asked["plan"]["gap"])
        rest = b"data: [DONE]\n\n" if events else b"x" * asked["plan"]["bytes"]
        self.send(row, lambda: self.http.send_data(stream, rest, True))
        self.truth.append(dict(row, t_end=time.time()))

    def send(self, row, act):
        try:
            act()
        except Exception:           # the client has left, or has stopped the stream
            return
        row["t_first"] = row["t_first"] or time.time()
        self.transmit()


class Client(QuicConnectionProtocol):
    """The client: one request at a time, or several."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.waiting = None, {}

    def quic_event_received(self, event: QuicEvent):
        self.http = self.http or H3Connection(self._quic)
        for got in self.http.handle_event(event):
            if getattr(got, "stream_ended", False) and got.stream_id in self.waiting:
                self.waiting.pop(got.stream_id).set_result(None)

    async def ask(self, plan, give_up=None):
        self.http = self.http or H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        body = json.dumps({"plan": plan, "prompt": "p" * plan["prompt"]}).encode()
        done = self.waiting[stream] = asyncio.get_running_loop().create_future()
        self.http.send_headers(stream, [
            (b":method", b"POST"), (b":scheme", b"https"), (b":authority", NAME.encode()),
            (b":path", b"/v1/chat/completions"), (b"content-type", b"application/json"),
            (b"authorization", b"Bearer sk-lab"), (b"user-agent", b"lab/1")])
        self.http.send_data(stream, body, True)
        self.transmit()
        try:
            await asyncio.wait_for(done, give_up)
        except asyncio.TimeoutError:
            self._quic.stop_stream(stream, 0x10c)
            self.transmit()


def plans(chance, count):
    """-> plans of requests; lengths, speeds and errors by chance"""
    for _ in range(count):
        kind = chance.random()
        events = chance.randint(5, 24) if kind < 0.5 else 0
        error = kind > 0.85
        yield {"status": chance.choice([429, 503]) if error else 200, "events": events,
               "think": 0.004 if error else round(chance.uniform(0.05, 0.6), 3), "gap": round(chance.uniform(0.01, 0.06), 3),
               "bytes": chance.randint(90, 300) if error else chance.randint(500, 2400), "prompt": chance.randint(80, 3000)}


async def converse(number, chance, count, configuration):
    """One connection: 0 asks several things at once, 1 gives up once, the others wait for every answer."""
    async with connect(*PATH, configuration=configuration, create_protocol=Client) as client:
        port = client._transport.get_extra_info("sockname")[1]
        todo = [dict(plan, port=port, conn=number, alone=number != 0) for plan in plans(chance, count)]
        if number == 0:
            for at in range(0, len(todo), 3):
                await asyncio.gather(*(client.ask(plan) for plan in todo[at:at + 3]))
        for at, plan in enumerate(todo if number else []):
            left = number == 1 and at == 1
            if left:
                plan.update(events=20, gap=0.05, status=200)
            await client.ask(plan, 0.9 if left else None)
            await asyncio.sleep(chance.choice([0, 0, 0.02, 0.4]))


async def play(chosen):
    chance, truth = random.Random(chosen.seed), []
    cert, key = certificate()
    serving = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
    serving.certificate, serving.private_key = cert, key
    asking = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=NAME, verify_mode=ssl.CERT_NONE)
    await serve(*SERVER, configuration=serving, create_protocol=lambda *a, **k: Model(*a, truth=truth, **k))
    await asyncio.get_running_loop().create_datagram_endpoint(Path, local_addr=PATH)
    await asyncio.gather(*(converse(n, chance, chosen.requests, asking) for n in range(6)))
    await asyncio.sleep(1.5)
    with open(chosen.truth, "w") as out:
        for row in sorted(truth, key=lambda row: row["t_hdr"]):
            out.write(json.dumps({key: row[key] for key in ("port", "conn", "alone", "status", "events", "t_hdr", "t_first", "t_end")}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", metavar="FILE", required=True, help="one JSON line a request")
    parser.add_argument("--seed", type=int, default=1, help="seed of the requests (default 1)")
    parser.add_argument("--requests", type=int, default=9, help="requests a connection (default 9)")
    try:
        asyncio.run(play(parser.parse_args()))
    except SystemExit as stop:
        sys.exit(4 if stop.code else 0)
