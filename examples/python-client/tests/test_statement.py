"""What this client makes, and what it refuses."""

import unittest

from talkoot import cbor, envelope, example, kinds, matching, statement
from talkoot.ed25519 import SecretKey
from talkoot.envelope import Header
from talkoot.refusal import Refused

NOW = 1_800_000_000_000
KEYS = example.Keys.of_seeds(101)


def withdrawal(n: int) -> dict[str, cbor.Item]:
    return {"statement": bytes([n]) * 32, "expires": NOW}


class Statements(unittest.TestCase):
    def test_the_machine_of_the_example_can_run_its_offer(self) -> None:
        made = {it.name: statement.read(it.data, it.kind) for it in example.make(KEYS, NOW)}
        machine = made["ad"].payload["capabilities"]
        needs = made["offer"].payload["requirements"]
        self.assertEqual(matching.find_runtime(machine, needs), "native")
        self.assertEqual(matching.rank(machine, "native", needs.rank), 10_000)

    def test_every_leaf_of_every_size_has_the_id_that_it_has_alone(self) -> None:
        kind, key = kinds.BY_NAME["withdrawal"], SecretKey(b"\7" * 32)
        for count in range(1, 18):
            payloads = [withdrawal(n) for n in range(count)]
            leaves = statement.sign_batch(kind, payloads, key)
            for payload, leaf in zip(payloads, leaves, strict=True):
                alone = statement.read(statement.sign(kind, payload, key), kind)
                self.assertEqual(statement.read(leaf, kind).id, alone.id)

    def test_any_flipped_bit_is_noticed(self) -> None:
        kind, key = kinds.BY_NAME["withdrawal"], SecretKey(b"\7" * 32)
        leaf = statement.sign_batch(kind, [withdrawal(n) for n in range(3)], key)[2]
        for data in (statement.sign(kind, withdrawal(1), key), leaf):
            for bit in range(8 * len(data)):
                flipped = bytearray(data)
                flipped[bit // 8] ^= 1 << bit % 8
                with self.assertRaises(Refused, msg=f"bit {bit}"):
                    statement.read(bytes(flipped), kind)

    def test_over_64_kib_nothing_is_read(self) -> None:
        with self.assertRaises(Refused) as refused:
            envelope.parse(b"\x84" * (envelope.MAX_BYTES + 1))
        self.assertEqual(refused.exception.rule, "S1")

    def test_numbers_and_texts_of_a_header_are_not_taken_for_each_other(self) -> None:
        key = SecretKey(b"\7" * 32)
        payload = cbor.encode(withdrawal(1))
        for kind, version, signer in (
            (True, 1, key.public),
            (7, True, key.public),
            (7, 1, "x" * 32),
            (-7, 1, key.public),
        ):
            header = Header(kind, version, signer)  # type: ignore[arg-type]
            data = cbor.encode(header.seal(envelope.STATEMENT_DOMAIN, payload, key))
            with self.assertRaises(Refused) as refused:
                envelope.parse(data)
            self.assertEqual(refused.exception.rule, "S4")

    def test_what_breaks_a_rule_is_not_signed(self) -> None:
        with self.assertRaises(Refused) as refused:
            statement.sign(kinds.BY_NAME["lease"], {"term-ms": 1}, KEYS.broker)
        self.assertEqual(refused.exception.rule, "S3")
