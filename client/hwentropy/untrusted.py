"""What a stranger sent, where a check takes text.

    sent_text(given, "code")    the text, or None for what is none

A request without the cookie (None), and a number, a list or the like in hostile
JSON, are wrong values as any other: the check refuses them in its own words.
`bytes` nobody can send in place of text: the caller forgot to decode them, and is
told so, since a refusal would look like the stranger's mistake.

What this does not do: bound the length, or say that the text is well-formed (JSON
can hold a lone surrogate).
"""

__all__ = ["sent_text"]


def sent_text(given: object, name: str) -> str | None:
    """`given` if it is text, None for every other value.

    Raises TypeError, which shows `name` and not the value, for bytes.
    """
    if isinstance(given, (bytes, bytearray, memoryview)):
        raise TypeError(f"{name} is bytes; give it as a string, with .decode()")
    return given if isinstance(given, str) else None
