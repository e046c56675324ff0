"""Tests of what needs no data plane: `python3 -m unittest discover -s benches/compare`."""

import os
import tempfile
import unittest
from pathlib import Path

import page
import peers
import reading
import rows


class Rows(unittest.TestCase):
    def test_the_least_of_several_runs_counts_and_the_spread_is_told(self):
        made = rows.row("a", [30.0, 20.0, 25.0], 12.0, 2.5, flows=7)
        told = [made[key] for key in ("cycles_per_packet", "mpps", "baseline", "added_cycles")]
        self.assertEqual(told, [20.0, 125.0, 12.0, 8.0])
        self.assertEqual((made["spread"], made["flows"]), ([20.0, 25.0, 30.0], 7))

    def test_a_row_without_cycles_still_has_every_field_of_the_contract(self):
        self.assertEqual(set(rows.FIELDS) - set(rows.row("a", cpu_us_per_request=[1, 2, 3])), set())

    def test_bogomips_are_two_a_cycle_of_the_time_stamp_counter(self):
        self.assertEqual(rows.tsc_ghz("x\nbogomips\t: 4890.00\n"), 2.445)


class Peers(unittest.TestCase):
    def test_figures_of_the_reference_programs_are_read(self):
        text = ("n=65536    b=64 FULL cross-burst                   med    46.1 cyc/pkt [  45.0..  "
                "50.2]   17.8 ns   56.31 Mpps\n"
                "n=65536 kl=16 b=32 huge=1 lookup_bulk+record                 med    27.0 cyc [  "
                "26.0..  29.5]   10.4 ns    96.2 Mops\n")
        self.assertEqual(peers.figures(text), {
            ("FULL cross-burst", 64): [45.0, 46.1, 50.2],
            ("lookup_bulk+record", 32): [26.0, 27.0, 29.5],
        })


class Reading(unittest.TestCase):
    def test_frames_of_a_capture_are_counted(self):
        record = lambda size: bytes(8) + size.to_bytes(4, "little") * 2 + bytes(size)
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(24) + record(60) + record(0) + record(1500))
            file.flush()
            self.assertEqual(reading.frame_count(file.name), 3)


class Page(unittest.TestCase):
    def test_the_table_takes_its_place_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "page.md")
            with open(path, "w") as file:
                file.write(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
            made = rows.row("one", [2.0], None, 2.0, machine="m")
            page.write(path, [made, rows.row("other", machine="m", left_out="not here")])
            text = Path(path).read_text()
        self.assertTrue(text.startswith("before\n") and text.endswith("after\n"))
        self.assertIn("| one |", text)
        self.assertIn("other (not here)", text)
        self.assertNotIn("old", text)


if __name__ == "__main__":
    unittest.main()
