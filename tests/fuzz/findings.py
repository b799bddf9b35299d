"""Where `make fuzz` and the suite keep what they find: below build/, which git ignores."""

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

#: A folder a target: `corpus`, which grows from run to run, and the findings beside it.
BUILD: Final = ROOT / "build" / "fuzz"


def keep(name: str, data: bytes) -> str:
    """Keep an input; how to repeat it."""
    path = BUILD / name / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    shown = path.relative_to(ROOT)
    return f"{data[:200]!r}; to repeat it: .venv/bin/python tests/fuzz/run.py {name} {shown}"
