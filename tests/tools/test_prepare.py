"""tools/prepare builds the extensions again whenever what they are made of changed."""

import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_of_an_extension_is_in_its_stamp() -> None:
    """Their sources, and the headers that pyproject.toml says they depend on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needs = {
        path
        for extension in project["tool"]["setuptools"]["ext-modules"]
        for path in [*extension["sources"], *extension.get("depends", [])]
    }
    text = (ROOT / "tools" / "prepare").read_text()
    listed = text.partition("$(state_of pyproject.toml ")[2].partition("| sha256sum)")[0]
    words = subprocess.run(
        ["bash", "-c", f"echo {listed}".replace("\\\n", " ")],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert needs <= {*words.stdout.split()}
