"""Padding, and blobs as encrypted streams (S82, S84)."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .refusal import require
from .sealing import numbered

CHUNK = 65_536
TAG = 16
LEAST = 512


def padded(size: int) -> int:
    """The size to which ``size`` bytes are padded."""
    if size <= LEAST:
        return LEAST
    exponent = size.bit_length() - 1
    unit = 1 << (exponent - exponent.bit_length())
    return -(-size // unit) * unit


def encrypted_size(size: int) -> int:
    """The size of a blob with ``size`` bytes in it."""
    return padded(size) + -(-padded(size) // CHUNK) * TAG


def encrypt(content: bytes, key: bytes, index: int) -> bytes:
    """The blob at place ``index`` of its result."""
    cipher = ChaCha20Poly1305(numbered(key, index))
    plain = content.ljust(padded(len(content)), b"\0")
    chunks = [plain[start : start + CHUNK] for start in range(0, len(plain), CHUNK)]
    last = len(chunks) - 1
    sealed = (cipher.encrypt(_nonce(n, n == last), chunk, None) for n, chunk in enumerate(chunks))
    return b"".join(sealed)


def decrypt(blob: bytes, key: bytes, index: int, size: int) -> bytes:
    """The ``size`` bytes in the blob at place ``index`` of its result."""
    require(len(blob) == encrypted_size(size), "S84", f"a blob of {len(blob)} bytes")
    cipher = ChaCha20Poly1305(numbered(key, index))
    step = CHUNK + TAG
    chunks = [blob[start : start + step] for start in range(0, len(blob), step)]
    last = len(chunks) - 1
    try:
        plain = [cipher.decrypt(_nonce(n, n == last), chunk, None) for n, chunk in enumerate(chunks)]
    except InvalidTag:
        require(False, "S84", "a blob that was changed")
        raise
    return b"".join(plain)[:size]


def _nonce(chunk: int, last: bool) -> bytes:
    return bytes(7) + chunk.to_bytes(4, "big") + bytes((last,))
