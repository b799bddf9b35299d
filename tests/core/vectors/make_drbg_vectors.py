"""Computes the known answers in conformance/drbg.json when it is run.

It uses the reference in tests/support (hashlib, hmac and a ChaCha20 in plain
Python, both checked against published vectors) and nothing of hwentropy.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from support.drbg_reference import ReferenceDrbg

FILE = Path(__file__).parents[3] / "conformance" / "drbg.json"
PROVENANCE = (
    "Computed by tests/core/vectors/make_drbg_vectors.py from docs/drbg.md with hashlib, hmac "
    "and the ChaCha20 of tests/support/chacha_reference.py; no code of hwentropy took part."
)
#: Longer outputs are given as their first 32 bytes and their SHA-256.
WHOLE = 128

#: A seed of 40 bytes (320 bits, the least that the pool gives) and a second one.
SEED = bytes(range(40))
OTHER = bytes(range(100, 140))


def reseed(*materials: tuple[str, bytes]) -> dict[str, Any]:
    """A step: mix in labelled materials."""
    return {"reseed": [[label, data.hex()] for label, data in materials]}


def reads(*sizes: int) -> list[dict[str, Any]]:
    """Steps: read this many bytes each."""
    return [{"read": size} for size in sizes]


def child(label: str, generation: int) -> dict[str, Any]:
    """A step: take a child's seed."""
    return {"child": label, "generation": str(generation)}


CASES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "seed, then small reads": ("root", [reseed(("os", SEED)), *reads(1, 16, 32, 64, 0, 5)]),
    "several materials, one of them empty": (
        "root",
        [reseed(("os", SEED), ("tpm2", OTHER), ("", b"")), *reads(32)],
    ),
    "another purpose": ("worker", [reseed(("os", SEED)), *reads(32)]),
    # 32 bytes of key and 3 x 1,024 + 992 of output fill the block to its last byte.
    "a block used to its last byte": (
        "root",
        [reseed(("os", SEED)), *reads(1024, 1024, 1024, 992, 32)],
    ),
    # 991 leaves one byte, which a request for two passes over.
    "a request that does not fit the rest of the block": (
        "root",
        [reseed(("os", SEED)), *reads(1024, 1024, 1024, 991, 2, 32)],
    ),
    # 1,025 is the smallest large one; 65,537 is one byte more than the step in
    # which keystream is made.
    "large reads under one-time keys": (
        "root",
        [reseed(("os", SEED)), *reads(1024, 1025, 32, 4096, 65537, 32)],
    ),
    "a reseed keeps the old key in and drops the block": (
        "root",
        [reseed(("os", SEED)), *reads(32), reseed(("os", OTHER)), *reads(32)],
    ),
    "the same seed twice, and an empty one": (
        "root",
        [reseed(("os", SEED)), reseed(("os", SEED)), *reads(32), reseed(), *reads(32)],
    ),
    "child seeds by label and generation": (
        "root",
        [
            reseed(("os", SEED)),
            child("worker 1", 1),
            child("worker 2", 1),
            child("worker 1", 2),
            child("", (1 << 64) - 1),
            *reads(32),
        ],
    ),
}


def shown(output: bytes) -> dict[str, str]:
    """An output as the file gives it."""
    if len(output) <= WHOLE:
        return {"output": output.hex()}
    return {"starts": output[:32].hex(), "sha256": hashlib.sha256(output).hexdigest()}


def run(drbg: Any, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run the steps on anything with a Drbg's methods; the steps with their outputs."""
    results: list[dict[str, Any]] = []
    for step in steps:
        result = {
            name: step[name] for name in step if name not in {"output", "starts", "sha256"}
        }
        if "reseed" in step:
            drbg.reseed(
                [(label.encode(), bytes.fromhex(data)) for label, data in step["reseed"]]
            )
        elif "read" in step:
            result |= shown(bytes(drbg.read(step["read"])))
        else:
            seed = drbg.child_seed(step["child"].encode(), int(step["generation"]))
            result |= shown(bytes(seed))
        results.append(result)
    return results


def document() -> dict[str, Any]:
    """What drbg.json holds."""
    cases = [
        {"name": name, "purpose": purpose, "steps": run(ReferenceDrbg(purpose.encode()), steps)}
        for name, (purpose, steps) in CASES.items()
    ]
    return {"provenance": PROVENANCE, "cases": cases}


if __name__ == "__main__":
    FILE.write_text(json.dumps(document(), indent=1) + "\n")
