"""What the scenarios promise: python3 -m unittest discover -s tests/lab/clients. Needs no SDK."""
import json
import unittest

import scenarios


class Scenarios(unittest.TestCase):
    def each(self):
        for name in scenarios.SCENARIOS:
            with self.subTest(name):
                yield (name, *scenarios.build(name, 1))

    def test_a_seed_gives_one_plan(self):
        for name, calls, plan in self.each():
            again = scenarios.build(name, 1)
            self.assertEqual(calls, again[0])
            self.assertEqual(json.dumps(plan), json.dumps(again[1]))

    def test_every_prompt_has_a_length_of_its_own(self):
        for _, calls, _ in self.each():
            self.assertEqual(len(calls), len({call.prompt for call in calls}))

    def test_a_stream_is_given_up_before_it_can_end(self):
        for _, calls, _ in self.each():
            for call in calls:
                if call.cancel:                              # an Anthropic event carries up to four tokens
                    self.assertLess(4 * (call.cancel_after - 3), call.tokens, call.id)

    def test_the_healthy_scenario_has_no_faults(self):
        self.assertEqual([], scenarios.build("healthy", 1)[1]["faults"])


if __name__ == "__main__":
    unittest.main()
