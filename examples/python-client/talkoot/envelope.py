"""The two envelopes of a statement (S1 to S6): signed alone, or as a leaf of a batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from blake3 import blake3

from . import cbor, ed25519
from .cbor import Item, is_unsigned
from .ed25519 import SecretKey
from .refusal import Refused, require

MAX_BYTES = 65_536
MAX_LEAVES = 65_536
HASH_BYTES = 32

ALGORITHM, KEY_ID, KIND, VERSION = 1, 4, -65537, -65538
EDDSA = -8
ROOT_KIND = 0

STATEMENT_DOMAIN = b"talkoot/1/statement"
BATCH_DOMAIN = b"talkoot/1/batch"


@dataclass(frozen=True)
class Header:
    """What a protected header says."""

    kind: int
    version: int
    signer: bytes

    def encode(self) -> bytes:
        """The bytes of the protected header."""
        entries = {ALGORITHM: EDDSA, KEY_ID: self.signer, KIND: self.kind, VERSION: self.version}
        return cbor.encode(entries)

    def id_of(self, payload: bytes) -> bytes:
        """The id of a statement (S5)."""
        words = self.kind.to_bytes(2) + self.version.to_bytes(2)
        return _hash("talkoot 1 statement id", words + self.signer + payload)

    def to_be_signed(self, domain: bytes, payload: bytes) -> bytes:
        """The bytes that a signature is over (S6)."""
        return cbor.encode(["Signature1", self.encode(), domain, payload])

    def seal(self, domain: bytes, payload: bytes, key: SecretKey) -> list[Item]:
        """The four items of a COSE_Sign1."""
        signature = key.sign(self.to_be_signed(domain, payload))
        return [self.encode(), {}, payload, signature]


@dataclass(frozen=True)
class Root:
    """The signed root of a batch, and a leaf's place below it."""

    header: Header
    payload: bytes
    signature: bytes
    index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class Envelope:
    """A statement whose signature nobody has looked at yet."""

    data: bytes
    """The bytes as received: what is kept and forwarded."""
    header: Header
    payload: bytes
    seal: bytes | Root
    """The signature, or what vouches for a leaf."""

    @property
    def id(self) -> bytes:
        """The statement's name."""
        return self.header.id_of(self.payload)

    def is_genuine(self) -> bool:
        """Whether the signer signed it (S6)."""
        seal = self.seal
        if isinstance(seal, bytes):
            return _is_genuine(self.header, STATEMENT_DOMAIN, self.payload, seal)
        return _vouches(seal, self.id) and _is_genuine(
            seal.header, BATCH_DOMAIN, seal.payload, seal.signature
        )


def parse(data: bytes) -> Envelope:
    """Reads an envelope (S1 to S4)."""
    require(len(data) <= MAX_BYTES, "S1", f"{len(data)} bytes, {MAX_BYTES} are allowed")
    items = cbor.decode(data)
    require(isinstance(items, list), "S3", "no array")
    if len(items) == 4:
        header, payload, signature = _sign1(items)
        return Envelope(data, header, payload, signature)
    require(len(items) == 5, "S3", "neither 4 nor 5 items")
    return _leaf(data, items)


def _leaf(data: bytes, items: list[Item]) -> Envelope:
    protected, payload, root, index, path = items
    header = _header(protected)
    require(isinstance(payload, bytes), "S3", "a payload that is no byte string")
    require(isinstance(root, list), "S3", "a root that is no COSE_Sign1")
    root_header, root_payload, signature = _sign1(root)
    require(is_unsigned(index, 32), "S3", "an index that is no 32-bit number")
    hashes = isinstance(path, list) and all(
        isinstance(it, bytes) and len(it) == HASH_BYTES for it in path
    )
    require(hashes, "S3", "a path that is no list of hashes")
    require(root_header.kind == ROOT_KIND, "S4", "a root of another kind than 0")
    require(root_header.signer == header.signer, "S4", "another signer's root")
    seal = Root(root_header, root_payload, signature, index, tuple(path))
    return Envelope(data, header, payload, seal)


def _sign1(items: list[Item]) -> tuple[Header, bytes, bytes]:
    require(len(items) == 4, "S3", "a COSE_Sign1 has 4 items")
    protected, unprotected, payload, signature = items
    require(isinstance(unprotected, dict) and not unprotected, "S3", "an unprotected header")
    require(isinstance(payload, bytes), "S3", "no payload in the envelope")
    signed = isinstance(signature, bytes) and len(signature) == ed25519.SIGNATURE_BYTES
    require(signed, "S3", "a signature of other than 64 bytes")
    return _header(protected), payload, signature


def _header(protected: Item) -> Header:
    require(isinstance(protected, bytes), "S3", "a protected header that is no byte string")
    try:
        entries = cbor.decode(protected)
    except Refused as error:
        raise Refused("S4", f"a protected header that is malformed: {error.reason}") from error
    found = [entries.get(it) for it in (KIND, VERSION, KEY_ID)] if isinstance(entries, dict) else []
    match found:
        case [int(kind), int(version), bytes(signer)]:
            header = Header(kind, version, signer)
        case _:
            raise Refused("S4", "a protected header without kind, version or key")
    sixteen_bits = all(is_unsigned(it, 16) for it in (header.kind, header.version))
    require(sixteen_bits, "S4", "a kind or version that is no 16-bit number")
    require(len(header.signer) == ed25519.KEY_BYTES, "S4", "a key of other than 32 bytes")
    # There is one encoding of the four entries, and it has nothing else.
    require(header.encode() == protected, "S4", "a protected header outside the profile")
    return header


def _is_genuine(header: Header, domain: bytes, payload: bytes, signature: bytes) -> bool:
    message = header.to_be_signed(domain, payload)
    return ed25519.is_genuine(header.signer, message, signature)


def seal_alone(kind: int, version: int, payload: bytes, key: SecretKey) -> bytes:
    """A statement, signed alone."""
    header = Header(kind, version, key.public)
    return cbor.encode(header.seal(STATEMENT_DOMAIN, payload, key))


def seal_batch(kind: int, version: int, payloads: Sequence[bytes], key: SecretKey) -> list[bytes]:
    """Statements under one signature; a single one is signed alone."""
    if len(payloads) == 1:
        return [seal_alone(kind, version, payloads[0], key)]
    if not 1 <= len(payloads) <= MAX_LEAVES:
        raise ValueError(f"a batch has 1 to {MAX_LEAVES} statements")
    header = Header(kind, version, key.public)
    levels = list(_levels([header.id_of(payload) for payload in payloads]))
    root = cbor.encode([len(payloads), levels[-1][0]])
    sealed = Header(ROOT_KIND, version, key.public).seal(BATCH_DOMAIN, root, key)
    return [
        cbor.encode([header.encode(), payload, sealed, index, _path(levels, index)])
        for index, payload in enumerate(payloads)
    ]


def _levels(level: list[bytes]) -> Iterator[list[bytes]]:
    """The levels of the tree, from the leaves to the root."""
    yield level
    while len(level) > 1:
        pairs = [level[at : at + 2] for at in range(0, len(level), 2)]
        level = [_node(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
        yield level


def _path(levels: list[list[bytes]], index: int) -> list[bytes]:
    """The siblings on the way up from leaf ``index``, where there is one."""
    siblings = ((level, (index >> height) ^ 1) for height, level in enumerate(levels[:-1]))
    return [level[sibling] for level, sibling in siblings if sibling < len(level)]


def _vouches(root: Root, leaf: bytes) -> bool:
    """Whether the root is that of ``leaf`` in its place."""
    try:
        count, _ = cbor.decode(root.payload)
    except (Refused, TypeError, ValueError):
        return False
    if not is_unsigned(count, 32) or root.index >= count:
        return False
    node, index, width, path = leaf, root.index, count, list(root.path)
    while width > 1:
        has_sibling = index % 2 == 1 or index + 1 < width
        if has_sibling and not path:
            return False
        if index % 2 == 1:
            node = _node(path.pop(0), node)
        elif has_sibling:
            node = _node(node, path.pop(0))
        index, width = index // 2, (width + 1) // 2
    return not path and root.payload == cbor.encode([count, node])


def _node(left: bytes, right: bytes) -> bytes:
    return _hash("talkoot 1 merkle node", left + right)


def _hash(context: str, data: bytes) -> bytes:
    return blake3(data, derive_key_context=context).digest()
