"""What this client seals, and what its blobs come to."""

import unittest

from talkoot import blobs
from talkoot.refusal import Refused
from talkoot.sealing import PACKAGE, REPORT, DecryptionKey, Sealer


class Sealing(unittest.TestCase):
    def test_every_body_opens_alone_with_its_own_number_and_for_its_own_purpose(self) -> None:
        key = DecryptionKey(b"\7" * 32)
        sealer = Sealer.begin(REPORT, key.public)
        sealed = [sealer.seal(bytes([n]), b"here") for n in range(3)]
        for n in (2, 0, 1):
            self.assertEqual(key.open(REPORT, sealed[n], b"here"), bytes([n]))
        wrong = [
            (REPORT, sealed[0], b"there"),
            (PACKAGE, sealed[0], b"here"),
            (REPORT, {**sealed[0], "number": 1}, b"here"),
            (REPORT, {**sealed[0], "to": DecryptionKey(b"\x08" * 32).public}, b"here"),
        ]
        for purpose, body, associated in wrong:
            with self.assertRaises(Refused) as refused:
                key.open(purpose, body, associated)
            self.assertEqual(refused.exception.rule, "S81")

    def test_a_blob_that_was_cut_or_changed_is_noticed(self) -> None:
        content, key = b"x" * 200_000, b"\7" * 32
        encrypted = blobs.encrypt(content, key, 1)
        self.assertEqual(blobs.decrypt(encrypted, key, 1, len(content)), content)
        step = blobs.CHUNK + blobs.TAG
        swapped = encrypted[step : 2 * step] + encrypted[:step] + encrypted[2 * step :]
        for broken in (encrypted[:-1], encrypted[:step], b"\0" + encrypted[1:], swapped):
            with self.assertRaises(Refused):
                blobs.decrypt(broken, key, 1, len(content))


if __name__ == "__main__":
    unittest.main()
