// The dashboard: asks the API and shows what it says. Everything from outside becomes text, never markup.
"use strict";

const REFRESH_MS = 2000;
const ROWS = 60;
const CONFIRM_WITHIN = "5m";

const byId = (id) => document.getElementById(id);
const seen = { ledger: null, standings: null, policy: null, exchanges: [], after: null, timer: 0, edited: false };

// ---- Words -------------------------------------------------------------------------------------

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const count = (n) => grouped.format(n ?? 0);
const percent = (part, whole) => (whole > 0 ? `${((part * 100) / whole).toFixed(part > 0 && part * 100 < whole ? 1 : 0)} %` : "-");
const times = (x) => (x == null ? "-" : `${x.toFixed(2)}x`);
const dollars = (x) => (x > 0 && x < 0.01 ? `$${x.toFixed(4)}` : `$${(x ?? 0).toFixed(2)}`);
const short = (n) => (n < 1e4 ? count(n) : n < 1e6 ? `${(n / 1e3).toFixed(0)}k` : `${(n / 1e6).toFixed(1)}M`);
const duration = (s) => {
  if (s == null) return "-";
  if (s < 1) return `${(s * 1e3).toFixed(0)} ms`;
  if (s < 120) return `${s.toFixed(s < 10 ? 1 : 0)} s`;
  if (s < 7200) return `${(s / 60).toFixed(0)} min`;
  return s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${(s / 86400).toFixed(0)} days`;
};
const millis = (ms) => (ms == null ? "-" : duration(ms / 1e3));
const whole = (x) => (x == null ? "-" : x.toFixed(0));
const clock = (unix) => new Date(unix * 1e3).toISOString().slice(11, 19);
const day = (unix) => new Date(unix * 1e3).toISOString().slice(0, 19).replace("T", " ");
const socket = (address, port) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`);
const words = (name) => String(name).replaceAll("_", " ");
const likely = (range) => range?.[1] ?? 0;

// ---- Making elements ---------------------------------------------------------------------------

function make(name, attributes = {}, ...children) {
  const of = ["svg", "g", "path", "line", "text", "rect", "title", "desc"].includes(name) && attributes.svg;
  const element = of ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "svg" || value == null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}
const drawn = (name, attributes, ...children) => make(name, { ...attributes, svg: true }, ...children);

// Puts elements in a place; what had the focus keeps it, and where it was scrolled to.
function put(id, ...children) {
  const place = byId(id);
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const scrolled = place.querySelector(".scroll")?.scrollLeft ?? 0;
  place.replaceChildren(...children);
  const scroll = place.querySelector(".scroll");
  if (scroll) scroll.scrollLeft = scrolled;
  if (focused) [...place.querySelectorAll("[data-key]")].find((e) => e.dataset.key === focused)?.focus({ preventScroll: true });
}

const isLeft = (cell) => (Array.isArray(cell) && cell[1]?.startsWith("left") ? "left" : null);

// A table; a cell is text, an element, or [text, class]. The first cell of a row is its heading.
function table(caption, headings, rows, none = "none yet") {
  if (rows.length === 0) return make("p", { class: "soft" }, none);
  const cell = (value, place) => {
    const [content, kind] = Array.isArray(value) ? value : [value, null];
    return place === 0 ? make("th", { scope: "row", class: kind }, content) : make("td", { class: kind }, content);
  };
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...headings.map((h, place) => make("th", { scope: "col", class: isLeft(rows[0][place]) }, h)))),
      make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map(cell))))));
}

// ---- Asking ------------------------------------------------------------------------------------

async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, { ...options, cache: "no-store", credentials: "same-origin" });
  const answer = await response.json();
  if (!response.ok) {
    const { message = response.statusText, path: where, hint } = answer.error ?? {};
    throw new Error([where, message, hint].filter(Boolean).join(": "));
  }
  return answer;
}

// ---- Dialogs -----------------------------------------------------------------------------------

// Shows something; resolves to whether it was agreed to. `yes` names the button, without it there is none.
function show(title, content, yes) {
  const dialog = byId("dialog");
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...content);
  byId("dialog-yes").hidden = !yes;
  byId("dialog-yes").textContent = yes ?? "";
  byId("dialog-no").textContent = yes ? "Cancel" : "Close";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}
const failed = (what, error) => show(what, [make("p", { class: "bad" }, error.message)]);

async function explain(id) {
  try {
    const { sections = [] } = await ask(`/v1/explain/${encodeURIComponent(id)}`);
    const content = sections.flatMap(({ title, statements }) => [
      make("h3", {}, title),
      make("dl", {}, ...statements.flatMap(({ about, text }) => [make("dt", {}, about), make("dd", {}, text)])),
    ]);
    await show(`Exchange ${id}`, content);
  } catch (error) {
    await failed(`Exchange ${id}`, error);
  }
}

// ---- Now ---------------------------------------------------------------------------------------

function showHealth(health, status) {
  const place = byId("health");
  const wrong = [];
  if (!health.data_plane) wrong.push("the data plane does not answer");
  if (!health.store) wrong.push("the store cannot be read");
  if (health.bypassed) wrong.push("the bypass is on: nothing acts");
  if (health.disarmed > 0) wrong.push("a rule has ended its own enforcement");
  for (const lcore of status?.lcores ?? []) {
    if (lcore.heartbeat_age_ms > 1000) wrong.push(`lcore ${lcore.lcore} gives no sign of life`);
  }
  for (const port of status?.ports ?? []) if (port.link === "down") wrong.push(`port ${port.name} has no link`);
  if (health.error) wrong.push(health.error.message);
  const text = wrong.length > 0 ? `Look here: ${wrong.join("; ")}` : "All is well";
  if (place.textContent !== text) place.textContent = text;
  place.className = wrong.length > 0 ? "bad" : "good";
  const policy = status?.policy;
  byId("about").textContent = status
    ? `${status.mode}, up ${duration(status.uptime_seconds)}, policy revision ${policy.revision} (${policy.mode})` : "";
  const bypass = byId("bypass");
  bypass.hidden = !status;
  bypass.textContent = health.bypassed ? "End the bypass" : "Bypass";
  bypass.dataset.on = health.bypassed ? "yes" : "";
}

function showTiles({ endpoints: book }, standings) {
  const { totals } = book;
  const held = (standings?.backends ?? []).reduce((sum, backend) => sum + backend.held, 0);
  const running = (standings?.endpoints ?? []).reduce((sum, endpoint) => sum + endpoint.in_flight, 0);
  const tiles = [
    ["Requests", count(totals.attempts)],
    ["In flight", count(running)],
    ["Held", count(held), held > 0 ? "warn" : null],
    ["Attempts for each call", times(totals.first_attempts > 0 ? totals.attempts / totals.first_attempts : null)],
    ["Waste", percent(totals.waste.exchanges, totals.attempts), totals.waste.exchanges > 0 ? "bad" : "good"],
    ["Wasted tokens", short(likely(totals.waste.tokens))],
    ["Wasted cost", dollars(likely(totals.waste.cost))],
    ["Wasted time", duration(totals.waste.seconds)],
  ];
  put("tiles", ...tiles.map(([name, value, kind]) => make("div", {}, make("dt", {}, name), make("dd", { class: kind }, value))));
}

// ---- Over time ---------------------------------------------------------------------------------

// Points are sums: what lies between two of them is what came in that time. A restart begins anew.
function rates(points) {
  const rows = [];
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1], points[i]];
    const seconds = b.time - a.time;
    if (seconds <= 0 || b.exchanges < a.exchanges) continue;
    rows.push({
      time: b.time,
      wasted: Math.max(0, likely(b.waste_tokens) - likely(a.waste_tokens)) * 60 / seconds,
      saved: Math.max(0, b.saved_tokens - a.saved_tokens) * 60 / seconds,
    });
  }
  // No more than can be seen: neighbours are averaged.
  const step = Math.ceil(rows.length / 180);
  const thinned = [];
  for (let i = 0; i < rows.length; i += step) {
    const part = rows.slice(i, i + step);
    const mean = (key) => part.reduce((sum, row) => sum + row[key], 0) / part.length;
    thinned.push({ time: part.at(-1).time, wasted: mean("wasted"), saved: mean("saved") });
  }
  return thinned;
}

function showSeries(points) {
  const rows = rates(points);
  if (rows.length < 2) {
    put("series", make("p", { class: "soft" }, "not enough time has passed yet"));
    return;
  }
  const [w, h, left, low] = [960, 220, 56, 24];
  const most = Math.max(1, ...rows.map((row) => Math.max(row.wasted, row.saved)));
  const [from, to] = [rows[0].time, rows.at(-1).time];
  const x = (time) => left + ((time - from) / Math.max(1, to - from)) * (w - left - 8);
  const y = (value) => h - low - (value / most) * (h - low - 10);
  const line = (key) => rows.map((row, i) => `${i === 0 ? "M" : "L"}${x(row.time).toFixed(1)} ${y(row[key]).toFixed(1)}`).join("");
  const peak = rows.reduce((best, row) => (row.wasted > best.wasted ? row : best));
  const said = `From ${clock(from)} to ${clock(to)} UTC. Most wasted: ${short(peak.wasted)} tokens a minute at ${clock(peak.time)}; `
    + `now ${short(rows.at(-1).wasted)}, and laws in force would spare ${short(rows.at(-1).saved)}.`;
  const grid = [0, 0.5, 1].flatMap((share) => [
    drawn("line", { class: "axis", x1: left, x2: w - 8, y1: y(most * share), y2: y(most * share) }),
    drawn("text", { x: left - 6, y: y(most * share) + 4, "text-anchor": "end" }, short(most * share)),
  ]);
  const ticks = [from, (from + to) / 2, to].map((time, i) =>
    drawn("text", { x: x(time), y: h - 6, "text-anchor": ["start", "middle", "end"][i] }, clock(time)));
  const step = Math.max(1, Math.floor(rows.length / 24));
  const open = byId("series").querySelector("details")?.open;
  put("series",
    make("p", { class: "legend" },
      make("span", {}, make("i"), "tokens wasted a minute"),
      make("span", {}, make("i", { class: "saved" }), "tokens that laws in force spare, or would")),
    drawn("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": "Wasted and spared tokens a minute", "aria-description": said },
      ...grid, ...ticks, drawn("path", { class: "waste", d: line("wasted") }), drawn("path", { class: "saved", d: line("saved") })),
    make("p", {}, said),
    make("details", open ? { open: "" } : {}, make("summary", { "data-key": "series" }, "As a table"),
      table("Tokens a minute", ["Time (UTC)", "Wasted", "Spared"],
        rows.filter((_, i) => i % step === 0).map((row) => [clock(row.time), short(row.wasted), short(row.saved)]))));
}

// ---- Endpoints, backends, tenants, savings -------------------------------------------------------

function breaker(standing, backends) {
  if (!standing) return ["-", "left"];
  if (standing.disarmed) return ["disarmed", "left warn"];
  if (standing.breaker !== "closed") return [standing.breaker, "left bad"];
  const open = backends.filter((backend) => backend.breaker === "open").length;
  if (open > 0) return [`${open} of ${backends.length} open`, "left bad"];
  return standing.overloaded ? ["overloaded", "left warn"] : ["closed", "left good"];
}

function showEndpoints({ endpoints: book }, standings) {
  const rows = book.servers.map((row) => {
    const standing = standings?.endpoints.find((s) => s.endpoint === row.name);
    const backends = standings?.backends.filter((b) => b.endpoint === row.name) ?? [];
    const sum = (key) => (backends.length > 0 ? backends.reduce((all, b) => all + (b[key] ?? 0), 0) : null);
    const waits = backends.some((b) => b.waiting_max != null) ? sum("waiting_max") : null;
    const ended = row.by_outcome;
    const bad = row.exchanges - (ended.complete ?? 0) - (ended.open ?? 0);
    return [
      row.name, `${standing?.in_flight ?? "-"} / ${whole(sum("in_flight_max"))}`, `${whole(sum("waiting"))} / ${whole(waits)}`,
      whole(sum("held")), breaker(standing, backends), `${millis(row.first_byte_p50_ms)} / ${millis(row.first_byte_p99_ms)}`,
      count(row.attempts), times(row.amplification), percent(bad, row.exchanges),
      [percent(row.waste.exchanges, row.attempts), row.waste.exchanges > 0 ? "bad" : null],
      short(likely(row.waste.tokens)), dollars(likely(row.waste.cost)),
    ];
  });
  put("endpoint-rows", table("Endpoints, those with most waste first; limits are those at all their addresses together; tokens and cost are those wasted", [
    "Endpoint", "In flight / limit", "Waiting / limit", "Held", "Breaker", "First byte p50 / p99", "Attempts", "Amplif.",
    "Failed", "Waste", "Tokens", "Cost"], rows));
}

function showBackends(standings) {
  const rows = [...(standings?.backends ?? [])].sort((a, b) => b.held - a.held || b.in_flight - a.in_flight).slice(0, ROWS);
  put("backend-rows", table("Addresses that were called lately, those with most held first", [
    "Address", "Endpoint", "Held", "Longest", "In flight / limit", "Waiting / limit", "Usual first byte", "Breaker"],
  rows.map((b) => [
    socket(b.server, b.server_port), [b.endpoint ?? "-", "left"], [count(b.held), b.held > 0 ? "warn" : null], millis(b.held_longest_ms),
    `${b.in_flight} / ${whole(b.in_flight_max)}`, `${b.waiting} / ${whole(b.waiting_max)}`, millis(b.first_byte_base_ms),
    [b.breaker, b.breaker === "closed" ? "left good" : "left bad"],
  ])));
}

// Jain's index: 1 where all got the same, 1/n where one got everything.
function jain(shares) {
  const sum = shares.reduce((a, b) => a + b, 0);
  const squares = shares.reduce((a, b) => a + b * b, 0);
  return squares > 0 ? (sum * sum) / (shares.length * squares) : null;
}

function showTenants(tenants) {
  const tokens = tenants.map((row) => likely(row.tokens));
  const attempts = tenants.reduce((sum, row) => sum + row.attempts, 0);
  const all = tokens.reduce((a, b) => a + b, 0);
  const index = tenants.length > 1 ? jain(tokens) : null;
  byId("fairness").textContent = index == null ? ""
    : `Fairness of tokens (Jain): ${index.toFixed(2)}; 1 is the same for all ${tenants.length}, ${(1 / tenants.length).toFixed(2)} is everything for one.`;
  put("tenant-rows", table("Tenants, those with most waste first",
    ["Tenant", "Requests", "Share", "Tokens", "Share", "Amplification", "Waste", "Wasted tokens", "Wasted cost"],
    tenants.slice(0, ROWS).map((row) => [
      row.name, count(row.attempts), percent(row.attempts, attempts), short(likely(row.tokens)), percent(likely(row.tokens), all),
      times(row.amplification), percent(row.waste.exchanges, row.attempts), short(likely(row.waste.tokens)), dollars(likely(row.waste.cost)),
    ])));
}

function showSavings(savings) {
  const range = (values, text) => `${text(values[1])} (${text(values[0])} to ${text(values[2])})`;
  put("saving-rows", table("Since the start", ["Law", "Requests", "Time", "Tokens", "Cost"],
    Object.entries(savings).map(([law, saving]) => [
      words(law), range(saving.exchanges, count), range(saving.seconds, duration), range(saving.tokens, short), range(saving.cost, dollars)])));
}

// ---- Propagation -------------------------------------------------------------------------------

const EDGES = 40;
const KINDS = { failure: "failed at", retry: "retried", followed_by: "then called", restart: "began anew", doomed: "went on in vain" };

function showGraph({ nodes, edges }) {
  const widest = edges.slice(0, EDGES);
  if (widest.length === 0) {
    put("graph", make("p", { class: "soft" }, "no failure has spread"));
    return;
  }
  const ids = new Set(widest.flatMap((edge) => [edge.from, edge.to]));
  const sides = ["endpoint", "client"].map((kind) => nodes.filter((node) => node.kind === kind && ids.has(node.id)));
  const [w, gap, top] = [960, 34, 18];
  const h = top * 2 + gap * Math.max(...sides.map((side) => side.length));
  const places = new Map();
  sides.forEach((side, i) => side.forEach((node, n) => {
    const step = (h - top * 2) / side.length;
    places.set(node.id, { x: i === 0 ? 250 : w - 250, y: top + step * (n + 0.5), end: i === 0 ? "end" : "start", node });
  }));
  const most = Math.max(...widest.map((edge) => edge.exchanges));
  const lines = widest.filter((edge) => places.has(edge.from) && places.has(edge.to)).map((edge) => {
    const [a, b] = [places.get(edge.from), places.get(edge.to)];
    const bend = edge.kind === "failure" ? -0.12 : 0.12;
    const middle = { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 + (b.x - a.x) * bend };
    const text = `${a.node.name} ${edge.kind === "failure" ? "failed for" : KINDS[edge.kind] ?? edge.kind} ${b.node.name}: ${count(edge.exchanges)}, ${count(edge.failed)} failed`;
    return drawn("path", { class: `edge ${edge.kind}`, "stroke-width": 1 + (7 * edge.exchanges) / most, d: `M${a.x} ${a.y}Q${middle.x} ${middle.y} ${b.x} ${b.y}` },
      drawn("title", {}, text));
  });
  const marks = [...places.values()].map(({ x, y, end, node }) => {
    const own = widest.filter((edge) => edge.from === node.id || edge.to === node.id);
    const text = `${node.kind} ${node.name}: ${own.map((edge) => `${words(edge.kind)} ${count(edge.exchanges)}`).join(", ")}`;
    const name = node.name.length > 30 ? `${node.name.slice(0, 29)}…` : node.name;
    return drawn("g", { tabindex: "0", role: "img", "aria-label": text, "data-key": node.id },
      drawn("title", {}, text), drawn("rect", { class: "node", x: x - 6, y: y - 6, width: 12, height: 12, rx: node.kind === "client" ? 6 : 2 }),
      drawn("text", { x: x + (end === "end" ? -14 : 14), y: y + 4, "text-anchor": end }, name));
  });
  const open = byId("graph").querySelector("details")?.open;
  put("graph",
    make("p", { class: "legend" }, make("span", {}, make("i"), "failures that clients met"), make("span", { class: "soft" }, "what they did next")),
    drawn("svg", { viewBox: `0 0 ${w} ${h}`, role: "group", "aria-label": `${places.size} endpoints and clients, ${lines.length} edges; the table below says the same` }, ...lines, ...marks),
    make("details", open ? { open: "" } : {}, make("summary", { "data-key": "graph" }, "As a table"),
      table("The widest edges", ["From", "What", "To", "Requests", "Failed", "Time", "Tokens"], widest.map((edge) => [
        edge.from.replace(":", " "), [words(edge.kind), "left"], [edge.to.replace(":", " "), "left"], count(edge.exchanges), count(edge.failed),
        duration(edge.seconds), short(edge.tokens)]))));
}

// ---- Exchanges ---------------------------------------------------------------------------------

const SHOWN = {
  all: () => true,
  waste: (x) => x.waste != null,
  failed: (x) => x.outcome !== "complete" && x.outcome !== "open",
  verdict: (x) => x.verdict !== "pass",
};

function showExchanges() {
  const which = SHOWN[byId("which").value] ?? SHOWN.all;
  const rows = seen.exchanges.filter(which).slice(-ROWS).reverse();
  put("exchange-rows", table("The newest first; a number says why", [
    "Exchange", "Ended (UTC)", "Client", "Endpoint", "Outcome", "Attempt", "First byte", "Took", "Waste", "Verdict"],
  rows.map((x) => [
    make("button", { type: "button", class: "link", "data-key": x.id, "aria-label": `Explain exchange ${x.id}`, onclick: () => explain(x.id) }, x.id),
    clock(x.end), [socket(x.client, x.client_port), "left"], [x.endpoint ?? x.sni ?? x.server, "left"],
    [words(x.outcome), x.outcome === "complete" ? "left good" : "left bad"], x.retry_of ? `${x.attempt} (of ${x.retry_of})` : String(x.attempt),
    x.first_byte == null ? "-" : duration(x.first_byte - x.start), duration(x.end - x.start), [x.waste ? words(x.waste) : "-", x.waste ? "left bad" : "left"],
    [x.verdict === "pass" ? "pass" : `${x.verdict}${x.enforced ? "" : " (shadow)"}: ${words(x.reason)}`, "left"],
  ])));
}

// ---- Policy ------------------------------------------------------------------------------------

function showPolicy(policy, history) {
  const { revision, entry, pending } = policy;
  byId("revision").textContent = entry
    ? `Revision ${revision}, by ${entry.who} at ${day(entry.when)} UTC: ${entry.why || "no reason given"}` : "Revision 0: the shipped catalogue, in shadow";
  if (!seen.edited) byId("text").value = policy.text;
  seen.policy = policy;
  showPending(pending);
  const rows = [...history.revisions].reverse().slice(0, ROWS).map((e) => [
    `${e.revision}${e.revision === history.revision ? " (in force)" : ""}`, day(e.when), [e.who, "left"],
    [e.restores ? `brings back ${e.restores}` : e.why || "-", "left"],
    e.revision === history.revision ? "" : make("button", { type: "button", "data-key": `r${e.revision}`, onclick: () => rollback(e.revision) }, `Go back to ${e.revision}`),
  ]);
  put("history", table("Revisions, the newest first", ["Revision", "When (UTC)", "Who", "Why", ""], rows, "nothing was applied yet"));
}

function showPending(pending) {
  const place = byId("pending");
  place.hidden = !pending;
  if (!pending) return;
  const left = Math.max(0, pending.until - Date.now() / 1e3);
  const text = `Revision ${pending.revision} waits to be confirmed, until ${clock(pending.until)} UTC (${duration(left)} left). Then the one before it comes back.`;
  if (place.querySelector("button")) {
    place.querySelector("p").textContent = text;
    return;
  }
  place.replaceChildren(make("p", {}, text), make("p", { class: "row" },
    make("button", { type: "button", id: "confirm", onclick: () => change("Confirm", "/v1/policy/confirm", {}) }, "Confirm: keep it"),
    make("button", { type: "button", onclick: () => rollback() }, "Roll back now")));
}

async function change(what, path, body) {
  try {
    await ask(path, body);
    seen.edited = false;
    byId("difference").replaceChildren();
    byId("apply").disabled = true;
    byId("pending").replaceChildren();
    await refreshPolicy();
  } catch (error) {
    await failed(`${what} was refused`, error);
  }
}

async function rollback(to) {
  const sure = await show(to ? `Go back to revision ${to}?` : "Roll back?", [make("p", {}, "It takes effect at once, without the loss of a frame.")], "Go back");
  if (sure) await change("Going back", "/v1/policy/rollback", to ? { to, why: "from the dashboard" } : { why: "from the dashboard" });
}

const json = (value) => (value == null ? "nothing" : typeof value === "string" ? value : JSON.stringify(value));

async function compare(event) {
  event?.preventDefault();
  const place = byId("difference");
  try {
    const { revision, policy, changes, replay } = await ask("/v1/policy/dry-run", { text: byId("text").value, name: "the editor" });
    const found = policy.findings.map((finding) => make("li", { class: "warn" }, finding.message ?? json(finding)));
    place.replaceChildren(
      make("h3", {}, changes.length === 0 ? `No difference from revision ${revision}` : `${changes.length} fields differ from revision ${revision}`),
      make("ul", { class: "changes" }, ...found, ...changes.map(({ document: of, path, before, after }) => make("li", {},
        make("strong", {}, of), path ? ` ${path}: ` : ": ", make("del", {}, make("code", {}, json(before))), " becomes ", make("ins", {}, make("code", {}, json(after)))))),
      make("p", {}, `Mode ${policy.mode}, ${policy.endpoints} endpoints. Of ${count(replay.exchanges)} exchanges of the last ${duration(replay.seconds)}: `
        + `${count(replay.verdicts)} verdicts other than to pass; ${count(replay.enforced_before)} are acted on now, ${count(replay.enforced_after)} would be.`));
    byId("apply").disabled = changes.length === 0;
    byId("apply").dataset.revision = revision;
  } catch (error) {
    byId("apply").disabled = true;
    place.replaceChildren(make("p", { class: "bad" }, error.message));
  }
}

async function apply() {
  const why = make("input", { id: "why", maxlength: "200", size: "40" });
  const confirm = make("input", { type: "checkbox", id: "within", checked: "" });
  const sure = await show("Put this policy in force?", [
    ...[...byId("difference").children].map((child) => child.cloneNode(true)),
    make("p", {}, make("label", { for: "why" }, "Why, for the history: "), why),
    make("p", {}, confirm, make("label", { for: "within" }, ` Take it back after ${CONFIRM_WITHIN} unless it is confirmed`)),
  ], "Apply");
  if (!sure) return;
  await change("The policy", "/v1/policy/apply", {
    text: byId("text").value, name: "the editor", why: why.value, if_revision: Number(byId("apply").dataset.revision),
    ...(confirm.checked ? { confirm_within: CONFIRM_WITHIN } : {}),
  });
}

async function bypass() {
  const on = !byId("bypass").dataset.on;
  const text = on ? "Nothing is held, reset or rerouted any more, and everything held goes at once. What passes is counted all the same."
    : "Rules act on traffic again, as the policy says.";
  if (await show(on ? "Turn the bypass on?" : "End the bypass?", [make("p", {}, text)], on ? "Bypass" : "End it")) {
    await change("The bypass", "/v1/bypass", { on });
  }
}

// ---- Refreshing --------------------------------------------------------------------------------

async function refreshPolicy() {
  const [policy, history] = await Promise.all([ask("/v1/policy"), ask("/v1/policy/history")]);
  showPolicy(policy, history);
}

async function newExchanges() {
  const after = seen.after == null ? "" : `&after=${seen.after}`;
  const page = await ask(`/v1/exchanges?limit=1000${after}`);
  if (page.next < (seen.after ?? 0)) seen.exchanges = [];
  seen.after = page.next;
  seen.exchanges = [...seen.exchanges, ...page.rows].slice(-2000);
  showExchanges();
}

async function refresh() {
  clearTimeout(seen.timer);
  const health = await ask("/v1/health").catch((error) => ({ data_plane: false, store: true, error: { message: `the daemon does not answer: ${error.message}` } }));
  const parts = [
    ask("/v1/status").then((status) => showHealth(health, status)).catch(() => showHealth(health, null)),
    Promise.all([ask("/v1/ledger"), ask("/v1/backends")]).then(([ledger, standings]) => {
      showTiles(ledger, standings);
      showEndpoints(ledger, standings);
      showBackends(standings);
    }),
    ask("/v1/tenants").then(showTenants),
    ask("/v1/savings").then(showSavings),
    ask(`/v1/series?seconds=${byId("span").value}`).then(showSeries),
    ask("/v1/propagation").then(showGraph),
    newExchanges(),
    refreshPolicy(),
  ];
  await Promise.allSettled(parts);
  document.body.dataset.ready = "yes";
  seen.timer = setTimeout(refresh, document.hidden ? REFRESH_MS * 15 : REFRESH_MS);
}

byId("span").addEventListener("change", refresh);
byId("which").addEventListener("change", showExchanges);
byId("edit").addEventListener("submit", compare);
byId("apply").addEventListener("click", apply);
byId("bypass").addEventListener("click", bypass);
byId("text").addEventListener("input", () => {
  seen.edited = true;
  byId("apply").disabled = true;
});
byId("revert").addEventListener("click", () => {
  seen.edited = false;
  byId("text").value = seen.policy?.text ?? "";
  byId("difference").replaceChildren();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) refresh();
});
refresh();
