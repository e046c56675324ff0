"""The scenarios: which calls the clients make, when, and what the endpoints do to them.

A scenario is a function from a seeded generator to calls; the server's plan is derived from the same calls, so the two
cannot disagree. Every prompt of a scenario has a length of its own (look-alike lengths are another matter: see
captures/lookalike), and the call's faults are listed by attempt, the first first.
"""
import dataclasses
import random


@dataclasses.dataclass
class Call:
    """One call of an application: perhaps several attempts, perhaps given up."""

    id: str
    at: float                   # seconds after the start
    client: int                 # which client address, from 0
    api: str                    # openai | anthropic | internal
    kind: str                   # chat_s (streamed) | chat | embed
    tokens: int
    prompt: int                 # length of the prompt in bytes
    fresh: bool = False         # a connection of its own, instead of the client's pool
    retries: int = 2            # what the SDK is allowed
    naive: list = dataclasses.field(default_factory=list)      # gaps (s) of the application's own retry loop
    cancel: str = ""            # close | task | drop: how the application gives the stream up
    cancel_after: int = 0       # events it reads before that
    give_up: float = 0.0        # seconds after which the application cancels, whatever came
    timeout: float = 30.0
    faults: list = dataclasses.field(default_factory=list)     # by attempt; None = nothing


class Script:
    """Collects the calls of a scenario and gives each an id and a prompt length of its own."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.calls = []
        self.slots = {}
        # 29: an asynchronous SDK's headers are 13 bytes longer than a synchronous one's, and a token count has 2 digits
        self._lengths = [180 + 29 * n for n in range(120)]
        self.random.shuffle(self._lengths)

    def add(self, at, api, kind, **more):
        number = len(self.calls)
        usual = (60, 110) if kind == "chat" else (14, 44)
        call = Call(id="c%03d" % number, at=round(at, 3), client=more.pop("client", number % 4), api=api, kind=kind,
                    tokens=more.pop("tokens", self.random.randint(*usual)), prompt=self._lengths.pop(), **more)
        self.calls.append(call)
        return call

    def background(self, count, start, end, apis=("openai", "anthropic", "internal")):
        """Ordinary calls, spread over a stretch of time: two streams to a plain one, an embedding now and then."""
        for n in range(count):
            api = apis[n % len(apis)]
            kind = "chat" if n % 3 == 2 else "chat_s"
            if api == "openai" and n % 4 == 1:
                kind = "embed"
            at = start + (end - start) * n / count + self.random.uniform(0, 0.15)
            self.add(at, api, kind, fresh=n % 5 == 4)


def status(code, retry_after=None):
    fault = {"kind": "status", "code": code}
    return fault if retry_after is None else dict(fault, retry_after_s=retry_after)


def cut(after, by):
    return {"kind": "cut", "after_tokens": after, "by": by}


def stall(after, ms):
    return {"kind": "stall", "after_tokens": after, "ms": ms}


def slow(ms):
    return {"kind": "slow_first", "ms": ms}


RESET = {"kind": "reset_before"}
SILENCE = {"kind": "silence"}


def healthy(script):
    """Nothing goes wrong: streams, plain answers and embeddings, pools and connections of their own, some at once."""
    script.background(40, 0.0, 8.5)
    for n in range(12):                                       # a small fan-out: twelve calls at one moment
        script.add(4.0, ("openai", "anthropic")[n % 2], "chat_s" if n % 3 else "chat", client=1 + n % 2)


def partial_outage(script):
    """Anthropic answers 503 and 529 for a while, OpenAI resets and cuts; the SDKs retry as they do."""
    script.background(18, 0.0, 9.0)
    errors = [[status(503)], [status(503), status(503)], [status(529)], [status(529), status(503)], [status(500)],
              [status(503)], [status(503), status(503), status(503)], [status(529)]]
    for n, faults in enumerate(errors):
        script.add(2.0 + 0.45 * n, "anthropic", "chat_s" if n % 2 else "chat", faults=faults)
    for n, faults in enumerate([[RESET], [RESET, RESET], [RESET], [RESET], [RESET, status(503)], [RESET]]):
        script.add(2.2 + 0.5 * n, "openai", "embed" if n == 2 else "chat_s" if n % 2 else "chat", faults=faults)
    for n in range(8):
        api = ("openai", "internal", "anthropic")[n % 3]
        fault = cut(script.random.randint(10, 20), ("rst", "fin")[n % 2])
        script.add(2.4 + 0.55 * n, api, "chat_s", tokens=36, faults=[fault], fresh=n == 5)


def retry_storm(script):
    """Loops without back-off beat on 429, 503 and resets, beside clients that know how to wait."""
    script.slots = {"internal": 2}
    script.background(14, 0.0, 8.0)
    kinds = [status(429), status(503), RESET, status(529), status(500)]
    for n in range(14):
        count = script.random.randint(3, 8)
        fault = kinds[n % len(kinds)]
        mixed = n % 4 == 3                                     # some storms see several faults
        faults = [kinds[(n + k) % 3] if mixed else fault for k in range(count)]
        gaps = [round(script.random.uniform(0.0, 0.08), 4) for _ in range(10)]
        api = ("openai", "anthropic", "internal")[n % 3]
        script.add(0.8 + 0.5 * n, api, "chat_s" if n % 3 else "chat", retries=0, naive=gaps, faults=faults)
    for n in range(10):                                       # SDKs: told when to come back, or backing off by themselves
        told = n % 2 == 0
        faults = [status(429, 1 if told else None)] * (1 + n % 2)
        script.add(1.5 + 0.6 * n, ("anthropic", "openai")[n % 2], "chat_s" if n % 3 else "chat", faults=faults)


def late_aborts(script):
    """Streams given up after some events, in each way an application can; tokens keep burning until the server sees it."""
    script.background(14, 0.0, 8.0)
    ways = ("close", "task", "drop")
    for n in range(24):
        api = ("openai", "anthropic", "internal")[n // 3 % 3]
        after = script.random.randint(6, 24)
        script.add(0.3 + 0.36 * n, api, "chat_s", tokens=90, cancel=ways[n % 3], cancel_after=after, fresh=n % 4 == 3)
    for n in range(3):                                        # given up before the first token
        script.add(1.0 + 2.0 * n, ("openai", "anthropic", "internal")[n], "chat_s", faults=[slow(1500)], give_up=0.6)


def stalls(script):
    """Silence inside streams, late first tokens, and endpoints that take a request and say nothing."""
    script.background(10, 0.0, 8.0)
    for n in range(12):
        api = ("openai", "anthropic", "internal")[n % 3]
        fault = stall(script.random.randint(8, 20), script.random.randint(900, 2600))
        script.add(0.4 + 0.6 * n, api, "chat_s", tokens=34, faults=[fault])
    for n in range(3):
        script.add(1.1 + 1.4 * n, ("openai", "anthropic", "internal")[n], "chat_s", faults=[slow(1600)])
    for n in range(3):                                        # the application's patience ends inside the stall
        fault = stall(12, 6000)
        script.add(2.0 + 1.5 * n, ("anthropic", "openai", "internal")[n], "chat_s", tokens=40, faults=[fault], timeout=2.0)
    for n in range(3):                                        # never answered; the SDK times out and tries again
        script.add(1.6 + 1.5 * n, ("openai", "internal", "anthropic")[n], "chat_s", faults=[SILENCE], timeout=2.0, retries=1)


def mixed(script):
    """A bit of everything, small enough to be kept as a capture (tests/lab/captures)."""
    script.background(26, 0.0, 13.0)
    for n, faults in enumerate([[status(503)], [status(529), status(529)], [RESET], [status(500)], [RESET, status(503)], [status(429, 1)]]):
        script.add(1.5 + 0.5 * n, ("anthropic", "anthropic", "openai")[n % 3], "chat_s" if n % 2 else "chat", faults=faults)
    for n, fault in enumerate((status(429), status(503), RESET, status(529), status(429))):
        gaps = [round(script.random.uniform(0.0, 0.08), 4) for _ in range(10)]
        faults = [fault] * script.random.randint(3, 7)
        script.add(4.0 + 0.6 * n, ("openai", "anthropic", "internal")[n % 3], "chat_s", retries=0, naive=gaps, faults=faults)
    for n in range(4):
        fault = cut(script.random.randint(10, 20), ("rst", "fin")[n % 2])
        script.add(5.0 + 0.7 * n, ("openai", "internal", "anthropic")[n % 3], "chat_s", tokens=36, faults=[fault])
    for n in range(9):
        after = script.random.randint(6, 20)
        script.add(7.0 + 0.4 * n, ("openai", "anthropic", "internal")[n // 3], "chat_s", tokens=90, cancel=("close", "task", "drop")[n % 3], cancel_after=after)
    for n in range(5):
        fault = stall(script.random.randint(8, 16), script.random.randint(900, 2200))
        script.add(9.0 + 0.5 * n, ("openai", "anthropic", "internal")[n % 3], "chat_s", tokens=34, faults=[fault])
    script.add(9.4, "openai", "chat_s", faults=[SILENCE], timeout=1.5, retries=1)


SCENARIOS = {f.__name__: f for f in (healthy, partial_outage, retry_storm, late_aborts, stalls, mixed)}


def build(name, seed):
    """-> (calls in the order of their start, the server's plan)"""
    script = Script("%s/%d" % (name, seed))
    SCENARIOS[name](script)
    faults = [{"call": c.id, "attempt": n + 1, "fault": f} for c in script.calls for n, f in enumerate(c.faults) if f]
    plan = {"scenario": name, "seed": seed, "slots": script.slots, "faults": faults}
    return sorted(script.calls, key=lambda c: c.at), plan
