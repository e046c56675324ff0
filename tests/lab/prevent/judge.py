"""From what servers and applications wrote down to the figures of a run, and from runs to a table and to the bars."""

COLUMNS = (("goodput", "goodput /s", "%.2f"), ("wasted_share", "wasted", "%.0f%%"), ("wasted", "tokens wasted", "%d"),
           ("failed", "failed", "%d"), ("attempts", "attempts", "%.2f"), ("forwarded", "at server", "%.2f"), ("p50", "p50 s", "%.2f"),
           ("p95", "p95 s", "%.2f"))
WASTE_LEFT_MAX = 0.2
BARS = ("capacity_cut", "retry_storm")


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def figures(scenario, made, seen, start):
    """The figures of one run: `made` is a line a request of the servers, `seen` a line a call of the applications.

    Goodput: calls that the application had whole before the load ended, a second, from the trigger on. Wasted: tokens of
    answers that no application had. Failed: calls that ended in an error at the application. Attempts: requests an SDK or
    loop sent for each call; `forwarded`: those that reached a server. Latency: of calls that were answered.
    """
    begin, end = scenario["trigger"][0], scenario["seconds"]
    got = {row["got"] for row in seen if row["got"]}
    tokens = sum(row["tokens"] for row in made)
    wasted = sum(row["tokens"] for row in made if row["id"] not in got)
    ok = [row for row in seen if row["out"] == "ok"]
    good = sum(begin <= row["ended"] - start < end for row in ok)
    took = [row["ended"] - row["began"] for row in ok]
    failed = [row for row in seen if row["out"] not in ("ok", "left")]
    out = dict(calls=len(seen), ok=len(ok), failed=len(failed), left=len(seen) - len(ok) - len(failed),
               goodput=good / (end - begin), tokens=tokens, wasted=wasted, wasted_share=100 * wasted / max(1, tokens),
               slot_s_wasted=sum(row["slot_s"] for row in made if row["id"] not in got),
               attempts=sum(row["attempts"] for row in seen) / max(1, len(seen)), forwarded=len(made) / max(1, len(seen)),
               throttled=sum(row["status"] == 429 for row in made), p50=quantile(took, 0.5), p95=quantile(took, 0.95))
    errors = {}
    for row in failed:
        errors[row["out"]] = errors.get(row["out"], 0) + 1
    out["errors"] = errors
    for tenant in sorted({row["tenant"] for row in seen} - {"all"}):
        others = [row for row in seen if row["tenant"] == "all"]
        done = [row["ended"] - row["began"] for row in others if row["out"] == "ok" and row["began"] - start >= begin]
        out["others"] = dict(beside=tenant, failed=sum(row["out"] not in ("ok", "left") for row in others),
                             p50=quantile(done, 0.5), p95=quantile(done, 0.95))
    return out


def bars(name, modes):
    """Whether a scenario meets what it must show: a list of (sentence, whether it holds)."""
    if name not in BARS or not {"off", "enforce", "haproxy"} <= set(modes):
        return []
    off, on, proxy = (modes[mode] for mode in ("off", "enforce", "haproxy"))
    less = 1 - on["wasted"] / off["wasted"] if off["wasted"] else 0.0
    return [("wasted tokens %+.0f %% (bar: -80 %%)" % (-100 * less), on["wasted"] <= WASTE_LEFT_MAX * off["wasted"]),
            ("goodput %.2f/s, off %.2f/s (bar: no less)" % (on["goodput"], off["goodput"]), on["goodput"] >= off["goodput"]),
            ("wasted tokens %d, HAProxy %d (bar: fewer)" % (on["wasted"], proxy["wasted"]), on["wasted"] < proxy["wasted"]),
            ("goodput %.2f/s, HAProxy %.2f/s (bar: more)" % (on["goodput"], proxy["goodput"]),
             on["goodput"] > proxy["goodput"]),
            ("failed calls %d, off %d (bar: no more)" % (on["failed"], off["failed"]), on["failed"] <= off["failed"])]


def table(name, modes):
    head = "%-9s" % name[:9] + "".join("%14s" % title for _, title, _ in COLUMNS)
    lines = [head]
    for mode, row in modes.items():
        cells = ["-" if row[key] is None else form % row[key] for key, _, form in COLUMNS]
        lines.append("%-9s" % mode + "".join("%14s" % cell for cell in cells))
    return "\n".join(lines)
