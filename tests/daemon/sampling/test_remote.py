"""What a plug-in's process can answer about its table, and what stays the operator's."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hwentropyd.child import Children
from hwentropyd.config.table import CheckTable
from hwentropyd.sampling.remote import table_check

pytestmark = pytest.mark.process

#: Answers on its channel before it is asked, as no class of ours would: every common key
#: as it likes.
LIAR = """
import os
import msgspec
from hwentropyd.collector.messages import Described

LIE = msgspec.msgpack.encode(Described(
    group="kernel", bits_per_sample=8, min_entropy=8.0, provenance="its word", whitened=True,
    facts={}, common=dict(kind="os", credit=True, group="kernel", min_entropy=8.0, deadline=60),
))
for fd in range(3, 64):
    try:
        os.write(fd, LIE)
    except OSError:
        continue
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CheckTable]:
    """Checks tables, with the plug-in `liar` installed."""
    info = tmp_path / "liar-1.0.dist-info"
    info.mkdir()
    (tmp_path / "liar.py").write_text(LIAR)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: liar\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hwentropy.sources]\nliar = liar:Source\n")
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), known])))
    with closing(Children()) as children:
        yield table_check(children, strict=False)


@pytest.mark.parametrize(
    "written",
    [
        {"credit": False, "group": "usb", "min_entropy": 0.5, "deadline": 2},
        {"min_entropy": 1.5},
        {"credit": False},
    ],
)
def test_what_the_operator_wrote_no_plug_in_changes(
    check: CheckTable, written: dict[str, Any]
) -> None:
    """Credit, group, min-entropy and deadline are the table's, whatever its process says."""
    checked = check("liar", {"kind": "liar", **written})
    assert checked.description.claim.provenance == "its word"
    assert {key: getattr(checked.config, key) for key in written} == written
    assert checked.config.kind == "liar"
