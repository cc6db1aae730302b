"""The command line: verify vectors, look into a statement, make some."""

import argparse
import sys
import time
from pathlib import Path
from pprint import pprint

from . import envelope, example, kinds, statement, vectors
from .refusal import Refused, require


def main() -> int:
    """Runs a command; 0 if all is well, 1 if something is refused or not as expected."""
    parser = argparse.ArgumentParser(prog="talkoot", description=__doc__)
    commands = parser.add_subparsers(required=True)

    verify = commands.add_parser("verify", help="judge the golden vectors")
    verify.add_argument("folder", type=Path, help="docs/spec/vectors")
    verify.set_defaults(run=_verify)

    inspect = commands.add_parser("inspect", help="say what a statement is, or why it is refused")
    inspect.add_argument("file", type=Path, help="a statement's bytes")
    inspect.add_argument("--at", type=int, default=_now(), help="the time in ms since 1970")
    inspect.set_defaults(run=_inspect)

    make = commands.add_parser("make", help="make an ad, a delegation and offers")
    make.add_argument("folder", type=Path, help="where to")
    make.add_argument("--at", type=int, default=_now(), help="the time in ms since 1970")
    make.set_defaults(run=_make)

    arguments = parser.parse_args()
    return arguments.run(arguments)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _verify(arguments: argparse.Namespace) -> int:
    report = vectors.verify(arguments.folder)
    for wrong in report.wrong:
        print(wrong, file=sys.stderr)
    counts = ", ".join(f"{count} {what}" for what, count in report.counts.items())
    print(f"looked at {counts}; {len(report.wrong)} not as expected")
    return 1 if report.wrong else 0


def _inspect(arguments: argparse.Namespace) -> int:
    try:
        sealed = envelope.parse(arguments.file.read_bytes())
        kind = kinds.BY_NUMBER.get(sealed.header.kind)
        require(kind is not None, "S4", f"kind {sealed.header.kind} is not known here")
        found = statement.check(sealed, kind or kinds.AD)
        found.check_time(arguments.at)
    except Refused as refusal:
        print(f"{arguments.file}: refused by {refusal}")
        return 1
    print(f"{found.kind.name}\n  signer {found.signer.hex()}\n  id {found.id.hex()}")
    pprint(found.payload)
    return 0


def _make(arguments: argparse.Namespace) -> int:
    made = example.make(example.Keys.of_seeds(101), arguments.at)
    example.write(made, arguments.folder)
    for it in made:
        print(it.kind.number, envelope.parse(it.data).id.hex(), it.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
