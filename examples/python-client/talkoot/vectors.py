"""The golden vectors of docs/spec/vectors, held against this client."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import blobs, facts, kinds, matching, packages, reports, requirements, statement, versions
from .ed25519 import SecretKey
from .kinds import Kind
from .refusal import Refused
from .sealing import DecryptionKey

NOW = 1_800_000_000_000
"""When all vectors are judged."""


@dataclass
class Report:
    """What was looked at, and what was not as the vectors say."""

    counts: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def compare(self, what: str, name: str, found: Any, expected: Any) -> None:
        """Counts one vector of ``what``."""
        self.counts[what] = self.counts.get(what, 0) + 1
        if found != expected:
            self.wrong.append(f"{what} {name}: {found!r}, expected {expected!r}")


def verify(folder: Path) -> Report:
    """Judges every vector below ``folder``."""
    report = Report()
    for check in _CHECKS:
        check(report, folder)
    return report


def read_hex(path: Path) -> tuple[str, bytes]:
    """The comment and the bytes of a vector."""
    comment, *lines = path.read_text().splitlines()
    return comment.removeprefix("# "), bytes.fromhex("".join(lines))


def _valid(report: Report, folder: Path) -> None:
    index = json.loads((folder / "ids.json").read_text())
    files = {path.stem: path for path in sorted((folder / "valid").iterdir())}
    report.compare("index", "of valid vectors", sorted(files), sorted(index))
    for name, path in files.items():
        _, data = read_hex(path)
        expected = index.get(name, {})
        kind = kinds.BY_NUMBER[expected.get("kind", kinds.AD.number)]
        report.compare("valid", name, _taken(data, kind), expected)


def _taken(data: bytes, kind: Kind) -> dict[str, Any] | str:
    try:
        taken = statement.read(data, kind)
        taken.check_time(NOW)
    except Refused as refusal:
        return str(refusal)
    return {"kind": kind.number, "signer": taken.signer.hex(), "id": taken.id.hex()}


def _invalid(report: Report, folder: Path) -> None:
    for path in sorted((folder / "invalid").iterdir()):
        comment, data = read_hex(path)
        rule, rest = comment.split(", ", 1)
        kind = kinds.BY_NAME[rest.split(":", 1)[0]]
        try:
            statement.read(data, kind).check_time(NOW)
            found = "taken"
        except Refused as refusal:
            found = refusal.rule
        report.compare("invalid", path.stem, found, rule)


def _reports(report: Report, folder: Path) -> None:
    vectors = json.loads((folder / "reports.json").read_text())
    key = DecryptionKey(bytes.fromhex(vectors["key"]))
    for name, padded in vectors["reports"].items():
        _, data = read_hex(folder / "valid" / f"{name}.cbor")
        result = statement.read(data, kinds.RESULT)
        report.compare("report", name, reports.open_padded(result, key).hex(), padded)
        report.compare("report", name, _rule_broken(result, key), "none")
    for case in vectors["refused"]:
        result = statement.read(bytes.fromhex(case["result"]), kinds.RESULT)
        report.compare("refused report", case["what"], _rule_broken(result, key), case["rule"])
    package = vectors["package"]
    _, data = read_hex(folder / "valid" / f"{package['offer']}.cbor")
    volunteer = SecretKey(b"\4" * 32).public
    volunteer_key = DecryptionKey(bytes.fromhex(package["volunteer-key"]))
    offer = statement.read(data, kinds.OFFER)
    found = packages.key_of(offer, volunteer, volunteer_key)
    report.compare("package", package["offer"], found and found.hex(), package["key"])
    blob_key = bytes.fromhex(vectors["blob-key"])
    for blob in vectors["blobs"]:
        content, index = bytes.fromhex(blob["content"]), blob["index"]
        encrypted = blobs.encrypt(content, blob_key, index)
        report.compare("blob", str(index), encrypted.hex(), blob["encrypted"])
        decrypted = blobs.decrypt(encrypted, blob_key, index, blob["size"])
        report.compare("blob", str(index), decrypted, content)
    for size, padded, encrypted_size in vectors["sizes"]:
        found = (blobs.padded(size), blobs.encrypted_size(size))
        report.compare("size", str(size), found, (padded, encrypted_size))


def _rule_broken(result: statement.Statement, key: DecryptionKey) -> str:
    try:
        reports.read(result, key)
    except Refused as refusal:
        return refusal.rule
    return "none"


def _versions(report: Report, folder: Path) -> None:
    vectors = json.loads((folder / "versions.json").read_text())
    for text, expected in vectors["read"]:
        version = versions.read_version(text)
        report.compare("version", repr(text), version, expected and tuple(expected))
    for text, expected in vectors["ranges"]:
        is_range = versions.read_range(text) is not None
        report.compare("range", repr(text), is_range, expected)
    for text, numbers, expected in vectors["in"]:
        span = versions.read_range(text)
        is_in = span is not None and span.has(tuple(numbers))
        report.compare("in range", f"{numbers} in {text!r}", is_in, expected)


def _requirements(report: Report, folder: Path) -> None:
    vectors = json.loads((folder / "requirements.json").read_text())
    for wire, expected in vectors["clauses"]:
        found = _reading({"runtimes": ["native"], "clauses": [wire]})
        report.compare("clause", repr(wire), found, expected)
    for wire, expected in vectors["preferences"]:
        found = _reading({"runtimes": ["native"], "rank": [wire]})
        report.compare("preference", repr(wire), found, expected)
    for wire, expected in vectors["requirements"]:
        report.compare("requirements", repr(wire), _reading(wire), expected)


def _reading(wire: Any) -> str:
    """How requirements of one clause or preference, or of none, are taken."""
    try:
        read = requirements.read(wire)
    except Refused:
        return "refused"
    understood = [it.understood for it in read.clauses] + [it.understood for it in read.rank]
    return "understood" if all(understood) else "not-understood"


def _matching(report: Report, folder: Path) -> None:
    vectors = json.loads((folder / "matching.json").read_text())
    machines = {
        name: facts.CAPABILITIES(machine, name) for name, machine in vectors["machines"].items()
    }
    for case in vectors["cases"]:
        machine, job = machines[case["machine"]], requirements.read(case["requirements"])
        runtime = matching.find_runtime(machine, job)
        points = None if runtime is None else matching.rank(machine, runtime, job.rank)
        expected = (case["runtime"], case["rank"])
        report.compare("matching", case["what"], (runtime, points), expected)


_CHECKS: tuple[Callable[[Report, Path], None], ...] = (
    _valid,
    _invalid,
    _reports,
    _versions,
    _requirements,
    _matching,
)
