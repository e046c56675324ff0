"""The table and the plot of docs/performance.md."""

import re
from pathlib import Path

BEGIN, END = "<!-- measured: scripts/bench writes this part -->", "<!-- end of it -->"


def line(made):
    """A row as it is printed while the run goes on."""
    return f"{made['name']:<44} {figures(made)}"


def figures(made):
    """What a row says, in words."""
    parts = [f"left out: {made['left_out']}"] if "left_out" in made else []
    if made["cycles_per_packet"] is not None:
        parts.append(f"{made['cycles_per_packet']} cycles, {made['mpps']} Mpps a core")
    if made["added_cycles"] is not None:
        parts.append(f"{made['added_cycles']:+} to {made['baseline']}")
    for key, text in (("cpu_us_per_request", "µs of CPU a request"),
                      ("bulk_gbit_per_core_second", "Gbit a core second in bulk"),
                      ("swaps_per_second", "swaps a second")):
        if key in made:
            value = made[key]
            parts.append(f"{value[1] if isinstance(value, list) else value} {text}")
    for key in ("microseconds", "added_microseconds"):
        if key in made:
            told = made[key]
            values = (f"{name} {v[0] if isinstance(v, list) else v}" for name, v in told.items())
            parts.append(f"{key.replace('_', ' ')}: {', '.join(values)}")
    return "; ".join(parts)


def table(rows):
    """All rows in Markdown."""
    lines = ["| | flows | bytes | cycles a packet: least, median, most | Mpps a core "
             "| minus the baseline | other | beside |", "|---|---|---|---|---|---|---|---|"]
    for made in rows:
        if "left_out" in made:
            continue
        spread = ", ".join(f"{value:.1f}" for value in made.get("spread", []))
        rest = figures({**made, "cycles_per_packet": None, "added_cycles": None})
        cells = [made["name"], made["flows"] or None, made["frame_bytes"], spread, made["mpps"],
                 made["added_cycles"], rest, made.get("peer")]
        lines.append("| " + " | ".join("" if cell is None else f"{cell}" for cell in cells) + " |")
    out = [f"{made['name']} ({made['left_out']})" for made in rows if "left_out" in made]
    return lines + (["", "Left out: " + "; ".join(out) + "."] if out else [])


def write(path, rows):
    """Puts the table between its marks, and the plot beside the page."""
    text = Path(path).read_text()
    machines = list(dict.fromkeys(made["machine"] for made in rows))
    part = "\n".join([BEGIN, "", "Machine: " + "; ".join(machines) + ".", "", *table(rows), "", END])
    marks = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.S)
    if not marks.search(text):
        raise SystemExit(f"bench: {path} has no place for the table: {BEGIN} .. {END}")
    Path(path).write_text(marks.sub(lambda _: part, text))
    try:
        plot(Path(path).with_suffix(".svg"), rows)
    except ImportError:
        print("bench: no plot: matplotlib is not there")


def plot(path, rows):
    """Cycles a packet of each source, by program. Black on white with hatches and with the figure at
    each bar, so that it can be read on any ground and without colour."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fermata"
    import matplotlib.pyplot as plt
    shown = [made for made in rows if made["cycles_per_packet"]
             and made["name"].split("/")[0] in ("forward", "vhost", "vswitch", "peers")]
    if not shown:
        return
    shown.reverse()
    height = 0.32 * len(shown) + 1
    figure, axes = plt.subplots(figsize=(9, height), layout="constrained")
    for place, made in enumerate(shown):
        ours = "peer" not in made
        low, middle, high = made["spread"]
        axes.barh(place, low, color="0.45" if ours else "white", edgecolor="black",
                  hatch="" if ours else "////")
        axes.plot([low, middle], [place, place], color="black", linewidth=1)
        axes.text(middle * 1.03, place, f"{low:.0f}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [f"{m['name']} ({m['flows']} flows)" if m["flows"]
                                        else m["name"] for m in shown], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(left=10)
    axes.set_xlabel("TSC cycles a packet on one core, least of several runs; line to the median\n"
                    "filled: Fermata, hatched: others; less is better", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    plt.close(figure)
