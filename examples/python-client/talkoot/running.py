"""Runs a job's steps, with no sandbox whatever: only for a project that is trusted like oneself.

The wall time and the output are limited as the job says. Memory, disk, processes and network are
not. A step can read what this user can read.
"""

import io
import os
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import globs, machine

WALL_MS, DISK, OUTPUT = 600_000, 1 << 30, 1 << 20
"""What a job has that says nothing."""

MAX_ARTIFACTS = 256
GLANCE_S = 0.02


@dataclass
class Run:
    """What became of a task."""

    started: int
    ended: Any = "passed"
    steps: list[dict[str, Any]] = field(default_factory=list)
    """Reports of steps, with the whole output under ``log``."""
    artifacts: dict[str, bytes] = field(default_factory=dict)
    finished: int = 0


def run(job: dict[str, Any], package: bytes, task: int, tasks: int) -> Run:
    """Runs task number ``task`` of ``tasks``."""
    outcome = Run(started=_now())
    with tempfile.TemporaryDirectory(prefix="talkoot-") as folder:
        try:
            with tarfile.open(fileobj=io.BytesIO(package), mode="r:") as archive:
                archive.extractall(folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            outcome.ended = {"machine": f"the package cannot be unpacked: {error}"[:250]}
        else:
            _run_steps(job, Path(folder), _environment(job, folder, task, tasks), outcome)
    outcome.finished = _now()
    return outcome


def _environment(job: dict[str, Any], folder: str, task: int, tasks: int) -> dict[str, str]:
    base = {"PATH": machine.PATH, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"}
    place = {"TALKOOT_TASK_INDEX": str(task), "TALKOOT_TASK_COUNT": str(tasks)}
    return {**base, **job.get("environment", {}), **place}


def _run_steps(
    job: dict[str, Any], folder: Path, environment: dict[str, str], outcome: Run
) -> None:
    limits = job.get("limits", {})
    end = time.monotonic() + limits.get("wall-ms", WALL_MS) / 1000
    for step in job["steps"]:
        report = _run_step(step, folder, environment, end, limits.get("output", OUTPUT))
        outcome.steps.append(report)
        if "exit" not in report:
            outcome.ended = {"limit": report["ending"]}
            break
        if report["exit"] != 0:
            outcome.ended = "failed"
            break
    try:
        for path, content in _artifacts(folder, job.get("artifacts", []), limits.get("disk", DISK)):
            outcome.artifacts[path] = content
    except OSError as error:
        outcome.ended = {"machine": f"an artifact cannot be read: {error}"[:250]}


def _run_step(
    step: dict[str, Any], folder: Path, environment: dict[str, str], end: float, most: int
) -> dict[str, Any]:
    """Runs one step in a process group of its own, of which nothing stays."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        report: dict[str, Any] = {"name": step["name"], "cpu-ms": 0, "memory": 0}
        try:
            process = subprocess.Popen(
                step["run"],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            # As a shell says it of a program that is not there.
            report.update({"exit": 127, "wall-ms": 0, "log": f"{error}\n".encode()})
            return report
        ending = None
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                ending = "the wall time was up"
            elif os.fstat(output.fileno()).st_size > most:
                ending = f"over {most} bytes of output"
            if ending:
                _kill(process.pid)
                ended = os.wait4(process.pid, 0)
                break
            time.sleep(GLANCE_S)
        _kill(process.pid)
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        if ending is None and process.returncode < 0:
            # As a shell says it of a program that a signal has ended.
            process.returncode = 128 - process.returncode
        report |= {"ending": ending} if ending else {"exit": process.returncode}
        output.seek(0)
        report["log"] = output.read(most)
    report["wall-ms"] = round((time.monotonic() - began) * 1000)
    report["cpu-ms"] = round((usage.ru_utime + usage.ru_stime) * 1000)
    report["memory"] = usage.ru_maxrss * 1024
    return report


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _artifacts(folder: Path, patterns: list[str], most: int) -> Iterator[tuple[str, bytes]]:
    """The files that a pattern names, of ``most`` bytes in all; no links."""
    wanted = [globs.compiled(pattern) for pattern in patterns]
    count = 0
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            file = Path(parent, name)
            path = file.relative_to(folder).as_posix()
            if file.is_symlink() or not any(pattern.fullmatch(path) for pattern in wanted):
                continue
            most -= file.stat().st_size
            count += 1
            if most < 0 or count > MAX_ARTIFACTS:
                return
            yield path, file.read_bytes()


def _now() -> int:
    return time.time_ns() // 1_000_000
