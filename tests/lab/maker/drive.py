#!/usr/bin/env python3
"""Plays the tasks of a capture whose library is one of those named: Python ones, and curl.

    drive.py SCRIPT.json SEEN.jsonl LIBRARY..

Says `ready` when everything is loaded, reads the moment to begin (epoch seconds) from standard input, and writes one
line an attempt: what the caller saw.
"""
import asyncio
import json
import os
import random
import sys
import time

import libraries

SCRIPT = json.load(open(sys.argv[1]))
SEEN = open(sys.argv[2], "w", buffering=1)
# Digits of one length in HPACK's Huffman code: the laboratory's own header must not tell requests apart.
EVEN = str.maketrans("0123456789", "012aceiost")
WORDS = "please sort these notes by date and say which of them need an answer before the end of the week thank you".split()


def prompt(step):
    """Words up to the step's length, the same for every attempt."""
    pick = random.Random(step["id"])
    said = ""
    while len(said) < step["prompt"]:
        said += pick.choice(WORDS) + " "
    return said[:step["prompt"]]


class Player:
    """One task: its steps, runs, loops and hedges."""

    def __init__(self, task, desk):
        self.task, self.desk = task, desk

    async def play(self):
        task = self.task
        for run in range(task["runs"]):
            if task["mode"] == "par":
                done = await asyncio.gather(*(self.call(step, run) for step in task["steps"]))
                good = all(done)
            else:
                good = True
                for step in task["steps"]:
                    good = await self.call(step, run) or task["runs"] == 1
                    if not good:
                        break
                    await asyncio.sleep(task["gap"])
            if good:
                return
            await asyncio.sleep(task["restart_gap"])

    async def call(self, step, run):
        """-> whether the caller has what it wanted, or wants it no longer"""
        for att, gap in enumerate([*step["naive"], None]):
            out = await (self.hedged(step, run,
                                     att) if step.get("hedge") else self.attempt(step, run, att, 0, asyncio.Event()))
            if out in ("ok", "cancelled"):
                return True
            if gap is not None:
                await asyncio.sleep(gap)
        return False

    async def hedged(self, step, run, att):
        """Asks again when the first has not begun to answer; whichever answers first wins."""
        plan, begun = step["hedge"], [asyncio.Event(), asyncio.Event()]
        work = [asyncio.create_task(self.attempt(step, run, att, 0, begun[0]))]
        await asyncio.wait({work[0], asyncio.create_task(begun[0].wait())}, timeout=plan["s"],
                           return_when=asyncio.FIRST_COMPLETED)
        if work[0].done() or begun[0].is_set():
            return await work[0]
        work.append(asyncio.create_task(self.attempt(step, run, att, 1, begun[1])))
        signs = [asyncio.create_task(b.wait()) for b in begun]
        await asyncio.wait({*work, *signs}, return_when=asyncio.FIRST_COMPLETED)
        first = next((n for n in (0, 1) if work[n].done() or begun[n].is_set()), 0)
        self.lost = {(step["id"], run, att, 1 - first)}
        if plan["loser"] == "cancel":
            work[1 - first].cancel()
        await asyncio.wait(work)
        return work[first].result()

    lost = frozenset()

    async def attempt(self, step, run, att, hedge, begun):
        """One attempt of the application. Writes what it saw. -> that"""
        head = ("%05d.%02d.%02d.%d" % (step["id"], run, att, hedge)).translate(EVEN)
        began, out = time.time(), "cancelled"
        try:
            work = self.desk.ask(self.task, step, prompt(step), head, begun)
            limit = (step.get("cancel") or {}).get("s")
            out = await (asyncio.wait_for(work, limit) if limit else work)
        except asyncio.CancelledError:
            return out
        except asyncio.TimeoutError:
            out = "cancelled"
        except Exception as error:                        # an application of the lab lives on whatever its library raises
            out = libraries.said(error)
        finally:
            if (step["id"], run, att, hedge) in self.lost:
                out = "hedge_loser"
            SEEN.write(json.dumps(dict(call=step["id"], run=run, att=att, hedge=hedge, out=out, t0=began,
                                       t1=time.time())) + "\n")
        return out


async def main():
    tasks = [t for t in SCRIPT["tasks"] if t["lib"] in sys.argv[3:]]
    desk = libraries.Desk(SCRIPT, {t["lib"] for t in tasks})
    await desk.warm()
    print("ready", flush=True)
    start = float(sys.stdin.readline())

    async def one(task):
        await asyncio.sleep(max(0.0, start + task["at"] - time.time()))
        await Player(task, desk).play()

    asyncio.get_running_loop().set_default_executor(libraries.threads())
    await asyncio.gather(*(one(t) for t in tasks))
    await asyncio.sleep(0.3)
    os._exit(0)                                           # pools are not closed politely


if __name__ == "__main__":
    asyncio.run(main())
