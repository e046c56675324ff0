#!/usr/bin/env python3
"""Makes the calls of a scenario whose library is one of those named: `openai`, the SDK with its own retries, or `httpx`,
a loop that asks again whatever happens.

    calls.py SCRIPT.json SEEN.jsonl LIBRARY..

Says `ready`, reads the moment to begin (epoch seconds) from standard input, and writes one line a call: what its
application got, after how many attempts.
"""
import asyncio
import collections
import json
import os
import ssl
import sys
import time

import httpx
import httpx2
import openai

SCRIPT = json.load(open(sys.argv[1]))
SEEN = open(sys.argv[2], "w", buffering=1)
ATTEMPTS = collections.Counter()
FIRST = {}


async def sent(request):
    ATTEMPTS[int(request.headers["x-lab-call"])] += 1


class Desk:
    """The clients of this process: one for each address, server and library, each with a pool of connections."""

    def __init__(self):
        self.tls = ssl.create_default_context(cafile=SCRIPT["ca"])
        self.pools = {}

    def web(self, module, address):
        transport = module.AsyncHTTPTransport(verify=self.tls, local_address=address,
                                              limits=module.Limits(max_connections=None))
        return module.AsyncClient(transport=transport, trust_env=False, event_hooks={"request": [sent]})

    def client(self, call):
        key = call["lib"], call["client"], call["replica"]
        if key not in self.pools:
            base = SCRIPT["bases"][call["replica"]] + "/v1"
            if call["lib"] == "openai":
                self.pools[key] = openai.AsyncOpenAI(api_key="sk-lab", base_url=base, max_retries=2,
                                                     http_client=self.web(httpx2, call["client"]))
            else:
                self.pools[key] = self.web(httpx, call["client"])
        return self.pools[key]

    async def ask(self, call):
        """-> the id of the answer that the application has whole"""
        asks = dict(model="lab", max_tokens=call["tokens"], stream=call["stream"],
                    messages=[{"role": "user", "content": "please " * (call["prompt"] // 7)}])
        if call["lib"] == "httpx":
            return await self.plain(call, asks)
        got = await self.client(call).chat.completions.create(**asks, timeout=call["timeout"],
                                                              extra_headers={"x-lab-call": str(call["id"])})
        if not call["stream"]:
            return got.id
        id, done = None, False
        async for event in got:
            id, done = event.id, done or event.choices[0].finish_reason == "stop"
            FIRST.setdefault(call["id"], time.time())
        if not done:
            raise EOFError("the stream ended early")
        return id

    async def plain(self, call, asks):
        url = SCRIPT["bases"][call["replica"]] + "/v1/chat/completions"
        headers = {"x-lab-call": str(call["id"])}
        async with self.client(call).stream("POST", url, json=asks, headers=headers, timeout=call["timeout"]) as reply:
            text = (await reply.aread()).decode()
            reply.raise_for_status()
        if not call["stream"]:
            return json.loads(text)["id"]
        events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        if events[-1] != "[DONE]":
            raise EOFError("the stream ended early")
        return json.loads(events[0])["id"]


async def play(desk, call):
    """One call: attempts of a library, in a loop of the application's own, until one is whole or interest is lost."""
    began, out, got = time.time(), "ok", None

    async def tries():
        for turn in range(call["loops"]):
            try:
                return "ok", await desk.ask(call)
            except Exception as error:                    # an application lives on whatever its library raises
                why = type(error).__name__
            if turn + 1 < call["loops"]:
                await asyncio.sleep(call["gap"])
        return why, None

    try:
        out, got = await asyncio.wait_for(tries(), call["leave"])
    except asyncio.TimeoutError:
        out = "left"
    SEEN.write(json.dumps(dict(call=call["id"], tenant=call["tenant"], out=out, got=got, began=began, ended=time.time(),
                               first=FIRST.get(call["id"]), attempts=ATTEMPTS[call["id"]])) + "\n")


async def main():
    calls = [c for c in SCRIPT["calls"] if c["lib"] in sys.argv[3:]]
    desk = Desk()
    for call in calls:
        desk.client(call)
    print("ready", flush=True)
    start = float(sys.stdin.readline())

    async def one(call):
        await asyncio.sleep(max(0.0, start + call["at"] - time.time()))
        await play(desk, call)

    await asyncio.gather(*(one(c) for c in calls))
    SEEN.flush()
    os._exit(0)                                           # pools are not closed politely


if __name__ == "__main__":
    asyncio.run(main())
