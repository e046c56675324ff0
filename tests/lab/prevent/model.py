"""A model server with finite slots (ASGI, under uvicorn): a queue, prefill and decode times, faults, and a log of the truth.

The environment names the files: PREVENT_PLAN (a scenario, see scenarios.py), PREVENT_REPLICA (which of its servers this
is), PREVENT_LOG (one JSON line a request). What it does when a client leaves is the plan's: `finish` works on, `reset`
stops when the connection was reset and does not notice a FIN, as a server does that reads nothing while it works.
"""
import asyncio
import collections
import json
import os
import random
import select
import time

PLAN = json.load(open(os.environ["PREVENT_PLAN"]))
REPLICA = int(os.environ["PREVENT_REPLICA"])
SERVER = PLAN["server"]
LOG = open(os.environ["PREVENT_LOG"], "a", buffering=1)
RANDOM = random.Random("server %d" % REPLICA)
TOKENS_A_CHUNK = 6
LOOK_EVERY_S = 0.05
BEGUN = os.environ["PREVENT_PLAN"] + ".t0"


def now():
    """Seconds since the clients began; before that, less than none."""
    try:
        return time.time() - float(open(BEGUN).read())
    except (OSError, ValueError):
        return -1.0


def fault(kind):
    """The fault of this kind that is on here, if there is one."""
    at = now()
    return next((f for f in PLAN["faults"] if f["kind"] == kind and f["at"] <= at < f["to"] and
                 f.get("replica", REPLICA) == REPLICA), None)


class Slots:
    """What is worked on at once, and who waits, in order of arrival."""

    def __init__(self):
        self.working, self.waiting = 0, collections.deque()

    def limit(self):
        cut = fault("cut")
        return cut["slots"] if cut else SERVER["slots"]

    async def take(self):
        if self.working < self.limit() and not self.waiting:
            self.working += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self):
        self.working -= 1
        self.serve()

    def serve(self):
        while self.waiting and self.working < self.limit():
            turn = self.waiting.popleft()
            if not turn.done():
                self.working += 1
                turn.set_result(None)

    async def watch(self):
        """Slots come back when a cut is over."""
        while True:
            self.serve()
            await asyncio.sleep(LOOK_EVERY_S)


class Quota:
    """Requests a second that are let through."""

    def __init__(self, rule):
        self.rule, self.tokens, self.at = rule, rule["burst"] if rule else 0, time.monotonic()

    def admits(self):
        if not self.rule:
            return True
        at = time.monotonic()
        self.tokens = min(self.rule["burst"], self.tokens + (at - self.at) * self.rule["per_s"])
        self.at = at
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


SLOTS, QUOTA = Slots(), Quota(SERVER.get("quota"))


class Reply:
    """One request from its headers to its end."""

    def __init__(self, scope, receive, send):
        headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        self.receive, self.send_event = receive, send
        self.id = "chatcmpl-%016x" % RANDOM.getrandbits(64)
        self.row = dict(call=int(headers["x-lab-call"]), id=self.id, replica=REPLICA, at=round(now(), 4), queued_s=0.0,
                        status=0, tokens=0, slot_s=0.0, end="complete")
        owner = getattr(receive, "__self__", None)
        self.transport = getattr(owner, "transport", None)

    async def run(self):
        body = b""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                self.row["end"] = "left"
                return self.log()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        work = asyncio.create_task(self.answer(json.loads(body)))
        watch = asyncio.create_task(self.reset()) if SERVER["leave"] == "reset" else None
        await asyncio.wait({work, watch} - {None}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            self.row["end"] = "reset"
            work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        if watch:
            watch.cancel()
            self.transport.resume_reading()
        self.log()

    def log(self):
        LOG.write(json.dumps(self.row) + "\n")

    async def reset(self):
        """Returns when the connection was reset; what a client merely closes is not read meanwhile."""
        self.transport.pause_reading()
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), 0)
        while not any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            await asyncio.sleep(LOOK_EVERY_S)

    async def answer(self, request):
        if not QUOTA.admits():
            again = str(SERVER["quota"]["retry_after"])
            return await self.whole(429, {"error": {"message": "rate limit reached", "type": "requests"}}, again)
        silence = fault("silence")
        if silence:
            await asyncio.sleep(max(0.0, silence["to"] - now()) + 10)
        arrived = time.monotonic()
        await SLOTS.take()
        began = time.monotonic()
        self.row["queued_s"] = round(began - arrived, 4)
        try:
            await self.work(request)
        finally:
            self.row["slot_s"] = round(time.monotonic() - began, 4)
            SLOTS.give()

    async def work(self, request):
        await asyncio.sleep(SERVER["prefill_s"] * RANDOM.uniform(0.8, 1.2))
        wanted, stream = request["max_tokens"], request.get("stream")
        if stream:
            await self.start(200, [(b"content-type", b"text/event-stream")])
        while self.row["tokens"] < wanted:
            count = min(TOKENS_A_CHUNK, wanted - self.row["tokens"])
            await asyncio.sleep(SERVER["token_s"] * count)
            self.row["tokens"] += count
            if stream:
                await self.body(self.event({"content": "word " * count}))
        if not stream:
            message = {"role": "assistant", "content": "word " * wanted}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 1, "completion_tokens": wanted, "total_tokens": wanted + 1}
            return await self.whole(200, self.document("chat.completion", choice) | {"usage": usage})
        await self.body(self.event({}, "stop") + b"data: [DONE]\n\n")
        await self.body(b"", False)

    def document(self, kind, choice):
        return {"id": self.id, "object": kind, "created": 1, "model": "lab", "choices": [choice]}

    def event(self, delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return b"data: " + json.dumps(self.document("chat.completion.chunk", choice)).encode() + b"\n\n"

    async def start(self, status, headers):
        self.row["status"] = status
        await self.send_event({"type": "http.response.start", "status": status, "headers": headers})

    async def body(self, data, more=True):
        await self.send_event({"type": "http.response.body", "body": data, "more_body": more})

    async def whole(self, status, document, retry_after=None):
        data = json.dumps(document).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        if retry_after:
            headers.append((b"retry-after", retry_after.encode()))
        await self.start(status, headers)
        await self.body(data, False)


async def lifespan(receive, send):
    watch = None
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            watch = asyncio.create_task(SLOTS.watch())
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            watch.cancel()
            return


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return await lifespan(receive, send)
    if not any(key.lower() == b"x-lab-call" for key, _ in scope["headers"]):        # a look at whether it is up
        await send({"type": "http.response.start", "status": 204, "headers": []})
        return await send({"type": "http.response.body", "body": b""})
    await Reply(scope, receive, send).run()
