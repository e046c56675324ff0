"""What the maker of captures promises: python3 -m unittest discover -s tests/lab/maker. Needs no package."""
import json
import unittest

import kinds
import truth


def row(id, call=0, att=0, hedge=0, run=0, t=0.0, end=1.0):
    return dict(id=id, call=call, run=run, att=att, hedge=hedge, t_hdr=t, t_end=end)


class Kinds(unittest.TestCase):
    def test_a_seed_gives_one_script(self):
        for kind in kinds.KINDS:
            with self.subTest(kind):
                self.assertEqual(json.dumps(kinds.build(kind, 3)), json.dumps(kinds.build(kind, 3)))

    def test_every_call_has_an_id_of_its_own_and_every_fault_a_call(self):
        for kind in kinds.KINDS:
            with self.subTest(kind):
                plan, tasks, _ = kinds.build(kind, 1)
                calls = [step["id"] for task in tasks for step in task["steps"]]
                self.assertEqual(len(calls), len(set(calls)))
                self.assertLessEqual({int(call) for call in plan["faults"]}, set(calls))

    def test_the_healthy_kind_has_no_faults(self):
        plan = kinds.build("healthy", 1)[0]
        self.assertEqual(({}, []), (plan["faults"], plan["windows"]))


class Truth(unittest.TestCase):
    def test_a_retry_follows_the_attempt_before_it_in_its_run(self):
        rows = [row(0), row(1, att=1, t=2.0), row(2, call=1), row(3, run=1, t=4.0)]
        truth.link(rows)
        self.assertEqual([None, 0, None, None], [r["retry_of"] for r in rows])

    def test_a_hedge_is_one_only_while_the_first_runs_and_is_no_retry(self):
        rows = [row(0, end=5.0), row(1, hedge=1, t=0.5), row(2, call=1, end=0.4), row(3, call=1, hedge=1, t=0.5)]
        truth.link(rows)
        self.assertEqual([False, True, False, False], [r["is_hedge"] for r in rows])
        self.assertFalse(any(r["is_retry"] for r in rows))

    def test_what_the_server_ended_after_its_client_had_asked_again_is_unread(self):
        done = dict(end="complete", status=200, t_first=1.0)
        self.assertEqual("success", truth.class_of(done, "ok"))
        self.assertEqual("success_unread", truth.class_of(done, truth.AGAIN))
        self.assertEqual("client_timeout", truth.class_of(dict(done, end="client_abort"), truth.AGAIN))
        self.assertEqual("http_error", truth.class_of(dict(done, status=503), truth.AGAIN))


if __name__ == "__main__":
    unittest.main()
