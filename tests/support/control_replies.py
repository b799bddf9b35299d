"""Prepared replies of the control interface, for the fake daemon."""

from typing import Any

from hwentropy_core.varlink import INTERFACE, Message


def source(name: str, state: str = "healthy", **changes: Any) -> dict[str, Any]:
    """One source as org.hwentropy.Control describes it."""
    return {
        "name": name,
        "kind": name,
        "group": f"group-of-{name}",
        "state": state,
        "reason": "",
        "remedy": "",
        "since": "2025-11-21T05:40:35.123+00:00",
        "samples": 1024,
        "alarms": 0,
        "alarm_counts": {},
        "credited_bits": 320,
        "credit": True,
        "min_entropy": 8.0,
        "bits_per_sample": 8,
        "provenance": "a figure for tests",
        "facts": {},
        "strength": 256,
        "renewal": "a figure for tests",
        "live": False,
        "tried_again": None,
    } | changes


def status(*sources: dict[str, Any], **changes: Any) -> Message:
    """The reply of Status."""
    return {
        "status": {
            "state": "ok",
            "reason": "",
            "generation": 4,
            "seeded_at": "2025-11-21T05:40:36.000+00:00",
            "reseeds": 12,
            "version": "9.9",
            "pid": 4711,
            "uptime_seconds": 3725.5,
            "workers": [
                {"pid": 4712, "connections": 3, "requests": 99, "bytes": 3168, "serving": True}
            ],
            "sources": list(sources),
            "policy": {"min_bits": 320, "min_groups": 1},
            "seed_log": {"directory": "/var/lib/hwentropy", "records": 17, "problem": ""},
            "sockets": ["/run/hwentropy/entropy.sock"],
            "seed_groups": ["cpu-instruction", "kernel-crng"],
            "seed_bits": 576,
            "clones": 2,
            "clone_signs": {"kernel log": "may not be read", "clock": "watched"},
        }
        | changes
    }


def sources(*listed: dict[str, Any]) -> Message:
    """The reply of Sources."""
    return {"sources": list(listed)}


def error(name: str, /, **parameters: Any) -> Message:
    """An error of the interface."""
    return {"error": f"{INTERFACE}.{name}", "parameters": parameters}
