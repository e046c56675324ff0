"""A model server (ASGI): OpenAI and Anthropic APIs with made-up answers, faults by plan, and a log of what really happened.

Run by uvicorn or hypercorn, one process an endpoint or backend. The environment names the files: MODEL_PLAN (what the
kind wants, see kinds.py), MODEL_EP (the endpoint's key in the plan), MODEL_BACKEND (its number behind a balancer),
MODEL_LOG (one JSON line a request). Behind an edge the connection is known from the headers X-Real-Addr, X-Real-Port
and X-Real-Proto that the edge sets.
"""
import asyncio
import base64
import json
import os
import random
import socket
import struct
import time

PLAN = json.load(open(os.environ["MODEL_PLAN"]))
EP = os.environ["MODEL_EP"]
BACKEND = int(os.environ.get("MODEL_BACKEND", "0"))
WAYS = PLAN["endpoints"][EP]
LOG = open(os.environ["MODEL_LOG"], "a", buffering=1)
RANDOM = random.Random("%s/%s/%d" % (PLAN["seed"], EP, BACKEND))
SLOTS = asyncio.Semaphore(WAYS.get("slots", 1000))
SEEN = {}
DIGITS = str.maketrans("012aceiost", "0123456789")        # see drive.py
WORDS = ("the of and to in is it for that was on are with as be at one have this from or by hot but some what there we can out "
         "other were all your when up use word how said an each she which their time will way about many then them would "
         "write like these her long make thing see him two has look more day could go come did my sound no most number who "
         "over know water than call first people may down side been now find any new work part take get place made live "
         "where after back little only round man year came show every good me give our under understanding international "
         "communication nevertheless representative infrastructure").split()


def begun():
    """When the clients began, for faults that come by the clock."""
    try:
        return float(open(os.environ["MODEL_PLAN"] + ".t0").read())
    except (OSError, ValueError):
        return time.time()


class Gone(Exception):
    """The client has left."""


class Cut(Exception):
    """The plan wants the connection cut here."""


def fault_of(call, run, number):
    """What this attempt meets: its own fault, or that of the endpoint at this time."""
    own = PLAN["faults"].get(str(call), [])
    index = number + sum(PLAN["runs"].get(str(call), [])[:run])
    if index < len(own):
        return own[index]
    now = time.time() - begun()
    for w in PLAN["windows"]:
        if w["ep"] == EP and w.get("backend",
                                   BACKEND) == BACKEND and w["from"] <= now < w["to"] and RANDOM.random() < w["p"]:
            return RANDOM.choice(w["faults"])
    return None


class Reply:
    """One request from its headers to its end."""

    def __init__(self, scope, receive, send):
        self.scope, self.receive, self.send = scope, receive, send
        self.headers = {k.decode().lower(): v.decode() for k, v in scope["headers"]}
        call, run, att, hedge = (int(x) for x in self.headers["x-lab-call"].translate(DIGITS).split("."))
        sdk = self.headers.get("x-stainless-retry-count")
        address, port = (scope.get("client") or ("", 0))[:2]
        proto = self.headers.get("x-real-proto", scope["http_version"])
        self.row = {
            "ep": EP, "client": self.headers.get("x-real-addr", address),
            "port": int(self.headers.get("x-real-port", port)),
            "http": "2" if "2" in proto.replace("HTTP/", "").split(".")[0] else "1.1", "backend": BACKEND, "call": call,
            "run": run,
            "att": att, "hedge": hedge, "sdk_retry": sdk, "t_hdr": time.time(), "t_body": 0, "t_first": 0, "t_last": 0,
            "t_end": 0,
            "req_hdr": sum(len(k) + len(v) + 4 for k, v in scope["headers"]), "req_body": 0, "resp_body": 0, "status": 0,
            "tokens": 0, "tokens_planned": 0, "chunks": 0, "end": "complete", "fault": None, "note": {}, "queue_s": 0.0,
            "ua": self.headers.get("user-agent", ""), "stream": False, "kind": "chat"}
        seen = SEEN[call, run] = SEEN.get((call, run), -1) + (0 if hedge else 1)
        self.number = max(att + int(sdk or 0), max(0, seen)) + hedge      # a hedge does not meet what holds up the first
        self.gone = None

    # ---- the wire
    async def read(self):
        body = b""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Gone
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.row["t_body"], self.row["req_body"] = time.time(), len(body)
        self.gone = asyncio.create_task(self.await_leave())
        return json.loads(body or b"{}")

    async def await_leave(self):
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def wait(self, seconds):
        """Sleeps, and notices a client that leaves meanwhile."""
        if seconds > 0:
            await asyncio.wait({self.gone}, timeout=seconds)
        if self.gone.done():
            raise Gone

    async def start(self, status, headers):
        self.row["status"] = status
        pairs = [(k.encode(), v.encode()) for k, v in [*headers, ("x-request-id", "req_%016x" % RANDOM.getrandbits(64))]]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})

    async def body(self, data, more=True):
        if self.gone.done() and not (more is False and not data):
            raise Gone
        await self.send({"type": "http.response.body", "body": data, "more_body": more})
        if data:
            now = time.time()
            self.row["t_first"] = self.row["t_first"] or now
            self.row["t_last"], self.row["resp_body"] = now, self.row["resp_body"] + len(data)

    async def whole(self, status, kind, data, more=()):
        await self.start(status, [("content-type", kind), ("content-length", str(len(data))), *more])
        await self.body(data, False)

    def break_off(self, how):
        """Ends the connection under the server's feet: a RST, or a FIN in the midst of the reply."""
        owner = getattr(self.receive, "__self__", None)
        transport = getattr(owner, "transport", None)
        if transport is None:
            raise Cut                                   # hypercorn: an exception ends the stream
        if how == "rst":
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        raise Cut

    # ---- the answers
    async def run(self):
        row = self.row
        try:
            request = await self.read()
            row["stream"] = bool(request.get("stream"))
            path = self.scope["path"]
            row["kind"] = "embed" if "embed" in path else "tool" if "tool" in path else "chat_s" if row["stream"] else "chat"
            wanted = request.get("max_tokens") or request.get("max_completion_tokens") or 40
            self.planned = row["tokens_planned"] = 0 if row["kind"] in ("embed", "tool") else int(wanted)
            began = time.time()
            async with SLOTS:
                row["queue_s"] = round(time.time() - began, 4)
                await self.answer(request)
        except Gone:
            row["end"] = "client_abort"
        except Cut:
            row["end"] = "server_reset"
            if self.gone and getattr(getattr(self.receive, "__self__", None), "transport", None) is None:
                row["t_end"] = time.time()
                raise RuntimeError("cut by plan")
        except OSError:
            row["end"] = "client_abort"
        finally:
            row["t_end"] = row["t_end"] or time.time()
            if self.gone:
                self.gone.cancel()
            LOG.write(json.dumps(row) + "\n")

    async def answer(self, request):
        fault = fault_of(self.row["call"], self.row["run"], self.number) or {}
        self.row["fault"] = fault.get("kind")
        kind = fault.get("kind")
        if kind == "status":
            return await self.error(fault)
        if kind == "silence":
            await self.wait(fault.get("s", 300))
        if kind == "reset_before":
            await self.wait(fault.get("s", 0.03))
            self.break_off("rst")
        low, high = WAYS["first_s"]
        await self.wait(fault["s"] if kind == "slow" else RANDOM.uniform(low, high))
        if self.row["kind"] == "embed":
            await self.embed(request)
        elif self.row["kind"] == "tool":
            size = RANDOM.randint(*WAYS.get("tool_bytes", (300, 2500)))
            await self.whole(200, "application/json", json.dumps({"result": text(size // 5)}).encode())
        elif self.row["stream"]:
            await self.stream(fault)
        else:
            await self.plain()

    async def error(self, fault):
        await self.wait(fault.get("s", RANDOM.uniform(0.002, 0.03)))
        code = fault["code"]
        more = [("retry-after", str(fault["retry_after"]))] if "retry_after" in fault else []
        size = fault.get("html")
        if size:
            page = "<html><head><title>%d</title></head><body>%s</body></html>" % (code, text(size // 5))
            return await self.whole(code, "text/html", page.encode(), more)
        names = {429: "rate_limit_error", 500: "api_error", 503: "overloaded", 529: "overloaded_error"}
        said = {"error": {"message": "%s, request %08x" % (WAYS.get("error_text", "try again later"),
                                                           RANDOM.getrandbits(32)),
                          "type": names.get(code, "error"), "param": None, "code": None}}
        await self.whole(code, "application/json", json.dumps(said).encode(), more)

    async def embed(self, request):
        inputs = request.get("input", "")
        count = len(inputs) if isinstance(inputs, list) else 1
        vector = RANDOM.randbytes(4 * WAYS.get("dimensions", 256))
        data = [{"object": "embedding", "index": n, "embedding": base64.b64encode(vector).decode()} for n in range(count)]
        said = {"object": "list", "data": data, "model": "text-embedding-3-small",
                "usage": {"prompt_tokens": 8, "total_tokens": 8}}
        await self.whole(200, "application/json", json.dumps(said).encode())

    async def plain(self):
        step = sum(WAYS["token_s"]) / 2
        await self.wait(min(WAYS.get("plain_max_s", 6), step * self.planned))
        self.row["tokens"] = self.planned
        said = text(self.planned)
        if WAYS["api"] == "anthropic":
            out = {"id": "msg_01%020d" % RANDOM.getrandbits(64), "type": "message", "role": "assistant",
                   "model": "claude-sonnet-4-5",
                   "content": [{"type": "text", "text": said}], "stop_reason": "end_turn", "stop_sequence": None,
                   "usage": {"input_tokens": self.row["req_body"] // 4, "output_tokens": self.planned}}
        else:
            out = {"id": "chatcmpl-%024x" % RANDOM.getrandbits(96), "object": "chat.completion",
                   "created": int(time.time()), "model": "gpt-5-mini",
                   "choices": [{"index": 0, "message": {"role": "assistant", "content": said, "refusal": None},
                                "logprobs": None, "finish_reason": "stop"}],
                   "usage": {"prompt_tokens": self.row["req_body"] // 4, "completion_tokens": self.planned,
                             "total_tokens": self.planned}}
        await self.whole(200, "application/json", json.dumps(out).encode())

    async def stream(self, fault):
        await self.start(200, [("content-type", "text/event-stream"), ("cache-control", "no-cache")])
        form = Anthropic(self) if WAYS["api"] == "anthropic" else OpenAI(self)
        for event in form.prelude():
            await self.body(event)
        if fault.get("kind") == "think":
            await self.silent(fault)
        left, low, high = self.planned, *WAYS["token_s"]
        while left:
            count = min(left, RANDOM.randint(*WAYS.get("tokens_a_chunk", (1, 1))))
            await self.wait(sum(RANDOM.uniform(low, high) for _ in range(count)))
            if fault.get("kind") == "stall" and self.row["tokens"] >= fault["after"] and "stall_s" not in self.row["note"]:
                await self.silent(fault)
            if fault.get("kind") == "cut" and self.row["tokens"] >= fault["after"]:
                await asyncio.sleep(0.06)
                self.break_off(fault["by"])
            await self.body(form.delta(text(count, self.row["tokens"] == 0)))
            left -= count
            self.row["tokens"] += count
            self.row["chunks"] += 1
        for event in form.ending():
            await self.body(event)
        await self.body(b"", False)

    async def silent(self, fault):
        """A pause in a stream: silent, or with comments that keep the connection warm."""
        if fault["kind"] == "stall":
            self.row["note"] = {"stall_s": fault["s"], "stall_t": time.time()}
        every = fault.get("comment_s")
        end = time.time() + fault["s"]
        while every and time.time() + every < end:
            await self.wait(every)
            comment = b": OPENROUTER PROCESSING\n\n" if WAYS["api"] == "openai" else b'event: ping\ndata: {"type": "ping"}\n\n'
            await self.body(comment)
        await self.wait(end - time.time())


class OpenAI:
    """Chunks of chat completions."""

    def __init__(self, reply):
        self.id = "chatcmpl-%024x" % RANDOM.getrandbits(96)
        self.created, self.reply = int(time.time()), reply

    def event(self, delta, reason=None):
        said = {"id": self.id, "object": "chat.completion.chunk", "created": self.created,
                "model": WAYS.get("model", "gpt-5-mini"),
                "service_tier": "default", "system_fingerprint": "fp_44709d6fcb",
                "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        pad = WAYS.get("pad")
        if pad == "random":
            said["obfuscation"] = "x" * RANDOM.randint(1, 16)
        elif pad:
            plain = len(json.dumps(delta))
            said["obfuscation"] = "x" * (pad - plain % pad)
        return b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"

    def prelude(self):
        return [self.event({"role": "assistant", "content": "", "refusal": None})] if WAYS.get("role_chunk", True) else []

    def delta(self, said):
        return self.event({"content": said})

    def ending(self):
        return [self.event({}, "stop"), b"data: [DONE]\n\n"]


class Anthropic:
    """Events of messages."""

    def __init__(self, reply):
        self.reply = reply

    def event(self, name, **more):
        return ("event: %s\ndata: %s\n\n" % (name, json.dumps({"type": name, **more}, separators=(",", ":")))).encode()

    def prelude(self):
        message = {"id": "msg_01%020d" % RANDOM.getrandbits(64), "type": "message", "role": "assistant",
                   "model": "claude-sonnet-4-5", "content": [],
                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 1}}
        return [self.event("message_start", message=message),
                self.event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
                self.event("ping")]

    def delta(self, said):
        return self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": said})

    def ending(self):
        return [self.event("content_block_stop", index=0),
                self.event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None},
                usage={"output_tokens": self.reply.row["tokens"]}), self.event("message_stop")]


def text(count, first=True):
    said = " ".join(RANDOM.choice(WORDS) for _ in range(max(1, count)))
    return said if first else " " + said


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    reply = None
    if not any(k.lower() == b"x-lab-call" for k, _ in scope["headers"]):        # a look at whether the server is up
        await send({"type": "http.response.start", "status": 204, "headers": []})
        return await send({"type": "http.response.body", "body": b""})
    reply = Reply(scope, receive, send)
    await reply.run()
