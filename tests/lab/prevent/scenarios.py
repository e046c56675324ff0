"""The scenarios of scripts/lab-prevent: what clients ask for, when, and what goes wrong at the servers meanwhile.

A scenario is a function of its length that gives a dict: `servers` (what each model server is, see model.py), `replicas`,
`faults`, `calls` (see calls.py), `trigger` (from, to), `rules` (what the policy says beside `mode`), `proxy` (what a user
would tell HAProxy, see proxy.py). The trigger is in the middle: before it the laws learn what is usual, after it one sees
who recovers.
"""
import random

CLIENTS = ["198.51.100.%d" % n for n in range(11, 35)]
REPLICAS = ["198.51.100.%d" % n for n in (121, 122, 123)]
# Of ten calls, whose they are: SDKs with two retries of their own, and loops that ask again at once.
LIBRARIES = ("openai",) * 5 + ("node",) * 3 + ("httpx",) * 2
PREFILL_S, TOKEN_S = 0.12, 0.015


def times(seconds):
    """Begin and end of the trigger, and end of the load."""
    return round(seconds * 0.47, 1), round(seconds * 0.72, 1), seconds


def poisson(pick, rate, begin, end):
    at = begin + pick.expovariate(rate)
    while at < end:
        yield at
        at += pick.expovariate(rate)


def call(pick, at, client, **more):
    """One call of an application."""
    tokens = pick.randint(30, 60)
    lib = more.pop("lib", None) or pick.choice(LIBRARIES)
    return dict(at=round(at, 4), client=client, lib=lib, tokens=tokens, stream=pick.random() < 0.5, timeout=3.0,
                prompt=pick.randint(400, 2500), loops=3 if lib == "httpx" else 1, gap=pick.uniform(0, 0.09), replica=0,
                tenant="all", leave=None) | more


def numbered(calls):
    calls.sort(key=lambda c: c["at"])
    return [dict(c, id=n) for n, c in enumerate(calls)]


def steady(pick, rate, seconds, clients=CLIENTS, **more):
    return [call(pick, at, clients[n % len(clients)], **more) for n, at in enumerate(poisson(pick, rate, 0, seconds))]


def scenario(seconds, calls, faults=(), slots=16, replicas=1, rules=None, leave="finish", quota=None, proxy=None):
    begin, end, _ = times(seconds)
    server = dict(slots=slots, prefill_s=PREFILL_S, token_s=TOKEN_S, leave=leave, quota=quota)
    return dict(server=server, replicas=replicas, faults=list(faults), calls=numbered(calls), trigger=[begin, end],
                seconds=seconds, rules=rules or {}, proxy=dict(maxconn=slots, requests_10s=30) | (proxy or {}))


def capacity_cut(seconds, pick):
    """16 slots become 2 for a quarter of the time; the load is 70 % of what 16 can do; the server works on for clients that left."""
    begin, end, _ = times(seconds)
    cut = dict(kind="cut", at=begin, to=end, slots=2)
    return scenario(seconds, steady(pick, 12, seconds), [cut])


def retry_storm(seconds, pick):
    """Three times the load for a quarter of the time; a loop of three around each SDK's three attempts."""
    begin, end, _ = times(seconds)
    calls = steady(pick, 12, seconds, loops=3)
    calls += [call(pick, at, pick.choice(CLIENTS), loops=3) for at in poisson(pick, 24, begin, end)]
    return scenario(seconds, calls)


def partial_outage(seconds, pick):
    """Three replicas of 6 slots; one takes requests and does not answer for a quarter of the time."""
    begin, end, _ = times(seconds)
    calls = [dict(c, replica=n % 3) for n, c in enumerate(steady(pick, 10, seconds))]
    return scenario(seconds, calls, [dict(kind="silence", at=begin, to=end, replica=1)], slots=6, replicas=3)


def fanout_storm(seconds, pick):
    """One client asks 60 things at once, every three seconds, for a quarter of the time."""
    begin, end, _ = times(seconds)
    calls = steady(pick, 8, seconds, clients=CLIENTS[1:])
    at = begin
    while at < end:
        calls += [call(pick, at + 0.002 * n, CLIENTS[0], tenant="storm", lib="openai") for n in range(60)]
        at += 3
    return scenario(seconds, calls, rules=dict(fanOut=8))


def noisy_neighbour(seconds, pick):
    """One client of many asks as much as two thirds of the server can do, for a quarter of the time, beside the others."""
    begin, end, _ = times(seconds)
    calls = steady(pick, 9, seconds, clients=CLIENTS[1:])
    calls += [call(pick, at, CLIENTS[0], tenant="noisy", lib="openai") for at in poisson(pick, 24, begin, end)]
    return scenario(seconds, calls)


def orphans(seconds, pick):
    """Half of the calls lose interest on the way in the middle of the time; the server notices an RST, and nothing else."""
    begin, end, _ = times(seconds)
    calls = steady(pick, 12, seconds)
    for c in calls:
        if begin <= c["at"] < end and pick.random() < 0.5:
            c.update(leave=pick.uniform(0.1, 0.7), lib="openai", stream=False)
    return scenario(seconds, calls, leave="reset")


def waves_429(seconds, pick):
    """A quota of 12 a second, and 20 asked for for a quarter of the time; what is over it is told to come back in 2 s."""
    begin, end, _ = times(seconds)
    calls = steady(pick, 9, seconds)
    calls += [call(pick, at, pick.choice(CLIENTS)) for at in poisson(pick, 11, begin, end)]
    return scenario(seconds, calls, slots=32, quota=dict(per_s=12, burst=12, retry_after=2), proxy=dict(maxconn=32))


SCENARIOS = {f.__name__: f for f in (capacity_cut, retry_storm, partial_outage, fanout_storm, noisy_neighbour, orphans,
                                     waves_429)}


def build(name, seconds, seed):
    """The same name, length and seed give the same scenario."""
    return SCENARIOS[name](seconds, random.Random("%s/%d" % (name, seed)))
