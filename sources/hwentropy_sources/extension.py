"""The small C extensions of this package, each of which may be missing."""

from importlib import import_module
from types import ModuleType

from .contract import SourceAbsent


def load_extension(module: str) -> ModuleType:
    """A C extension by its full name; SourceAbsent when it was not built or does not load."""
    name = module.rpartition(".")[2]
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SourceAbsent(
            f"the C extension {name} was not built",
            "install a C compiler and Python's headers, then reinstall hwentropy",
        ) from None
    except ImportError as error:
        raise SourceAbsent(
            f"the C extension {name} does not load: {error.msg}",
            "reinstall hwentropy with this Python",
        ) from None
