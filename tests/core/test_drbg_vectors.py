"""The known answers of the whole construction: file, independent computation and Drbg agree."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from hwentropy_core.drbg import Drbg

MAKER = Path(__file__).parent / "vectors/make_drbg_vectors.py"


def load_maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_drbg_vectors", MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = load_maker()
STORED: dict[str, Any] = json.loads(maker.FILE.read_text())


def test_the_file_is_what_the_independent_computation_gives() -> None:
    """drbg.json was made by its script from hashlib, hmac and the reference ChaCha20."""
    assert maker.document() == STORED


@pytest.mark.parametrize("case", STORED["cases"], ids=lambda case: case["name"])
def test_the_drbg_gives_the_known_answers(case: dict[str, Any]) -> None:
    """Drbg gives each output of the file, in the file's order of steps."""
    assert maker.run(Drbg(case["purpose"].encode()), case["steps"]) == case["steps"]
