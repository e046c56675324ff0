"""Joins what the model servers logged with what the clients saw: the truth of a capture, one line a request.

Nothing here looks at packets.
"""
import collections
import json

import edges

# What an edge answers for a server that breaks off before the reply.
ANSWERS = {"nginx": 502, "caddy": 502, "haproxy": 502, "hypercorn": 500}
AGAIN = "asked again"
LEFT = {"cancelled": "user_cancel", "hedge_loser": "hedge_loser", "harness_end": "client_abort"}


def lines(paths):
    return [json.loads(line) for path in paths for line in open(path) if line.strip()]


def class_of(row, out):
    """The class of a request. `out`: what its client saw; AGAIN where the SDK asked again after it."""
    if row["end"] == "client_abort":
        return LEFT.get(out, "client_timeout")
    if row["end"] == "server_reset":
        return "server_reset" if row["t_first"] else "reset_before"
    if row["status"] >= 400:
        return "http_error"
    if out in LEFT or out in ("timeout", AGAIN):          # the server ended what nobody read
        return "hedge_loser" if out == "hedge_loser" else "success_unread"
    return "success"


def link(rows):
    """Retries and their forerunners; hedges are none."""
    before, first = {}, {}
    for row in rows:
        key = row["call"], row["run"]
        running = first.get((*key, row["att"]), row) if row["hedge"] else first.setdefault((*key, row["att"]), row)
        # A client may hold its hedge back until the first is over: that is none on the wire.
        row["is_hedge"] = bool(row["hedge"]) and running["t_end"] > row["t_hdr"]
        row["is_retry"], row["retry_of"] = False, None
        if not row["hedge"]:
            row["is_retry"], row["retry_of"] = key in before, before.get(key)
            before[key] = row["id"]
        row["is_restart"] = row["run"] > 0


def waste(rows):
    """What nobody could use: cut, abandoned and failed replies, and answers of a run that was begun again."""
    runs = collections.Counter()
    for row in rows:
        runs[row["call"]] = max(runs[row["call"]], row["run"])
    for row in rows:
        again = row["cls"] == "success" and row["run"] < runs[row["call"]]
        row["waste"] = "restart" if again else None if row["cls"] == "success" else row["cls"]
        row["wasted_tokens"] = row["tokens"] if row["waste"] else 0
        row["wasted_prompt_tokens"] = row["prompt_tokens"] if row["waste"] else 0


def join(logs, seen, tasks):
    """-> the truth"""
    rows = sorted(lines(logs), key=lambda row: row["t_hdr"])
    outs = {(x["call"], x["run"], x["att"], x["hedge"]): x for x in lines(seen)}
    task_of = {step["id"]: (n, task) for n, task in enumerate(tasks) for step in task["steps"]}
    last = {(row["call"], row["run"], row["att"], row["hedge"]): n for n, row in enumerate(rows)}
    for n, row in enumerate(rows):
        key = row["call"], row["run"], row["att"], row["hedge"]
        out = outs[key]["out"] if key in outs else None
        number, task = task_of[row["call"]]
        address, port, name, edge, _ = edges.ENDPOINTS[row["ep"]]
        row.update(id=n, sni=name if port == 443 else None, server=address, server_port=port, srv=edge, visible=True,
                   lib=task["lib"], conn=task["conn"], cl="c%d" % (task["client"] + 1),
                   wf=number, pattern=task["pattern"], wf_runs=task["runs"], prompt_tokens=row["req_body"] // 4,
                   client_out=out)
        row["cls"] = class_of(row, out if last[key] == n else AGAIN)
        if row["cls"] == "reset_before" and edge in ANSWERS:
            row.update(status=ANSWERS[edge], end="complete", cls="http_error")
        if row["cls"] == "hedge_loser":
            row["client_out"] = "hedge_loser"
        row["note"] = row["note"] or None
    link(rows)
    waste(rows)
    return rows
