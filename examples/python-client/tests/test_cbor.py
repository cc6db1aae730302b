"""One value, one encoding."""

import unittest
from pathlib import Path

import cbor2

from talkoot import cbor, envelope, vectors
from talkoot.refusal import Refused

VALID = Path(__file__).parents[3] / "docs/spec/vectors/valid"


class Cbor(unittest.TestCase):
    def test_what_is_written_is_read_again(self) -> None:
        for number in (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1):
            for value in (number, -1 - number // 2):
                self.assertEqual(cbor.decode(cbor.encode(value)), value)
        value = {"b": [True, False, b"\0", "ä"], "aa": {}, -1: [], 1000: "x"}
        self.assertEqual(cbor.decode(cbor.encode(value)), value)

    def test_keys_stand_in_the_order_of_their_bytes_and_not_of_their_length(self) -> None:
        written = cbor.encode({"a": 1, 1000: 2, -1: 3})
        self.assertEqual(written.hex(), "a3" + "1903e802" + "2003" + "616101")

    def test_a_library_reads_the_payloads_of_the_vectors_alike(self) -> None:
        for path in VALID.iterdir():
            _, data = vectors.read_hex(path)
            payload = envelope.parse(data).payload
            self.assertEqual(cbor.decode(payload), cbor2.loads(payload), path.stem)
            self.assertEqual(cbor.encode(cbor.decode(payload)), payload, path.stem)

    def test_true_and_1_are_two_keys(self) -> None:
        self.assertEqual(len(cbor.decode(bytes.fromhex("a20101f502"))), 2)

    def test_16_levels_are_read_and_17_are_not(self) -> None:
        cbor.decode(b"\x81" * 16 + b"\x01")
        with self.assertRaises(Refused):
            cbor.decode(b"\x81" * 17 + b"\x01")

    def test_a_cut_is_refused_anywhere(self) -> None:
        whole = cbor.encode({"key": [1, b"bytes", "text", 70_000, {"a": False}]})
        for length in range(len(whole)):
            with self.assertRaises(Refused):
                cbor.decode(whole[:length])
