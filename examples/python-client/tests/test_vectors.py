"""The golden vectors of the specification."""

import unittest
from pathlib import Path

from talkoot import vectors

FOLDER = Path(__file__).parents[3] / "docs/spec/vectors"


class Vectors(unittest.TestCase):
    def test_all_are_judged_as_they_say_and_none_is_passed_over(self) -> None:
        report = vectors.verify(FOLDER)
        self.assertEqual(report.wrong, [])
        for folder in ("valid", "invalid"):
            self.assertEqual(report.counts[folder], len(list((FOLDER / folder).iterdir())))
