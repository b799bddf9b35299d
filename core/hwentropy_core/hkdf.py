"""HKDF-SHA-512 (RFC 5869) into a buffer that its owner can overwrite.

    hkdf_into(out, salt, ikm, info)      fills `out`, at most 16,320 bytes

The C extension (_hkdf.c) leaves no copy of salt, material or result behind.  Where it
was not built a library does the same (hkdf_library.py), and leaves some.
"""

__all__ = ["hkdf_into"]

try:
    from ._hkdf import into as hkdf_into
except ImportError:
    from .hkdf_library import hkdf_into
