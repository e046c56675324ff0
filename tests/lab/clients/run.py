#!/usr/bin/env python3
"""Plays a scenario of the lab with the real openai and anthropic packages.

    run.py --scenario NAME --plan-out PLAN.json                        write the server's plan and stop
    run.py --scenario NAME --ca CA.pem --out ANSWERS.jsonl             play it

Writes one line a call: what the application saw, and a digest of the answer's bytes as they arrived. Exit 0 when every
call was played (calls that fail by plan are results), 1 on an error of the program itself, 4 on wrong usage.
"""
import argparse
import asyncio
import json
import os
import sys
import time

import scenarios


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", required=True, choices=sorted(scenarios.SCENARIOS), help="what to play")
    parser.add_argument("--seed", type=int, default=1, help="seed of the scenario (default 1)")
    parser.add_argument("--plan-out", metavar="FILE", help="write the server's plan here and stop")
    parser.add_argument("--ca", metavar="FILE", help="certificate authority of the lab (ca.pem)")
    parser.add_argument("--out", metavar="FILE", help="answers, one JSON line a call")
    parser.add_argument("--clients", default="198.51.100.11,198.51.100.12,198.51.100.13,198.51.100.14",
                        help="client addresses, comma separated")
    chosen = parser.parse_args()
    if not chosen.plan_out and not (chosen.ca and chosen.out):
        parser.print_usage(sys.stderr)
        sys.stderr.write("run.py: give --plan-out, or --ca and --out\n")
        sys.exit(4)
    return chosen


async def play(calls, ca, clients):
    """-> the lines of all calls, each started at its time"""
    import application          # the SDKs take seconds to import, and a plan needs none
    house = application.House(ca, clients)
    began = time.monotonic()

    async def one(call):
        await asyncio.sleep(max(0.0, call.at - (time.monotonic() - began)))
        return await house.call(call)

    try:
        return await asyncio.gather(*(one(call) for call in calls))
    finally:
        await house.close()


def main():
    chosen = arguments()
    calls, plan = scenarios.build(chosen.scenario, chosen.seed)
    if chosen.plan_out:
        with open(chosen.plan_out, "w") as file:
            json.dump(plan, file, indent=1)
        return
    began = time.monotonic()
    lines = asyncio.run(play(calls, chosen.ca, chosen.clients.split(",")))
    with open(chosen.out, "w") as file:
        for line in sorted(lines, key=lambda line: line["call"]):
            file.write(json.dumps(line) + "\n")
    ok = sum(line["outcome"] == "ok" for line in lines)
    attempts = sum(line["attempts"] for line in lines)
    print("%s: %d calls, %d answered, %d attempts, %.1f s" % (chosen.scenario, len(lines), ok, attempts, time.monotonic() - began))
    sys.stdout.flush()
    os._exit(0)         # what the scenario dropped on purpose must not be closed politely by the interpreter's end


if __name__ == "__main__":
    main()
