"""The command line: verify vectors, look into a statement, make some; be a volunteer."""

import argparse
import base64
import sys
import time
from pathlib import Path
from pprint import pprint

from . import envelope, example, kinds, statement, vectors
from .ed25519 import KEY_BYTES
from .refusal import Refused, require
from .volunteer import Volunteer


def main() -> int:
    """Runs a command; 0 if all is well, 1 if something is refused or not as expected."""
    parser = argparse.ArgumentParser(prog="talkoot", description=__doc__, allow_abbrev=False)
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

    work = commands.add_parser(
        "volunteer", help="run jobs of one project, WITHOUT ANY SANDBOX", allow_abbrev=False
    )
    work.add_argument("--door", required=True, help="a broker's, such as http://127.0.0.1:4079")
    work.add_argument("--broker", help="the broker's key, if the door is to be held against it")
    work.add_argument(
        "--i-trust-this-project",
        required=True,
        metavar="KEY",
        dest="project",
        help="as it stands in talkoot:KEY; its jobs can do what you can do",
    )
    work.add_argument("--state", type=Path, default=Path("talkoot-volunteer"), help="a folder")
    work.add_argument("--tasks", type=int, help="ends after so many receipts")
    work.set_defaults(run=_work)

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


def _work(arguments: argparse.Namespace) -> int:
    project, broker = _key(arguments.project), arguments.broker and _key(arguments.broker)
    print(
        "THIS VOLUNTEER HAS NO SANDBOX. Jobs of the project run as you, and can read, send and\n"
        "delete what you can. It is an example: for strangers' jobs take talkoot-volunteer.",
        file=sys.stderr,
    )
    worker = Volunteer(arguments.door, project, arguments.state, arguments.tasks)
    if broker and worker.door.broker != broker:
        raise SystemExit(f"{arguments.door} is the door of {worker.door.broker.hex()}")
    return 0 if worker.work() else 1


def _key(text: str) -> bytes:
    """A key in text (`statements.md`, section 3)."""
    padded = text.removeprefix("talkoot:").split("?")[0].upper() + "===="
    try:
        key = base64.b32decode(padded)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SystemExit(f"{text} is no key of 52 letters and digits")
    return key


if __name__ == "__main__":
    sys.exit(main())
