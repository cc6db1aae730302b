"""A whole volunteer at a broker's door: ad, pull, claim, run, result, receipt."""

import os
import secrets
import threading
import time
from pathlib import Path
from typing import Any

from . import cbor, kinds, machine, matching, packages, results, running, statement
from .cbor import Item
from .door import Denied, Door, Unreachable, now, patiently
from .ed25519 import SecretKey
from .outbox import Outbox
from .refusal import Refused
from .sealing import DecryptionKey
from .statement import Statement

AD_EVERY_S = 15 * 60
RENEW_EVERY_S = 10
HOPS = 16


class Over(Exception):
    """Nothing more is to be done for this offer or task."""


class Volunteer:
    """One machine that works for one project."""

    def __init__(self, url: str, project: bytes, state: Path, tasks: int | None) -> None:
        """Ends after ``tasks`` receipts, or never."""
        state.mkdir(parents=True, exist_ok=True)
        self.key = SecretKey(_seed_in(state / "node.key"))
        self.encryption = DecryptionKey(_seed_in(state / "encryption.key"))
        self.door: Door = patiently(lambda: Door(url, self.key))
        self.project = project
        self.outbox = Outbox(state)
        self.wanted = tasks
        self.judged = self.accepted = self.claimed = 0
        self.declined: set[bytes] = set()
        self.machine: dict[str, Any] = {}
        self.ad, self.ad_until = b"", 0.0

    def work(self) -> bool:
        """Works until it is done; says whether every result was accepted."""
        collector = threading.Thread(target=self._collect, daemon=True)
        collector.start()
        while self.wanted is None or self.claimed < self.wanted:
            try:
                self._work_once()
            except (Unreachable, Denied, Over, Refused) as error:
                print(f"{error}; going on", flush=True)
                time.sleep(1)
        collector.join()
        return self.accepted == self.judged

    def _work_once(self) -> None:
        self._advertise()
        offered = self._pull()
        for offer, home in offered:
            try:
                self._consider(offer, home)
                for lease in self._claim(offer, home):
                    self._run(offer, home, lease)
            except (Over, Refused) as reason:
                print(f"offer {offer.id.hex()[:8]} declined: {reason}", flush=True)
                self.declined.add(offer.id)

    def _advertise(self) -> None:
        if time.monotonic() < self.ad_until:
            return
        ad = {
            "seq": now(),
            "broker": self.door.broker,
            "capabilities": machine.capabilities(),
            "encryption": self.encryption.public,
            "expires": now() + kinds.HOUR_MS,
        }
        self.ad = statement.sign(kinds.AD, ad, self.key)
        self.machine = statement.read(self.ad, kinds.AD).payload["capabilities"]
        answer = patiently(lambda: self.door.ask("advertise", {"ad": self.ad}))
        if answer != "done":
            raise Denied(f"the broker does not take our ad: {answer}")
        self.ad_until = time.monotonic() + AD_EVERY_S
        print(f"advertised at {self.door.broker.hex()[:8]}", flush=True)

    def _pull(self) -> list[tuple[Statement, Statement]]:
        wants = {
            "runtimes": ["native"],
            "free": machine.capabilities()["resources"],
            "projects": [self.project],
            "except": sorted(self.declined)[-1024:],
        }
        answer = patiently(lambda: self.door.ask("pull", {"wants": wants}))
        if not isinstance(answer, dict) or "offers" not in answer:
            # It may have forgotten us.
            self.ad_until = 0
            raise Denied(f"no offers: {answer}")
        both = [(it["offer"], it["home"]) for it in answer["offers"]]
        read = statement.read
        return [(read(offer, kinds.OFFER), read(home, kinds.HOME)) for offer, home in both]

    def _consider(self, offer: Statement, home: Statement) -> None:
        """Whether this machine and its owner want the offer; nobody else is asked."""
        for it in (offer, home):
            it.check_time(now())
            if it.payload["project"] != self.project:
                raise Over("it is of another project")
        if matching.find_runtime(self.machine, offer.payload["requirements"]) != "native":
            raise Over("this machine does not have what it requires")
        # Refused unless the package can be read here.
        packages.key_of(offer, self.key.public, self.encryption)
        self._check_keys({self.project, offer.signer, home.signer})

    def _check_keys(self, keys: set[bytes]) -> None:
        """Refuses what a void key has signed (S70); asks anew each time, which is often enough."""
        answer = patiently(lambda: self.door.ask("key-changes", {"of": sorted(keys)}))
        for data in answer["key-changes"]:
            change = statement.envelope.parse(data)
            if change.header.kind != kinds.REVOCATION.number:
                continue
            revocation = statement.check(change, kinds.REVOCATION)
            answers = revocation.signer in (self.project, revocation.payload["key"])
            if revocation.payload["key"] in keys and answers:
                raise Over("a key that signed it was revoked")

    def _claim(self, offer: Statement, home: Statement) -> list[Statement]:
        claim = {
            "offer": offer.id,
            "epoch": home.payload["epoch"],
            "count": 1,
            "runtime": "native",
            "ad": self.ad,
            "nonce": secrets.randbits(64),
            "expires": now() + kinds.MINUTE_MS,
        }
        signed = statement.sign(kinds.CLAIM, claim, self.key)
        # The same claim again gets the same leases, so it may be asked again.
        answer = patiently(lambda: self.door.ask("claim", {"claims": [signed], **_way(home)}))
        if not isinstance(answer, dict) or "leases" not in answer:
            refusal = answer.get("refused") if isinstance(answer, dict) else answer
            if refusal in ("no-task", "no-route") or (isinstance(refusal, dict) and "full" in refusal):
                print(f"offer {offer.id.hex()[:8]}: {refusal}", flush=True)
                time.sleep(1)
                return []
            raise Over(f"the home does not grant it: {refusal}")
        leases = [statement.read(it, kinds.LEASE) for it in answer["leases"]]
        for lease in leases:
            granted = lease.payload
            ours = granted["volunteer"] == self.key.public and granted["offer"] == offer.id
            if lease.signer != home.payload["home"] or not ours or granted["runtime"] != "native":
                raise Over("the lease is another's, or not the home's")
        return leases

    def _run(self, offer: Statement, home: Statement, lease: Statement) -> None:
        package, job = offer.payload["package"], offer.payload["job"]
        blob = patiently(lambda: self.door.get(package["hash"], package["size"]))
        content = packages.read(offer, blob, self.key.public, self.encryption)
        number, tasks = lease.payload["task"], offer.payload["tasks"]
        self.claimed += 1
        print(f"task {number} of {offer.payload['name']!r} begins", flush=True)
        done: list[running.Run] = []
        work = threading.Thread(
            target=lambda: done.append(running.run(job, content, number, tasks)), daemon=True
        )
        work.start()
        while work.is_alive():
            work.join(RENEW_EVERY_S)
            if work.is_alive():
                self._renew(offer, home, lease)
        frame, blobs = results.bundle(done[0], lease, offer, self.door.broker, self.key)
        self.outbox.keep(frame, blobs)
        print(f"task {number} ended: {done[0].ended}", flush=True)
        self.outbox.send(self.door)

    def _renew(self, offer: Statement, home: Statement, lease: Statement) -> None:
        """Keeps the lease. If that fails the task runs on: its result may still count."""
        renewal = {
            "leases": [lease.id],
            "offer": offer.id,
            "epoch": home.payload["epoch"],
            "intent": "keep",
            "issued": now(),
            "expires": now() + kinds.MINUTE_MS,
        }
        signed = statement.sign(kinds.RENEWAL, renewal, self.key)
        try:
            answer = self.door.ask("renew", {"renewal": signed, **_way(home)})
        except (Unreachable, Denied) as error:
            answer = error
        if not isinstance(answer, dict) or answer.get("renewed", {}).get("lapsed") != []:
            print(f"the lease is not renewed: {answer}", flush=True)

    def _collect(self) -> None:
        """Takes receipts, over a connection of its own, until all that is wanted has one."""
        door, taken = patiently(self.door.again, tries=100), list[bytes]()
        while self.wanted is None or self.judged < self.wanted:
            try:
                frames = door.collect(taken)
                taken = [self._take(frame) for frame in frames]
                self.outbox.send(door)
            except (Unreachable, Denied) as error:
                print(f"not collected: {error}", flush=True)
                time.sleep(1)
        # If this is lost, they are handed over in vain for a while.
        patiently(lambda: door.collect(taken, wait_ms=0))

    def _take(self, frame: bytes) -> bytes:
        """The id of the receipt in ``frame``, which need not be sent again, sound or not."""
        name = statement.envelope.parse(cbor.decode(frame)["statement"]).id
        try:
            receipt = self.outbox.judged(frame)
        except (Refused, Denied) as error:
            print(f"a receipt is not taken: {error}", flush=True)
            return name
        if receipt:
            verdict: dict[str, Item] = receipt.payload["verdict"]
            self.judged += 1
            self.accepted += "accepted" in verdict
            print(f"receipt for task {receipt.payload['task']}: {verdict}", flush=True)
        return name


def _way(home: Statement) -> dict[str, Item]:
    return {"home": home.payload["home"], "hops": HOPS}


def _seed_in(path: Path) -> bytes:
    """The seed of a key, made if there is none: 32 bytes in hexadecimal, for nobody else."""
    if not path.exists():
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(secrets.token_hex(32) + "\n")
    if path.stat().st_mode & 0o077:
        raise SystemExit(f"{path} can be read by others: chmod 600 {path}")
    return bytes.fromhex(path.read_text().strip())
