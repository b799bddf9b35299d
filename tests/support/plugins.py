"""An installed package of source plug-ins, each of which breaks in a way of its own.

    package = Plugins(tmp_path)
    Daemon(package.table("segfaults"), environment=package.environment)

The kinds are in `plugins_that_break.py`, which runs in collectors only.  That it does is
seen from `package.noted("imported")`: every process that imports it is noted.
"""

import os
import shutil
from pathlib import Path

MODULE = Path(__file__).with_name("plugins_that_break.py")


class Plugins:
    """One package in a directory of its own, with its metadata."""

    def __init__(self, directory: Path) -> None:
        self.site = directory / "site"
        self.notes = directory / "notes"
        info = self.site / "breaking-1.0.dist-info"
        for made in (self.site, info):
            made.mkdir()
        self.notes.touch()
        shutil.copy(MODULE, self.site / "plugins_that_break.py")
        # Imported for some kinds only, as the import is what breaks.
        for kind in ("dies_at_import", "exits_at_import", "hangs_at_import"):
            (self.site / f"{kind}.py").write_text(
                f"import plugins_that_break\nplugins_that_break.{kind}()\n"
            )
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: breaking\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            "[hwentropy.sources]\n"
            + "".join(f"{kind} = plugins_that_break:{name}\n" for kind, name in _classes())
            + "".join(
                f"{kind} = {kind}:Anything\n"
                for kind in ("dies_at_import", "exits_at_import", "hangs_at_import")
            )
        )

    @property
    def environment(self) -> dict[str, str]:
        """For the daemon to find it."""
        path = os.pathsep.join(filter(None, [str(self.site), os.environ.get("PYTHONPATH", "")]))
        return {"PYTHONPATH": path, "PLUGIN_NOTES": str(self.notes)}

    def noted(self, what: str) -> set[int]:
        """The processes of which this was noted: `imported` it, `left` behind."""
        notes = [line.split() for line in self.notes.read_text().splitlines()]
        return {int(note[1]) for note in notes if note[0] == what}

    def table(self, kind: str, deadline: float = 1.0) -> str:
        """A table of the configuration that uses this kind, under the name `broken`."""
        return (
            f'[sources.broken]\nkind = "{kind}"\ndeadline = {deadline}\n'
            f'notes = "{self.notes}"\n'
        )


def _classes() -> list[tuple[str, str]]:
    lines = MODULE.read_text().splitlines()
    names = [line.removeprefix("class ").split("(")[0] for line in lines if "(Well):" in line]
    kinds = [line.split('"')[1] for line in lines if line.startswith("    kind = ")]
    return [("well", "Well"), *zip(kinds[1:], names, strict=True)]
