// Plays the tasks of a capture whose library is one of node's: the openai and @anthropic-ai/sdk packages over undici,
// in HTTP/1.1 (`node`) and HTTP/2 (`node-h2`).
//
//     node drive.mjs SCRIPT.json SEEN.jsonl MODULES
//
// Says `ready`, reads the moment to begin from standard input, writes one line an attempt, as drive.py does.
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [script, seen, modules] = process.argv.slice(2);
const need = createRequire(`${modules}/package.json`);
const { Agent, fetch } = need("undici");
const OpenAI = need("openai").default ?? need("openai");
const Anthropic = need("@anthropic-ai/sdk").default ?? need("@anthropic-ai/sdk");
const plan = JSON.parse(readFileSync(script));
const ca = readFileSync(plan.ca);
const WORDS = "please sort these notes by date and say which of them need an answer before the end of the week thank you".split(" ");
const MODEL = {
  openai: "gpt-5-mini", anthropic: "claude-sonnet-4-5", internal: "llama-3.3-70b", pool: "qwen3-32b", gw: "gpt-5-mini",
  plain: "llama-3.1-8b",
};
const pools = new Map();
writeFileSync(seen, "");
const sleep = (s) => new Promise((done) => setTimeout(done, 1000 * s));

function prompt(step) {
  let said = "";
  for (let n = step.id; said.length < step.prompt; n += 7) said += WORDS[n % WORDS.length] + " ";
  return said.slice(0, step.prompt);
}

// A pool and an SDK client: the address's own for the endpoint, or the task's.
function client(task, step) {
  const owner = task.conn === "own" ? `task ${plan.tasks.indexOf(task)}` : task.client;
  const key = [owner, step.ep, step.retries, task.lib, Boolean(step.hedge)].join();
  if (!pools.has(key)) {
    const h2 = task.lib === "node-h2";
    const many = h2 && !step.hedge ? { connections: 1, pipelining: 100 } : {};
    const agent = new Agent({ allowH2: h2, connect: { ca, localAddress: plan.clients[task.client] }, ...many });
    const ask = (url, init) => fetch(url, { ...init, dispatcher: agent });
    const options = { apiKey: "sk-lab-000", maxRetries: step.retries, fetch: ask };
    const base = plan.bases[step.ep];
    const sdk = step.ep === "anthropic" ? new Anthropic({ ...options, baseURL: base }) : new OpenAI({ ...options, baseURL: base + "/v1" });
    pools.set(key, { sdk, ask });
  }
  return pools.get(key);
}

async function ask(task, step, head, signal, begun) {
  const { sdk, ask } = client(task, step);
  const options = { headers: { "x-lab-call": head }, timeout: 1000 * step.timeout, signal };
  const text = prompt(step);
  if (step.kind === "tool") {
    const headers = { "content-type": "application/json", "x-lab-call": head };
    const body = JSON.stringify({ tool: "search", arguments: { query: text } });
    const reply = await ask(`${plan.bases[step.ep]}/tools/run`, { method: "POST", headers, body, signal });
    await reply.text();
    return reply.status < 400 ? "ok" : `http_${reply.status}`;
  }
  if (step.kind === "embed") {
    const input = step.inputs ? Array(step.inputs).fill(text) : text;
    await sdk.embeddings.create({ model: "text-embedding-3-small", input }, options);
    return "ok";
  }
  const api = step.ep === "anthropic" ? sdk.messages : sdk.chat.completions;
  const messages = [{ role: "user", content: text }];
  const wish = { model: MODEL[step.ep], max_tokens: step.tokens, stream: step.kind === "chat_s", messages };
  const got = await api.create(wish, options);
  if (step.kind !== "chat_s") return "ok";
  let count = 0;
  for await (const _ of got) {
    begun();
    if (++count === step.cancel?.after) {
      got.controller.abort();
      return "cancelled";
    }
  }
  return "ok";
}

function said(error) {
  if (error?.status) return `http_${error.status}`;
  const name = error?.constructor?.name ?? "Error";
  return name.includes("Timeout") ? "timeout" : name;
}

async function attempt(task, step, run, att, hedge, stop, begun, lost) {
  const pad = (n, w) => String(n).padStart(w, "0");
  // Digits of one length in HPACK's Huffman code: the laboratory's own header must not tell requests apart.
  const head = `${pad(step.id, 5)}.${pad(run, 2)}.${pad(att, 2)}.${hedge}`.replace(/\d/g, (digit) => "012aceiost"[digit]);
  const t0 = Date.now() / 1000;
  let out, timer;
  if (step.cancel?.s) timer = setTimeout(() => stop.abort(), 1000 * step.cancel.s);
  try {
    out = await ask(task, step, head, stop.signal, begun);
  } catch (error) {
    out = stop.signal.aborted ? "cancelled" : said(error);
  }
  clearTimeout(timer);
  if (stop.signal.aborted && out === "ok") out = "cancelled";
  if (lost()) out = "hedge_loser";
  appendFileSync(seen, JSON.stringify({ call: step.id, run, att, hedge, out, t0, t1: Date.now() / 1000 }) + "\n");
  return out;
}

// Asks again when the first has not begun to answer; whichever answers first wins.
async function hedged(task, step, run, att) {
  let loser = -1;
  const begin = (hedge) => {
    const stop = new AbortController();
    let begun;
    const sign = new Promise((done) => (begun = done));
    const work = attempt(task, step, run, att, hedge, stop, begun, () => loser === hedge);
    return { stop, work, sign: Promise.race([sign, work]).then(() => hedge) };
  };
  const legs = [begin(0)];
  const late = await Promise.race([legs[0].sign, sleep(step.hedge.s).then(() => "late")]);
  if (late !== "late") return legs[0].work;
  legs.push(begin(1));
  const first = await Promise.race(legs.map((leg) => leg.sign));
  loser = 1 - first;
  if (step.hedge.loser === "cancel") legs[loser].stop.abort();
  await legs[loser].work;
  return legs[first].work;
}

async function call(task, step, run) {
  for (const [att, gap] of [...step.naive, null].entries()) {
    const alone = () => attempt(task, step, run, att, 0, new AbortController(), () => {}, () => false);
    const out = step.hedge ? await hedged(task, step, run, att) : await alone();
    if (out === "ok" || out === "cancelled") return true;
    if (gap !== null) await sleep(gap);
  }
  return false;
}

async function play(task) {
  for (let run = 0; run < task.runs; run++) {
    let good = true;
    if (task.mode === "par") good = (await Promise.all(task.steps.map((step) => call(task, step, run)))).every((x) => x);
    else
      for (const step of task.steps) {
        good = (await call(task, step, run)) || task.runs === 1;
        if (!good) break;
        await sleep(task.gap);
      }
    if (good) return;
    await sleep(task.restart_gap);
  }
}

process.on("unhandledRejection", () => {});
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const start = Number(line);
  await Promise.all(plan.tasks.filter((t) => t.lib.startsWith("node")).map(async (t) => {
    await sleep(Math.max(0, start + t.at - Date.now() / 1000));
    await play(t);
  }));
  await sleep(0.3);
  process.exit(0);
}
