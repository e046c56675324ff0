"""The applications of the lab: they use the SDKs as applications do, well or badly, and note what they saw.

Bytes are recorded under the SDK, in its HTTP transport, so a digest covers exactly what arrived and not what a parser
made of it. A call is one call id, sent as `x-lab-call`; all attempts at it carry the same id.
"""
import asyncio
import gc
import hashlib
import ssl
import time

import anthropic
import httpx2
import openai

BASE = {"openai": "https://api.openai.test/v1", "anthropic": "https://api.anthropic.test",
        "internal": "https://llm.internal.test/v1"}
MODEL = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-4-5", "internal": "llama-3.3-70b"}
ERRORS = (openai.APIError, anthropic.APIError, httpx2.HTTPError)


class Record:
    """What arrived for one call: the bytes of the latest attempt, and how many attempts there were."""

    def __init__(self):
        self.attempts = 0
        self.data = bytearray()

    def begin(self):
        self.attempts += 1
        self.data = bytearray()


class _AsyncBody(httpx2.AsyncByteStream):
    def __init__(self, inner, record):
        self.inner, self.record = inner, record

    async def __aiter__(self):
        async for piece in self.inner:
            self.record.data += piece
            yield piece

    async def aclose(self):
        await self.inner.aclose()


class _Body(httpx2.SyncByteStream):
    def __init__(self, inner, record):
        self.inner, self.record = inner, record

    def __iter__(self):
        for piece in self.inner:
            self.record.data += piece
            yield piece

    def close(self):
        self.inner.close()


class AsyncTransport(httpx2.AsyncHTTPTransport):
    """Counts attempts and keeps bytes, by call."""

    def __init__(self, records, **more):
        super().__init__(**more)
        self.records = records

    async def handle_async_request(self, request):
        record = self.records[request.headers["x-lab-call"]]
        record.begin()
        response = await super().handle_async_request(request)
        response.stream = _AsyncBody(response.stream, record)
        return response


class Transport(httpx2.HTTPTransport):
    """The same for the synchronous SDKs."""

    def __init__(self, records, **more):
        super().__init__(**more)
        self.records = records

    def handle_request(self, request):
        record = self.records[request.headers["x-lab-call"]]
        record.begin()
        response = super().handle_request(request)
        response.stream = _Body(response.stream, record)
        return response


def prompt(call):
    """A prompt of the call's length; its words name the call, so no two calls of equal length get one answer."""
    words = ("call %s asks again: " % call.id) * (call.prompt // 20 + 1)
    return words[:call.prompt]


def digest(data):
    return hashlib.sha256(data).hexdigest()


def first_events(data, count):
    """The bytes of the first events: what came behind them when a stream was given up is chance."""
    end = 0
    for _ in range(count):
        found = data.find(b"\n\n", end)
        if found < 0:
            break
        end = found + 2
    return bytes(data[:end])


class House:
    """All applications of a run: a pool for each client address and API, and the records of every call."""

    def __init__(self, ca, clients):
        self.tls = ssl.create_default_context(cafile=ca)
        self.clients = clients
        self.records = {}
        self.pools = {}

    def sdk(self, call):
        """The SDK client of a call: shared by its address and API, or new."""
        key = (call.client, call.api, call.retries)
        if not call.fresh and key in self.pools:
            return self.pools[key]
        transport = AsyncTransport(self.records, verify=self.tls, local_address=self.clients[call.client])
        web = httpx2.AsyncClient(transport=transport, trust_env=False)
        kind = anthropic.AsyncAnthropic if call.api == "anthropic" else openai.AsyncOpenAI
        sdk = kind(api_key="lab-key", base_url=BASE[call.api], http_client=web, max_retries=call.retries)
        self.pools[call.id if call.fresh else key] = sdk
        return sdk

    async def call(self, call):
        """Plays a call. -> its line"""
        record = self.records[call.id] = Record()
        began = time.monotonic()
        outcome = await self.outcome(call)
        data = bytes(record.data)
        if call.cancel:
            data = first_events(data, call.cancel_after)
        return {"call": call.id, "client": self.clients[call.client], "sdk": call.api, "kind": call.kind, "outcome": outcome,
                "attempts": record.attempts, "sha256": digest(data), "bytes": len(data), "seconds": round(time.monotonic() - began, 3)}

    async def outcome(self, call):
        """Plays a call, again and again where the application has a loop of its own. -> what it saw at last"""
        if call.cancel == "drop":
            return await asyncio.to_thread(self.drop, call)
        for gap in [*call.naive, None]:
            try:
                return await self.attempt(call)
            except ERRORS as error:
                if gap is None:
                    return type(error).__name__
                await asyncio.sleep(gap)

    async def attempt(self, call):
        sdk = self.sdk(call)
        work = self.stream(sdk, call) if call.kind == "chat_s" else self.plain(sdk, call)
        if call.give_up:
            try:
                return await asyncio.wait_for(work, call.give_up)
            except asyncio.TimeoutError:
                return "cancelled"
        return await work

    async def plain(self, sdk, call):
        if call.kind == "embed":
            await sdk.embeddings.create(model="text-embedding-3-small", input=prompt(call), **common(call))
        else:
            await endpoint(sdk, call).create(**chat(call))
        return "ok"

    async def stream(self, sdk, call):
        if call.cancel == "task":
            reached = asyncio.Event()
            reader = asyncio.create_task(self.read(sdk, call, reached))
            await asyncio.wait({reader, asyncio.create_task(reached.wait())}, return_when=asyncio.FIRST_COMPLETED)
            reader.cancel()
            try:
                return await reader
            except asyncio.CancelledError:
                return "cancelled"
        return await self.read(sdk, call, None)

    async def read(self, sdk, call, reached):
        """Reads a stream to its end, or to where it is closed, or (another task sees to it) cancelled."""
        stream = await endpoint(sdk, call).create(stream=True, **chat(call))
        count = 0
        async for _ in stream:
            count += 1
            if call.cancel and count == call.cancel_after:
                if reached is None:
                    await stream.close()
                    return "cancelled"
                reached.set()
        return "ok"

    def drop(self, call):
        """In a thread of its own, with the synchronous SDK: reads some events, then forgets stream and client."""
        transport = Transport(self.records, verify=self.tls, local_address=self.clients[call.client])
        web = httpx2.Client(transport=transport, trust_env=False)
        kind = anthropic.Anthropic if call.api == "anthropic" else openai.OpenAI
        sdk = kind(api_key="lab-key", base_url=BASE[call.api], http_client=web, max_retries=call.retries)
        events = iter(endpoint(sdk, call).create(stream=True, **chat(call)))
        for _ in range(call.cancel_after):
            next(events)
        del events, sdk, web, transport
        gc.collect()
        return "cancelled"

    async def close(self):
        for sdk in self.pools.values():
            await sdk.close()


def endpoint(sdk, call):
    return sdk.messages if call.api == "anthropic" else sdk.chat.completions


def chat(call):
    """The arguments of a chat call, the same for both SDKs."""
    return dict(model=MODEL[call.api], max_tokens=call.tokens, messages=[{"role": "user", "content": prompt(call)}], **common(call))


def common(call):
    return dict(extra_headers={"x-lab-call": call.id}, timeout=call.timeout)
