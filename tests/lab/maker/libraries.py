"""The Python libraries a task can use: the SDKs, litellm, httpx, aiohttp, and the program curl.

Every library asks through Desk.ask, which returns what the caller saw: `ok`, `http_429`, `cancelled`, or the name of an
error. Clients are shared by address and endpoint, or made anew for a task.
"""
import asyncio
import concurrent.futures
import json
import os
import ssl

MODEL = {"openai": "gpt-5-mini", "anthropic": "claude-sonnet-4-5", "internal": "llama-3.3-70b", "pool": "qwen3-32b",
         "gw": "gpt-5-mini",
         "embed": "text-embedding-3-small", "plain": "llama-3.1-8b"}


def threads():
    return concurrent.futures.ThreadPoolExecutor(64)


def said(error):
    """The outcome that an exception stands for."""
    code = getattr(error, "status_code", None)
    if code:
        return "http_%d" % code
    name = type(error).__name__
    return "timeout" if "Timeout" in name else name


def body(step, text):
    """The JSON that a library without an SDK sends. -> (path, body)"""
    ep, kind = step["ep"], step["kind"]
    if kind == "embed":
        return "/v1/embeddings", {"model": MODEL[ep], "input": inputs(step, text), "encoding_format": "base64"}
    if kind == "tool":
        return "/tools/run", {"tool": "search", "arguments": {"query": text}}
    path = "/v1/messages" if ep == "anthropic" else "/v1/chat/completions"
    return path, {"model": MODEL[ep], "max_tokens": step["tokens"], "stream": kind == "chat_s",
                  "messages": [{"role": "user", "content": text}]}


def inputs(step, text):
    return [text] * step["inputs"] if step.get("inputs") else text


async def answer(reader, writer):
    """One answer in OpenAI's form, whatever was asked."""
    await reader.readuntil(b"\r\n\r\n")
    said = json.dumps({"id": "x", "object": "chat.completion", "created": 1, "model": "m",
                       "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
                       "choices": [{"index": 0, "finish_reason": "stop",
                                    "message": {"role": "assistant", "content": "hello"}}]})
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(said) + said.encode())
    await writer.drain()
    writer.close()


class Desk:
    """All clients of this process."""

    def __init__(self, script, libs):
        self.script, self.pools, self.contexts = script, {}, {}
        if libs & {"py", "pysync", "py-h2", "litellm"}:
            import anthropic
            import httpx2
            import openai
            self.anthropic, self.openai, self.web = anthropic, openai, httpx2
        if "litellm" in libs:
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            import litellm
            litellm.suppress_debug_info, litellm.telemetry = True, False
            self.litellm = litellm
        if libs & {"httpx-h2"}:
            import httpx
            self.httpx = httpx
        if libs & {"aiohttp"}:
            import aiohttp
            self.aiohttp = aiohttp

    async def warm(self):
        """A call through each SDK to a server of our own: the first one loads seconds of modules, and would hold up
        all others."""
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        base = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        asks = {"model": "gpt-5-mini", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}
        calls = []
        if hasattr(self, "openai"):
            calls.append(self.openai.AsyncOpenAI(api_key="none", base_url=base,
                                                 max_retries=0).chat.completions.create(**asks))
            calls.append(self.anthropic.AsyncAnthropic(api_key="none", base_url=base,
                                                       max_retries=0).messages.create(**asks))
        if hasattr(self, "litellm"):
            calls.append(self.litellm.acompletion(**asks | {"model": "openai/gpt-5-mini"}, api_base=base, api_key="none",
                                                  max_retries=0))
        for call in calls:
            try:
                await call
            except Exception:                             # nothing depends on the answer
                pass
        server.close()

    async def ask(self, task, step, text, head, begun):
        lib = task["lib"]
        if lib.startswith("curl"):
            return await self.curl(task, step, text, head, begun, lib == "curl-h2")
        if lib == "aiohttp":
            return await self.aio(task, step, text, head, begun)
        if lib == "httpx-h2":
            return await self.raw(task, step, text, head, begun)
        if step["kind"] == "tool":
            return await self.tool(task, step, text, head)
        if lib == "pysync":
            return await asyncio.to_thread(self.blocking, task, step, text, head, begun)
        if lib == "litellm" and step["kind"] != "embed" and step["ep"] != "anthropic":
            return await self.light(task, step, text, head, begun)
        return await self.sdk(task, step, text, head, begun)

    # ---- clients
    def tls(self, kind):
        """A context for one kind of client: httpx sets the ALPN of whatever context it is given."""
        if kind not in self.contexts:
            self.contexts[kind] = ssl.create_default_context(cafile=self.script["ca"])
        return self.contexts[kind]

    def kept(self, task, step, kind, make):
        """A client of this kind: the address's own for the endpoint, or the task's."""
        owner = id(task) if task["conn"] == "own" else self.script["clients"][task["client"]]
        key = (kind, owner, step["ep"], step["retries"])
        if key not in self.pools:
            self.pools[key] = make()
        return self.pools[key]

    def address(self, task):
        return self.script["clients"][task["client"]]

    def base(self, step, version=True):
        return self.script["bases"][step["ep"]] + ("/v1" if version else "")

    def sdk_client(self, task, step, blocking=False):
        h2 = task["lib"].endswith("h2")

        def make():
            web = self.web
            if blocking:
                client = web.Client(transport=web.HTTPTransport(verify=self.tls("h1"), local_address=self.address(task),
                                                                limits=web.Limits(max_connections=None)), trust_env=False)
            else:
                client = web.AsyncClient(transport=web.AsyncHTTPTransport(verify=self.tls("h2" if h2 else "h1"),
                                                                          local_address=self.address(task), http2=h2,
                                                                          limits=web.Limits(max_connections=None)),
                                                                          trust_env=False)
            if step["ep"] == "anthropic":
                kind = self.anthropic.Anthropic if blocking else self.anthropic.AsyncAnthropic
                return kind(api_key="sk-ant-lab-000", base_url=self.base(step, False), http_client=client,
                            max_retries=step["retries"])
            kind = self.openai.OpenAI if blocking else self.openai.AsyncOpenAI
            return kind(api_key="sk-lab-000", base_url=self.base(step), http_client=client, max_retries=step["retries"])
        return self.kept(task, step, task["lib"], make)

    # ---- the SDKs
    @staticmethod
    def chat(step, text, head):
        return dict(model=MODEL[step["ep"]], max_tokens=step["tokens"], messages=[{"role": "user", "content": text}],
                    timeout=step["timeout"],
                    extra_headers={"x-lab-call": head})

    async def sdk(self, task, step, text, head, begun):
        sdk = self.sdk_client(task, step)
        if step["kind"] == "embed":
            await sdk.embeddings.create(model=MODEL["embed"], input=inputs(step, text), timeout=step["timeout"],
                                        extra_headers={"x-lab-call": head})
            return "ok"
        api = sdk.messages if step["ep"] == "anthropic" else sdk.chat.completions
        if step["kind"] == "chat":
            await api.create(**self.chat(step, text, head))
            return "ok"
        return await self.read(step, await api.create(stream=True, **self.chat(step, text, head)), begun)

    @staticmethod
    async def read(step, stream, begun):
        """Reads a stream to its end, or until the application has enough."""
        after, count = (step.get("cancel") or {}).get("after"), 0
        async for _ in stream:
            begun.set()
            count += 1
            if count == after:
                await (stream.close() if hasattr(stream, "close") else stream.aclose())
                return "cancelled"
        return "ok"

    def blocking(self, task, step, text, head, begun):
        """The synchronous SDK, in a thread."""
        sdk = self.sdk_client(task, step, True)
        if step["kind"] == "embed":
            sdk.embeddings.create(model=MODEL["embed"], input=inputs(step, text), timeout=step["timeout"],
                                  extra_headers={"x-lab-call": head})
            return "ok"
        api = sdk.messages if step["ep"] == "anthropic" else sdk.chat.completions
        if step["kind"] == "chat":
            api.create(**self.chat(step, text, head))
            return "ok"
        after, count = (step.get("cancel") or {}).get("after"), 0
        with api.create(stream=True, **self.chat(step, text, head)) as stream:
            for _ in stream:
                count += 1
                if count == after:
                    return "cancelled"
        return "ok"

    async def tool(self, task, step, text, head):
        """A tool has no SDK: the web client of one."""
        sdk = self.sdk_client(dict(task, lib="py" if task["lib"] != "py-h2" else "py-h2"), step)
        path, data = body(step, text)
        reply = await sdk._client.post(self.base(step, False) + path, json=data, headers={"x-lab-call": head},
                                       timeout=step["timeout"])
        return "ok" if reply.status_code < 400 else "http_%d" % reply.status_code

    async def light(self, task, step, text, head, begun):
        """litellm over the OpenAI SDK."""
        more = dict(self.chat(step, text, head), model="openai/" + MODEL[step["ep"]], api_key="sk-lab",
                    api_base=self.base(step), client=self.sdk_client(task, step), max_retries=step["retries"])
        if step["kind"] == "chat":
            await self.litellm.acompletion(**more)
            return "ok"
        stream = await self.litellm.acompletion(stream=True, **more)
        return await self.read(step, getattr(stream, "completion_stream", stream), begun)

    # ---- without an SDK
    async def raw(self, task, step, text, head, begun):
        """httpx over HTTP/2."""
        web = self.httpx

        def make():
            transport = web.AsyncHTTPTransport(verify=self.tls("h2"), local_address=self.address(task), http2=True)
            return web.AsyncClient(transport=transport, trust_env=False)
        client = self.kept(task, step, "httpx-h2", make)
        path, data = body(step, text)
        async with client.stream("POST", self.base(step, False) + path, json=data,
                                 headers={"x-lab-call": head, "authorization": "Bearer lab"},
                                 timeout=step["timeout"]) as reply:
            return await self.events(step, reply.status_code, reply.aiter_bytes(), begun)

    async def aio(self, task, step, text, head, begun):
        """aiohttp."""
        web = self.aiohttp
        client = self.kept(task, step, "aiohttp",
                           lambda: web.ClientSession(connector=web.TCPConnector(local_addr=(self.address(task), 0),
                                                                                ssl=self.tls("aiohttp"), limit=0)))
        path, data = body(step, text)
        limit = web.ClientTimeout(total=None, sock_read=step["timeout"])
        async with client.post(self.base(step, False) + path, json=data,
                               headers={"x-lab-call": head, "authorization": "Bearer lab"}, timeout=limit) as reply:
            out = await self.events(step, reply.status, reply.content.iter_any(), begun)
            if out == "cancelled":
                reply.close()
            return out

    @staticmethod
    async def events(step, status, pieces, begun):
        after, count = (step.get("cancel") or {}).get("after"), 0
        async for piece in pieces:
            if step["kind"] == "chat_s":
                begun.set()
            count += piece.count(b"\n\n")
            if after and count >= after:
                return "cancelled"
        return "ok" if status < 400 else "http_%d" % status

    async def curl(self, task, step, text, head, begun, h2):
        """The program, a process a call; a stream that is given up dies with it."""
        path, data = body(step, text)
        more = ["--retry", str(step["retries"])] if step["retries"] and not h2 else []
        process = await asyncio.create_subprocess_exec(
            "curl", "-sS", "-N", "--http2" if h2 else "--http1.1", "--interface", self.address(task), "--cacert",
            self.script["ca"], "--max-time", str(step["timeout"]), *more,
            "-H", "content-type: application/json", "-H", "x-lab-call: " + head, "-d", json.dumps(data), "-w",
            "\n%{http_code}", self.base(step, False) + path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
        after, got = (step.get("cancel") or {}).get("after"), b""
        try:
            while piece := await process.stdout.read(65536):
                begun.set()
                got += piece
                if after and got.count(b"\n\n") >= after:
                    process.kill()
                    await process.wait()
                    return "cancelled"
            code = await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise
        if code:
            return "timeout" if code == 28 else "curl_%d" % code
        status = int(got.rsplit(b"\n", 1)[-1])
        return "ok" if status < 400 else "http_%d" % status
