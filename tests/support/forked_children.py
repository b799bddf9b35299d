"""Forks many children that draw, and compares what they drew; run as a script.

    python forked_children.py SOCKET CHILDREN

Each child writes the 16 bytes of its draw to a pipe that all share (a write of
up to PIPE_BUF bytes is never mixed with another, pipe(7)).  Prints how many byte
strings there were and how many different ones; the parent draws after every
hundredth child, and its draws are among them.
"""

import gc
import os
import selectors
import sys

from hwentropy.generator import configure, random_bytes

SIZE = 16
#: Children at a time: two for each of the two processors that these tests have.
AT_ONCE = 4


def draw_in_children(count: int) -> list[bytes]:
    """What the children drew, and the parent."""
    drawn = [random_bytes(SIZE)]
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    gc.freeze()
    data = bytearray()

    def read() -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(reader, selectors.EVENT_READ)
            while ready.select(0):
                part = os.read(reader, 1 << 16)
                if not part:
                    return
                data.extend(part)

    for number in range(count + AT_ONCE):
        if number >= AT_ONCE:
            _, status = os.wait()
            assert status == 0, status
        if number < count and not os.fork():
            code = 1
            try:
                code = 0 if os.write(writer, random_bytes(SIZE)) == SIZE else 2
            finally:
                os._exit(code)
        if not number % 100:
            read()
            drawn.append(random_bytes(SIZE))
    os.close(writer)
    read()
    os.close(reader)
    assert len(data) == count * SIZE, len(data)
    drawn += [bytes(data[at : at + SIZE]) for at in range(0, len(data), SIZE)]
    return drawn


def main() -> None:
    """The command."""
    configure(path=sys.argv[1])
    drawn = draw_in_children(int(sys.argv[2]))
    print(len(drawn), len(set(drawn)))


if __name__ == "__main__":
    main()
