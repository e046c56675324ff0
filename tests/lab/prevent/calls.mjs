// Makes the calls of a scenario whose library is `node`: the openai package over undici, with its own retries.
//
//     node calls.mjs SCRIPT.json SEEN.jsonl MODULES
//
// Says `ready`, reads the moment to begin from standard input, writes one line a call, as calls.py does.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [script, seen, modules] = process.argv.slice(2);
const need = createRequire(`${modules}/package.json`);
const { Agent, fetch } = need("undici");
const OpenAI = need("openai").default ?? need("openai");
const plan = JSON.parse(readFileSync(script));
const ca = readFileSync(plan.ca);
const pools = new Map();
const attempts = new Map();
const firsts = new Map();
writeFileSync(seen, "");
const sleep = (s) => new Promise((done) => setTimeout(done, 1000 * s));

function client(call) {
  const key = [call.client, call.replica].join();
  if (!pools.has(key)) {
    const agent = new Agent({ localAddress: call.client, connect: { ca } });
    const ask = (url, init) => {
      const id = Number(new Headers(init.headers).get("x-lab-call"));
      attempts.set(id, (attempts.get(id) ?? 0) + 1);
      return fetch(url, { ...init, dispatcher: agent });
    };
    pools.set(key, new OpenAI({ apiKey: "sk-lab", baseURL: plan.bases[call.replica] + "/v1", maxRetries: 2, fetch: ask }));
  }
  return pools.get(key);
}

async function ask(call) {
  const messages = [{ role: "user", content: "please ".repeat(call.prompt / 7) }];
  const wish = { model: "lab", max_tokens: call.tokens, stream: call.stream, messages };
  const options = { headers: { "x-lab-call": String(call.id) }, timeout: 1000 * call.timeout };
  const got = await client(call).chat.completions.create(wish, options);
  if (!call.stream) return got.id;
  let [id, done] = [null, false];
  for await (const event of got) {
    if (!firsts.has(call.id)) firsts.set(call.id, Date.now() / 1000);
    id = event.id;
    done ||= event.choices[0].finish_reason === "stop";
  }
  if (!done) throw new Error("the stream ended early");
  return id;
}

async function play(call, start) {
  await sleep(start + call.at - Date.now() / 1000);
  const began = Date.now() / 1000;
  let [out, got] = ["ok", null];
  for (let turn = 0; turn < call.loops; turn += 1) {
    try {
      [out, got] = ["ok", await ask(call)];
      break;
    } catch (error) {
      out = error.constructor.name;
    }
    if (turn + 1 < call.loops) await sleep(call.gap);
  }
  const line = {
    call: call.id, tenant: call.tenant, out, got, began, ended: Date.now() / 1000,
    first: firsts.get(call.id) ?? null, attempts: attempts.get(call.id) ?? 0,
  };
  appendFileSync(seen, JSON.stringify(line) + "\n");
}

const calls = plan.calls.filter((call) => call.lib === "node");
calls.forEach(client);
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  await Promise.all(calls.map((call) => play(call, Number(line))));
  process.exit(0);
}
