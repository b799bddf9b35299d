"""How fast hwentropy is, against the kernel and against a bare C server (docs/bench.md)."""
