"""The Node.js client where the daemon's directory is none: it says what Python says."""

from pathlib import Path

import pytest

from hwentropy import Client, DaemonUnavailable
from support.node import Node, needs_node

pytestmark = [pytest.mark.process, needs_node]


@pytest.mark.parametrize("below", ["", "run", "run//x/"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_file_in_the_way_is_named(kind: str, below: str, tmp_path: Path) -> None:
    """In the same words in every mode, whichever of the path's directories it is."""
    blocking = tmp_path / "b"
    if kind == "file":
        blocking.touch()
    else:
        (tmp_path / "file").touch()
        blocking.symlink_to("file")
    socket = f"{blocking}/{below}/entropy.sock"
    with pytest.raises(DaemonUnavailable) as python, Client(socket) as client:
        client.read(1)
    assert f": {blocking} is not a directory; name the directory" in str(python.value)
    with Node(tmp_path / "nothing") as node:
        for mode in ("lease", "direct"):
            node.configure(mode=mode, path=socket)
            error = node.fill(16)
            assert error.name == "DaemonUnavailable"
            assert str(error) == str(python.value)
