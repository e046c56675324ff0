"""The kinds of capture: which tasks the clients play, and what the model servers do to them.

A kind is a function that fills a Script. A task is what one application does: steps in sequence or at once, perhaps
again from the start when one failed (`runs`). A step is a call: retried by the SDK, by a naive loop, hedged, given up.
All times are seconds. What is random comes from the seed.
"""
import random

PY, H2 = ("py", "py", "pysync", "node", "aiohttp", "litellm"), ("py-h2", "node-h2", "httpx-h2", "curl-h2")
CHAT = ("openai", "anthropic", "internal")


class Script:
    """Collects tasks, faults and the ways of the servers."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.tasks, self.faults, self.windows, self.runs = [], {}, [], {}
        self.rtt, self.tls = 20, {}
        self.calls = 0
        self.endpoints = {
            "openai": dict(api="openai", first_s=(0.06, 0.5), token_s=(0.008, 0.022), pad=16),
            "anthropic": dict(api="anthropic", first_s=(0.08, 0.6), token_s=(0.007, 0.02), tokens_a_chunk=(1, 4)),
            "internal": dict(api="openai", first_s=(0.03, 0.2), token_s=(0.006, 0.014), model="llama-3.3-70b"),
            "embed": dict(api="openai", first_s=(0.02, 0.09), token_s=(0.01, 0.01)),
            "tools": dict(api="openai", first_s=(0.02, 0.3), token_s=(0.008, 0.02)),
            "pool": dict(api="openai", first_s=(0.03, 0.3), token_s=(0.008, 0.02), model="qwen3-32b"),
            "gw": dict(api="openai", first_s=(0.06, 0.5), token_s=(0.008, 0.02)),
            "plain": dict(api="openai", first_s=(0.03, 0.2), token_s=(0.006, 0.014), model="llama-3.1-8b"),
        }

    def call(self, ep, kind="chat_s", faults=(), **more):
        """A call to an endpoint. -> the step"""
        r = self.random
        usual = (25, 120) if kind == "chat" else (8, 60)
        step = dict(id=self.calls, ep=ep, kind=kind, prompt=int(r.lognormvariate(6.6, 0.9)) + 60,
                    tokens=r.randint(*usual),
                    retries=2, naive=[], timeout=60.0)
        step.update(more)
        if faults:
            self.faults[str(self.calls)] = list(faults)
        self.calls += 1
        return step

    def task(self, at, lib, steps, **more):
        """What an application does from `at` on, through one library."""
        task = dict(at=round(at, 3), lib=lib, client=len(self.tasks) % 4,
                    conn=self.random.choice(("shared", "shared", "own")), mode="seq",
                    runs=1, gap=0.0, restart_gap=0.3, steps=steps, pattern=more.pop("pattern", steps[0]["kind"]))
        task.update(more)
        self.tasks.append(task)

    def one(self, at, lib, ep, kind="chat_s", conn=None, client=None, **more):
        where = {k: v for k, v in (("conn", conn), ("client", client)) if v is not None}
        self.task(at, lib, [self.call(ep, kind, **more)], **where)

    def background(self, count, start, end, libs=PY, eps=CHAT):
        """Ordinary calls that nothing befalls."""
        for n in range(count):
            ep = self.random.choice((*eps, *eps, "embed", "tools")) if eps == CHAT else self.random.choice(eps)
            kind = {"embed": "embed", "tools": "tool"}.get(ep) or self.random.choice(("chat_s", "chat_s", "chat"))
            self.one(start + (end - start) * (n + self.random.random()) / count, self.random.choice(libs), ep, kind)

    def naive(self, count, low=0.0, high=0.1):
        return [round(self.random.uniform(low, high), 4) for _ in range(count)]


def status(code, **more):
    return dict(kind="status", code=code, **more)


RESET, SILENCE = dict(kind="reset_before"), dict(kind="silence")


def cut(after, by):
    return dict(kind="cut", after=after, by=by)


def stall(after, s, **more):
    return dict(kind="stall", after=after, s=s, **more)


def healthy(s):
    """Nothing goes wrong: chats, agents with tools, embeddings, small fan-outs, over all libraries."""
    s.background(70, 0, 18, libs=PY + ("curl", "py-h2", "node-h2"))
    for n in range(6):                                        # agents: a chat, a tool, a chat
        steps = [x for _ in range(s.random.randint(2, 4)) for x in (s.call(CHAT[n % 3], prompt=600 + 400 * _),
                                                                    s.call("tools", "tool"))]
        s.task(1 + 2.3 * n, ("py", "node")[n % 2], steps, gap=0.05, pattern="agent")
    for n in range(3):
        s.task(4 + 4 * n, ("py", "node")[n % 2], [s.call(CHAT[n]) for _ in range(6)], mode="par", pattern="fanout")


def storm(s):
    """Naive loops beat on 429, 500, 503, 529 and resets; SDKs honour Retry-After or back off by themselves."""
    s.background(30, 0, 18, libs=PY + ("curl", "py-h2", "node-h2"))
    kinds = [status(429), status(503), RESET, status(529), status(500), status(429, html=4000)]
    for n in range(22):
        ep = (*CHAT, "embed", "gw")[n % 5]
        kind = "embed" if ep == "embed" else s.random.choice(("chat_s", "chat"))
        faults = [kinds[n % 6]] * s.random.randint(2, 8)
        if n % 3 == 0:                                        # a storm of several kinds
            faults = [s.random.choice(kinds[:5]) for _ in range(s.random.randint(2, 6))]
        s.one(1 + 0.7 * n, s.random.choice(("py", "aiohttp", "node", "pysync", "node-h2", "httpx-h2")), ep, kind,
              faults=faults, retries=0, naive=s.naive(10, 0, (0.08, 0.4)[n % 2]))
    for n in range(16):
        code = (429, 503, 529, 500)[n % 4]
        told = dict(retry_after=s.random.choice((1, 2))) if n % 2 else {}
        s.one(1.3 + 0.85 * n, ("py", "node", "litellm", "pysync", "py-h2")[n % 5], CHAT[n % 3],
              s.random.choice(("chat_s", "chat")), faults=[status(code, **told)] * (1 + n % 2))
    for n in range(4):
        s.one(3 + 3 * n, "curl", ("openai", "internal")[n % 2], "chat", faults=[status(503)] * (1 + n % 2), retries=3)


def timeouts(s):
    """Clients with less patience than the servers' queues need: SDK time-outs with retries, naive ones, some that give up."""
    s.endpoints["internal"].update(slots=3, first_s=(0.3, 1.2))
    s.background(40, 0, 20, libs=PY)
    for n in range(26):
        ep = CHAT[n % 3]
        slow = [dict(kind="slow", s=s.random.uniform(2.5, 6))] * s.random.randint(1, 3)
        timeout = s.random.choice((0.6, 1.0, 1.5, 2.0))
        naive = s.naive(4, 0, 0.2) if n % 3 == 2 else []
        libs = ("py", "pysync", "node", "litellm") + (("aiohttp",) if naive else ())
        s.one(0.6 + 0.7 * n, s.random.choice(libs), ep, s.random.choice(("chat_s", "chat")), faults=slow, timeout=timeout,
              retries=0 if naive else 2, naive=naive)
    for n in range(8):                                        # never answered
        s.one(2 + 2 * n, ("py", "node", "pysync", "curl")[n % 4], CHAT[n % 3], faults=[SILENCE] * 2, timeout=1.2,
              retries=2)
    for n in range(8):                                        # a stall inside the stream, longer than the patience
        s.one(1.5 + 2 * n, ("py", "node", "aiohttp", "pysync")[n % 4], CHAT[n % 3], tokens=50,
              faults=[stall(s.random.randint(5, 30), 8)], timeout=1.5, retries=0)


def aborts(s):
    """Streams and plain calls given up at any moment, over every library."""
    s.background(40, 0, 20, libs=PY + ("curl", "py-h2", "node-h2"))
    libs = ("py", "pysync", "node", "aiohttp", "litellm", "curl", "py-h2", "node-h2", "curl-h2")
    for n in range(54):
        ep = (*CHAT, "gw")[n // 9 % 4] if n % 5 == 4 else CHAT[n // 9 % 3]
        s.one(0.4 + 0.35 * n, libs[n % 9], ep, tokens=s.random.randint(60, 140),
              cancel=dict(after=s.random.randint(2, 40)))
    for n in range(14):                                       # before the first byte, or while a plain answer is computed
        s.one(1 + 1.3 * n, ("py", "node", "aiohttp", "curl")[n % 4], CHAT[n % 3], ("chat_s", "chat")[n % 2], tokens=150,
              cancel=dict(s=s.random.uniform(0.2, 1.2)),
              faults=[dict(kind="slow", s=2.5)])
    for n in range(8):                                        # by the clock, in the middle of a stream
        s.one(2 + 2 * n, ("py", "node", "curl", "aiohttp")[n % 4], CHAT[n % 3], tokens=200,
              cancel=dict(s=s.random.uniform(0.9, 1.8)))


def stalls(s):
    """Silence inside streams, silent thinking before them, comments that keep a connection warm, endpoints that say nothing."""
    s.background(35, 0, 20, libs=PY + ("py-h2", "node-h2"))
    for n in range(18):
        s.one(0.5 + 0.9 * n, s.random.choice(PY), CHAT[n % 3], tokens=s.random.randint(30, 60),
              faults=[stall(s.random.randint(3, 25), s.random.uniform(0.9, 5))])
    for n in range(8):                                        # not a stall: comments every so often
        s.one(1 + 1.6 * n, s.random.choice(PY), CHAT[n % 2], tokens=40,
              faults=[dict(kind="think", s=s.random.uniform(1.5, 4), comment_s=s.random.choice((0.25, 0.4)))])
    for n in range(8):                                        # thinks after the first event, in silence
        s.one(1.4 + 1.6 * n, s.random.choice(PY), CHAT[n % 3], tokens=40,
              faults=[dict(kind="think", s=s.random.uniform(1.5, 4))])
    for n in range(8):                                        # a late first byte
        s.one(2 + 1.7 * n, s.random.choice(PY), CHAT[n % 3], faults=[dict(kind="slow", s=s.random.uniform(2, 5))])
    for n in range(6):                                        # stalls that the user does not wait for
        s.one(3 + 2 * n, ("py", "node", "aiohttp")[n % 3], CHAT[n % 3], tokens=50, faults=[stall(10, 9)],
              cancel=dict(s=s.random.uniform(2.5, 4)))


def lookalike(s):
    """Batches whose prompts have one template: equal lengths everywhere, several workers, retries in their midst."""
    for batch in range(5):
        ep, lib = (*CHAT, "embed", "tools")[batch], ("py", "node", "pysync", "aiohttp", "py")[batch]
        size, client = s.random.randint(300, 2500), batch % 4
        kind = {"embed": "embed", "tools": "tool"}.get(ep, "chat")
        for worker in range(s.random.randint(2, 5)):
            steps = []
            for n in range(9):
                faults = []
                if s.random.random() < 0.2:
                    faults = [s.random.choice((status(429), status(503), status(500)))] * s.random.choice((1, 1, 2))
                naive = s.naive(4, 0.02, 0.5) if batch % 2 else []
                steps.append(s.call(ep, kind, prompt=size + s.random.choice((0, 0, 0, 1, 2)),
                                    tokens=s.random.randint(10, 30), faults=faults, retries=0 if naive else 2,
                                    naive=naive))
            s.task(0.5 + 2.2 * batch + 0.11 * worker, lib, steps, client=client, conn="own",
                   gap=s.random.choice((0.0, 0.02)), pattern="batch_template")


def restarts(s):
    """Workflows that begin again from the start when a step has failed."""
    s.background(25, 0, 22, libs=PY)
    for n in range(12):
        eps = [s.random.choice((*CHAT, "tools", "embed")) for _ in range(s.random.randint(3, 6))]
        steps = [s.call(ep, {"tools": "tool", "embed": "embed"}.get(ep) or s.random.choice(("chat_s", "chat")),
                        retries=0, tokens=s.random.randint(10, 40)) for ep in eps]
        bad = s.random.randrange(1, len(steps))
        s.faults[str(steps[bad]["id"])] = [s.random.choice((status(500), status(503),
                                                            status(500, html=3000)))] * s.random.randint(1, 3)
        s.task(0.5 + 1.2 * n, ("py", "node", "aiohttp", "pysync")[n % 4], steps, runs=4,
               restart_gap=s.random.choice((0.1, 0.5, 1.5)), gap=0.02, pattern="agent")


def hedge(s):
    """The same request again while the first runs; the first answer wins, the loser is cancelled or left to finish."""
    s.background(50, 0, 20, libs=PY)
    for n in range(44):
        ep, slow = CHAT[n % 3], s.random.random() < 0.6
        more = dict(hedge=dict(s=s.random.choice((0.2, 0.3, 0.5, 0.8)), loser=("cancel", "cancel", "leave")[n % 3]))
        s.one(0.5 + 0.42 * n, ("py", "node", "aiohttp", "py", "litellm")[n % 5], ep,
              s.random.choice(("chat_s", "chat_s", "chat")), retries=0,
              faults=[dict(kind="slow", s=s.random.uniform(0.9, 2.5))] if slow else [], **more)


def hedge_h2(s):
    """Hedges on HTTP/2, beside ordinary calls."""
    s.background(30, 0, 18, libs=("py-h2", "node-h2"), eps=("openai", "anthropic"))
    for n in range(24):
        s.one(0.5 + 0.7 * n, ("py-h2", "node-h2")[n % 2], ("openai", "anthropic")[n // 2 % 2],
              s.random.choice(("chat_s", "chat")), retries=0,
              faults=[dict(kind="slow", s=s.random.uniform(0.9, 2))],
              hedge=dict(s=s.random.choice((0.3, 0.5)), loser=("cancel", "leave")[n % 2]))


def gateway(s):
    """Everything through a gateway that buffers and compresses."""
    s.background(60, 0, 18, libs=PY + ("curl", "py-h2"), eps=("gw",))
    for n in range(14):
        s.one(1 + n, s.random.choice(("py", "node", "pysync", "aiohttp")), "gw", s.random.choice(("chat", "chat_s")),
              faults=[s.random.choice((status(503), status(429), RESET))] * s.random.randint(1, 3),
              retries=0, naive=s.naive(5, 0, 0.3))
    for n in range(14):
        s.one(1.5 + n, ("py", "node", "aiohttp", "curl")[n % 4], "gw", tokens=120,
              cancel=dict(s=s.random.uniform(0.3, 1.6)))
    for n in range(6):
        s.one(2 + 2 * n, ("py", "node")[n % 2], "gw", faults=[dict(kind="slow", s=4)], timeout=1.0, retries=1)


def mix(s, scale=1.0, libs=PY):
    """A little of all that goes wrong."""
    s.background(int(40 * scale), 0, 18, libs=libs)
    own = [lib for lib in libs if lib not in ("curl", "litellm")]
    for n in range(int(10 * scale)):
        s.one(1 + 1.3 * n, s.random.choice(own), CHAT[n % 3], s.random.choice(("chat", "chat_s")),
              faults=[(status(429), status(503), RESET, status(529), status(500))[n % 5]] * s.random.randint(1, 5),
              retries=0, naive=s.naive(7, 0, 0.3))
    for n in range(int(8 * scale)):
        s.one(1.2 + 1.5 * n, s.random.choice(own), CHAT[n % 3], faults=[status(429, retry_after=1)] * (1 + n % 2))
    for n in range(int(14 * scale)):
        s.one(1.4 + 1.1 * n, s.random.choice(own), CHAT[n % 3], tokens=90, cancel=dict(after=s.random.randint(3, 30)))
    for n in range(int(5 * scale)):
        s.one(2 + 2.5 * n, s.random.choice(own), CHAT[n % 3], tokens=36,
              faults=[cut(s.random.randint(5, 25), ("rst", "fin")[n % 2])], retries=0)
    for n in range(int(5 * scale)):
        s.one(2.3 + 2.5 * n, s.random.choice(own), CHAT[n % 3], tokens=36,
              faults=[stall(s.random.randint(5, 25), s.random.uniform(1, 3))])
    for n in range(int(6 * scale)):
        s.one(2.6 + 2.2 * n, s.random.choice(own), CHAT[n % 3], faults=[dict(kind="slow", s=4)], timeout=1.2, retries=1)


def tls12(s):
    """TLS 1.2 with AES-GCM: explicit nonces, no hidden content type."""
    s.tls = dict(max="1.2", ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256", python="ECDHE+AESGCM")
    mix(s, libs=PY + ("curl", "node"))


def tls12_chacha(s):
    """TLS 1.2 with ChaCha20-Poly1305, HTTP/1.1 and some HTTP/2."""
    s.tls = dict(max="1.2", ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305", python="ECDHE+CHACHA20")
    mix(s, libs=PY + ("py-h2", "node-h2"))


def far(s):
    """80 ms away."""
    s.rtt = 80
    mix(s, 1.2, libs=PY + ("py-h2", "node-h2"))


def shapes(s):
    """Other parameters: HTML error pages, one-word answers, huge streams, chunks of many tokens, padding, late first tokens,
    wide embeddings."""
    r = s.random
    s.endpoints["openai"].update(pad="random", tokens_a_chunk=(1, 1))
    s.endpoints["anthropic"].update(tokens_a_chunk=(8, 24), first_s=(2, 4))
    s.endpoints["internal"].update(tokens_a_chunk=(2, 6), role_chunk=False)
    s.endpoints["embed"].update(dimensions=3072)
    s.endpoints["tools"].update(tool_bytes=(20, 30000))
    s.background(30, 0, 20)
    for n in range(12):
        s.one(0.5 + 1.3 * n, r.choice(PY), CHAT[n % 3], ("chat", "chat_s")[n % 2], tokens=r.randint(1, 3))
    for n in range(5):
        s.one(1 + 2 * n, r.choice(PY), CHAT[n % 3], tokens=r.randint(300, 600))
    for n in range(8):
        s.one(1 + 1.5 * n, r.choice(("py", "node")), "embed", "embed", inputs=r.choice((1, 2, 5)))
    for n in range(18):
        ep = (*CHAT, "embed", "tools", "gw")[n % 6]
        kind = {"embed": "embed", "tools": "tool"}.get(ep) or r.choice(("chat", "chat_s"))
        s.one(1 + 0.8 * n, r.choice(("py", "node", "aiohttp")), ep, kind,
              faults=[status(r.choice((429, 500, 502, 503)), html=r.randint(3000, 6000))] * r.randint(1, 4),
              retries=0, naive=s.naive(5, 0, 0.4))
    for n in range(9):
        s.one(2 + 1.5 * n, ("py", "node", "aiohttp")[n % 3], CHAT[n % 3], tokens=200, cancel=dict(after=r.randint(3, 12)))


def h2_seq(s):
    """HTTP/2, one request at a time on a connection."""
    for n in range(16):
        lib, ep = H2[n % 4], ("openai", "anthropic", "tools", "embed")[n // 4 % 4]
        steps = []
        for k in range(s.random.randint(4, 8)):
            kind = {"embed": "embed", "tools": "tool"}.get(ep) or s.random.choice(("chat_s", "chat"))
            faults = [s.random.choice((status(429), status(503), status(500, html=3500),
                                       status(529)))] * s.random.choice((1, 2)) if s.random.random() < 0.2 else []
            step = s.call(ep, kind, faults=faults, tokens=s.random.randint(10, 50))
            if lib in ("httpx-h2", "curl-h2"):
                step.update(retries=0, naive=s.naive(3, 0.05, 0.5))
            elif kind == "chat_s" and s.random.random() < 0.12 and not faults:
                step.update(cancel=dict(after=s.random.randint(2, 8)), tokens=60)
            steps.append(step)
        s.task(0.3 + 0.6 * n, lib, steps, conn="own", gap=0.02, pattern="chat_seq")


def h2_mux(s):
    """HTTP/2, many at once on shared connections, with errors, cuts and cancels."""
    s.background(40, 0, 15, libs=("py-h2", "node-h2"), eps=("openai", "anthropic", "tools"))
    for n in range(10):
        ep, lib = ("openai", "anthropic", "tools")[n % 3], ("py-h2", "node-h2", "httpx-h2")[n % 3]
        steps = []
        for k in range(s.random.randint(4, 16)):
            kind = "tool" if ep == "tools" else s.random.choice(("chat_s", "chat"))
            p = s.random.random()
            faults = [status(s.random.choice((429,
                                              503)))] if p < 0.15 else [cut(8,
                                                                            "rst")] if p < 0.2 and kind == "chat_s" else []
            more = dict(cancel=dict(after=s.random.randint(2, 8)), tokens=60) if p > 0.9 and kind == "chat_s" else {}
            steps.append(s.call(ep, kind, faults=faults,
                                retries=0 if lib == "httpx-h2" or faults and faults[0]["kind"] == "cut" else 2, **more))
        s.task(0.6 + 1.5 * n, lib, steps, mode="par", conn="shared", client=n % 2, pattern="fanout")


def plain(s):
    """An inference server without TLS, on port 8000."""
    libs = ("py", "py", "node", "pysync", "aiohttp", "curl")
    s.background(45, 0, 18, libs=libs, eps=("plain",))
    for n in range(14):
        s.one(1 + n, s.random.choice(("py", "node", "aiohttp")), "plain", s.random.choice(("chat", "chat_s")),
              faults=[(status(503), status(429), RESET, status(500))[n % 4]] * s.random.randint(1, 5),
              retries=0, naive=s.naive(7, 0, 0.3))
    for n in range(8):
        s.one(1.2 + n, ("py", "node")[n % 2], "plain", faults=[status(503)] * (1 + n % 2))
    for n in range(14):
        s.one(1.5 + n, ("py", "node", "aiohttp", "curl")[n % 4], "plain", tokens=120,
              cancel=dict(after=s.random.randint(3, 50)))
    for n in range(5):
        s.one(2 + 2.5 * n, ("py", "node")[n % 2], "plain", tokens=36, faults=[stall(12, s.random.uniform(1, 3))])
    for n in range(5):
        s.one(2.6 + 2.2 * n, ("py", "node")[n % 2], "plain", faults=[dict(kind="slow", s=4)], timeout=1.2, retries=1)


def outage(s):
    """One backend of three behind a balancer fails for a while: errors, resets, then silence."""
    s.endpoints["pool"].update(slots=8)
    s.windows = [{"ep": "pool", "backend": 1, "from": 4, "to": 9, "p": 0.9, "faults": [status(503), status(500), RESET]},
                 {"ep": "pool", "backend": 1, "from": 11, "to": 15, "p": 0.8,
                  "faults": [SILENCE, dict(kind="cut", after=5, by="rst")]}]
    for n in range(95):
        lib = s.random.choice(("py", "py", "node", "pysync", "aiohttp"))
        naive = s.naive(3, 0.05, 0.4) if lib == "aiohttp" or n % 5 == 0 else []
        s.one(0.3 + 0.18 * n, lib, "pool", s.random.choice(("chat_s", "chat", "chat_s")), tokens=s.random.randint(8, 40),
              timeout=2.5, retries=0 if naive else 2, naive=naive)
    s.background(25, 0, 18, libs=("py", "node"))


def fanout(s):
    """Tasks of 20 to 60 parallel calls from one client."""
    for n, (size, lib) in enumerate(((20, "py"), (30, "node"), (60, "py"), (24, "aiohttp"), (40, "py-h2"))):
        ep = ("openai", "internal", "anthropic", "openai", "anthropic")[n]
        steps = []
        for k in range(size):
            faults = [s.random.choice((status(429), status(503)))] if s.random.random() < 0.08 else []
            steps.append(s.call(ep, s.random.choice(("chat", "chat_s")), tokens=s.random.randint(8, 30), faults=faults,
                                retries=0 if lib == "aiohttp" else 2, naive=s.naive(2) if lib == "aiohttp" else []))
        s.task(0.5 + 3.5 * n, lib, steps, mode="par", conn="shared", pattern="fanout")
    s.background(20, 0, 18, libs=("py", "node"))


KINDS = {f.__name__: f for f in (healthy, storm, timeouts, aborts, stalls, lookalike, restarts, hedge, hedge_h2, gateway,
                                 tls12, tls12_chacha, far, shapes,
                                 h2_seq, h2_mux, plain, outage, fanout)}


def build(kind, seed):
    """-> (the plan of the servers, the tasks of the clients, what the wire shall be like)"""
    s = Script("%s/%d" % (kind, seed))
    KINDS[kind](s)
    plan = dict(seed=seed, endpoints=s.endpoints, faults=s.faults, windows=s.windows, runs=s.runs)
    return plan, sorted(s.tasks, key=lambda t: t["at"]), dict(rtt=s.rtt, tls=s.tls)
