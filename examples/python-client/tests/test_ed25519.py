"""Strict signatures."""

import unittest

from talkoot import ed25519
from talkoot.ed25519 import P, SecretKey

Point = tuple[int, int]

D = -121665 * pow(121666, -1, P) % P
NEUTRAL: Point = (0, 1)


def add(one: Point, other: Point) -> Point:
    """The law of the twisted Edwards curve."""
    (x1, y1), (x2, y2) = one, other
    twist = D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + twist, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - twist, -1, P)
    return x % P, y % P


def at_height(y: int) -> Point:
    """A point with this y."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square, "on the curve"
    return x, y


class Strictness(unittest.TestCase):
    def test_the_points_of_small_order_vanish_when_taken_eight_times(self) -> None:
        points = set()
        for y in ed25519.SMALL_ORDER_Y:
            x, y = at_height(y)
            points |= {(x, y), (-x % P, y)}
        self.assertEqual(len(points), 8, "there are eight, and no more")
        for point in points:
            for _ in range(3):
                point = add(point, point)
            self.assertEqual(point, NEUTRAL)

    def test_small_order_shows_in_every_encoding(self) -> None:
        sign = 1 << 255
        for y in (0, 1, P - 1, P, P + 1):
            for encoding in (y, y | sign):
                self.assertTrue(ed25519.has_small_order(encoding.to_bytes(32, "little")))
        self.assertFalse(ed25519.has_small_order(SecretKey(b"\1" * 32).public))

    def test_a_signature_is_of_one_key_and_one_message(self) -> None:
        ours, theirs = SecretKey(b"\1" * 32), SecretKey(b"\2" * 32)
        signature = ours.sign(b"message")
        self.assertTrue(ed25519.is_genuine(ours.public, b"message", signature))
        self.assertFalse(ed25519.is_genuine(theirs.public, b"message", signature))
        self.assertFalse(ed25519.is_genuine(ours.public, b"massage", signature))
