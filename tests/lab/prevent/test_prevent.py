"""What the lab of prevention promises: python3 -m unittest discover -s tests/lab/prevent. Needs no package."""
import json
import unittest

import judge
import scenarios


def made(id, tokens, call=0):
    return dict(call=call, id=id, tokens=tokens, slot_s=1.0, status=200)


def seen(call, out, got, began=0.0, ended=1.0):
    return dict(call=call, tenant="all", out=out, got=got, began=began, ended=ended, attempts=2, first=None)


class Scenarios(unittest.TestCase):
    def test_a_seed_gives_one_scenario(self):
        for name in scenarios.SCENARIOS:
            with self.subTest(name):
                self.assertEqual(json.dumps(scenarios.build(name, 30, 3)), json.dumps(scenarios.build(name, 30, 3)))

    def test_calls_are_numbered_in_order_and_end_with_the_load(self):
        for name in scenarios.SCENARIOS:
            with self.subTest(name):
                calls = scenarios.build(name, 30, 1)["calls"]
                self.assertEqual([c["id"] for c in calls], list(range(len(calls))))
                self.assertEqual(calls, sorted(calls, key=lambda c: c["at"]))
                self.assertLess(calls[-1]["at"], 30)


class Figures(unittest.TestCase):
    scenario = dict(trigger=[0, 5], seconds=10)

    def test_tokens_of_answers_that_nobody_had_are_wasted(self):
        out = judge.figures(self.scenario, [made("a", 30), made("b", 50)], [seen(0, "ok", "b")], 0.0)
        self.assertEqual((80, 30, 2.0), (out["tokens"], out["wasted"], out["forwarded"]))

    def test_a_call_that_its_application_gave_up_has_not_failed(self):
        out = judge.figures(self.scenario, [], [seen(0, "left", None), seen(1, "APITimeoutError", None)], 0.0)
        self.assertEqual((1, 1), (out["left"], out["failed"]))

    def test_answers_after_the_load_and_before_the_trigger_are_no_goodput(self):
        rows = [seen(0, "ok", "a", ended=-0.1), seen(1, "ok", "b", ended=4.0), seen(2, "ok", "c", ended=10.5)]
        self.assertEqual(0.1, judge.figures(self.scenario, [], rows, 0.0)["goodput"])

    def test_a_bar_fails_on_each_of_its_figures(self):
        off = dict(wasted=1000, goodput=5.0, failed=9)
        good = dict(off=off, enforce=dict(wasted=100, goodput=6.0, failed=9), haproxy=dict(wasted=300, goodput=5.5, failed=3))
        self.assertTrue(all(holds for _, holds in judge.bars("capacity_cut", good)))
        for key, value in dict(wasted=500, goodput=4.0, failed=10).items():
            bad = good | dict(enforce=good["enforce"] | {key: value})
            self.assertFalse(all(holds for _, holds in judge.bars("capacity_cut", bad)), key)


if __name__ == "__main__":
    unittest.main()
