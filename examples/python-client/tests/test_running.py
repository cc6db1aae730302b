"""What becomes of steps, and which files are artifacts."""

import io
import tarfile
import unittest

from talkoot import globs, running


def package(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def step(name: str, script: str) -> dict[str, object]:
    return {"name": name, "run": ["sh", "-c", script]}


class Running(unittest.TestCase):
    def test_steps_run_in_order_until_one_fails(self) -> None:
        say = 'cat words; echo "$TALKOOT_TASK_INDEX/$TALKOOT_TASK_COUNT $COLOUR" >&2'
        steps = [step("say", say), step("fail", "exit 3"), step("never", "true")]
        job = {"steps": steps, "environment": {"COLOUR": "red"}}
        run = running.run(job, package({"words": b"hello\n"}), 1, 4)
        self.assertEqual(run.ended, "failed")
        self.assertEqual([it["exit"] for it in run.steps], [0, 3])
        self.assertEqual(run.steps[0]["log"], b"hello\n1/4 red\n")

    def test_limits_end_a_step_and_all_that_it_started(self) -> None:
        for limits, script, says in (
            ({"wall-ms": 200}, "sleep 60 & sleep 60", "wall time"),
            ({"output": 1000}, "yes", "output"),
        ):
            run = running.run({"steps": [step("s", script)], "limits": limits}, package({}), 0, 1)
            self.assertIn(says, run.ended["limit"])
            self.assertNotIn("exit", run.steps[0])
            self.assertLess(run.finished - run.started, 30_000)

    def test_what_is_not_there_and_what_dies_have_the_exit_codes_of_a_shell(self) -> None:
        for command, code in ((["no-such-program"], 127), (["sh", "-c", "kill -9 $$"], 137)):
            run = running.run({"steps": [{"name": "s", "run": command}]}, package({}), 0, 1)
            self.assertEqual((run.ended, run.steps[0]["exit"]), ("failed", code))

    def test_a_package_that_leads_out_is_not_unpacked(self) -> None:
        for files in ({"../out": b""}, {"/tmp/talkoot-out": b""}):
            try:
                run = running.run({"steps": [step("s", "ls -R")]}, package(files), 0, 1)
            except tarfile.TarError:
                self.fail("it is the machine's ending")
            inside = run.ended == "passed" and run.steps[0]["log"]
            self.assertTrue(inside or "machine" in run.ended, run)

    def test_artifacts_are_files_that_a_pattern_names_and_no_links(self) -> None:
        script = "mkdir -p out/deep; echo a > out/a.txt; echo b > out/deep/b.txt; ln -s a.txt out/l"
        job = {"steps": [step("make", script)], "artifacts": ["out/**"]}
        run = running.run(job, package({}), 0, 1)
        self.assertEqual(run.artifacts, {"out/a.txt": b"a\n", "out/deep/b.txt": b"b\n"})


class Patterns(unittest.TestCase):
    def test_patterns_mean_what_the_rule_says(self) -> None:
        for pattern, yes, no in (
            ("*.txt", "a.txt", "out/a.txt"),
            ("out/?", "out/a", "out/ab"),
            ("**/a", "a", "b"),
            ("**/a", "x/y/a", "xa"),
            ("out/**", "out/x/y", "out"),
            ("out/**/z", "out/z", "outz"),
            ("[ab].{c,h}", "a.h", "c.h"),
            ("[!a]", "b", "a"),
            ("[]-]", "]", "a"),
            ("a\\*", "a*", "ab"),
            ("a,b", "a,b", "a"),
            ("a**", "abc", "a/b"),
        ):
            found = globs.compiled(pattern)
            self.assertTrue(found.fullmatch(yes), (pattern, yes))
            self.assertFalse(found.fullmatch(no), (pattern, no))
