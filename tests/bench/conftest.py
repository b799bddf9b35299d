"""Makes `bench` importable: it is a folder of scripts at the top of the tree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
