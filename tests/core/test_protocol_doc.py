"""docs/protocol.md against the code: its example is executed, its tables are compared."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import pytest

from hwentropy_core.limits import MAX_CONTROL_MESSAGE, MAX_READ
from hwentropy_core.page import MAGIC, PAGE_BYTES, ServiceState
from hwentropy_core.varlink import INTERFACE
from hwentropy_core.wire import (
    HEADER,
    PROTOCOL_VERSION,
    Op,
    Refusal,
    Reply,
    ReplyFlag,
    ReplyReader,
    Request,
    RequestFlag,
    RequestReader,
    Status,
    encode_reply,
    encode_request,
)

TEXT = (Path(__file__).parents[2] / "docs/protocol.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def section(heading: str) -> str:
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def table(heading: str) -> dict[str, int]:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", section(heading), re.MULTILINE)
    return {name: int(number) for number, name in rows}


def lines(exchange: str, side: str) -> list[tuple[bytes, str]]:
    """The bytes and the explanation of one side's lines."""
    found = re.findall(rf"^{side} ([0-9a-f ]+) ; (.+)$", exchange, re.MULTILINE)
    return [(bytes.fromhex(data), text) for data, text in found]


def explained(names: type[IntEnum], header: bytes) -> str:
    first, flags, tag, length = HEADER.unpack(header)
    return f"{names(first).name} flags={flags} tag={tag} length={length}"


def read_requests(stream: bytes) -> list[Request | Refusal]:
    reader = RequestReader()
    reader.feed(stream)
    return list(iter(reader.next, None))


def read_replies(stream: bytes) -> list[tuple[Reply, bytes]]:
    reader = ReplyReader()
    reader.feed(stream)
    return [(reply, bytes(payload)) for reply, payload in iter(reader.next, None)]


def test_there_is_an_example() -> None:
    """The document has its two exchanges, and each of their lines is one the test reads."""
    exchanges = blocks("exchange")
    assert len(exchanges) == 2
    for exchange in exchanges:
        count = len(lines(exchange, "C")) + len(lines(exchange, "S"))
        assert count == len(exchange.splitlines())


@pytest.mark.parametrize("exchange", blocks("exchange"))
def test_the_client_side_is_what_wire_reads_and_writes(exchange: str) -> None:
    """Each request decodes to its explanation, and encodes to its bytes again."""
    sent = lines(exchange, "C")
    assert [explained(Op, data) for data, _ in sent] == [text for _, text in sent]
    requests = read_requests(b"".join(data for data, _ in sent))
    assert len(requests) == len(sent)
    for request, (data, _) in zip(requests, sent, strict=True):
        if isinstance(request, Request):
            assert encode_request(request) == data


@pytest.mark.parametrize("exchange", blocks("exchange"))
def test_the_server_side_is_what_wire_reads_and_writes(exchange: str) -> None:
    """Each reply decodes to its explanation, and encodes to its bytes again."""
    sent = lines(exchange, "S")
    stream = b"".join(data for data, _ in sent)
    replies = read_replies(stream)
    headers = [(data, text) for data, text in sent if text != "payload"]
    assert [explained(Status, data) for data, _ in headers] == [text for _, text in headers]
    again = b"".join(
        encode_reply(reply.status, reply.tag, reply.length, reply.flags) + payload
        for reply, payload in replies
    )
    assert again == stream


@pytest.mark.parametrize("exchange", blocks("exchange"))
def test_every_request_of_the_example_gets_the_reply_it_must(exchange: str) -> None:
    """In order, with its tag, its length, or the status that wire gives a refusal."""
    requests = read_requests(b"".join(data for data, _ in lines(exchange, "C")))
    replies = read_replies(b"".join(data for data, _ in lines(exchange, "S")))
    for request, (reply, payload) in zip(requests, replies, strict=True):
        assert reply.tag == request.tag
        if isinstance(request, Refusal):
            assert (reply.status, payload) == (request.status, b"")
        elif request.op is Op.READ:
            assert (reply.status, reply.length) == (Status.OK, request.length)


def test_info_of_the_example() -> None:
    """Its payload is the JSON that is printed below it, with the keys of the table."""
    stream = b"".join(data for data, _ in lines(blocks("exchange")[1], "S"))
    [payload] = [payload for _, payload in read_replies(stream) if payload.startswith(b"{")]
    [printed] = blocks("json")
    assert payload.decode() == printed.strip()
    info = json.loads(payload)
    documented = re.findall(r"^\| `(\w+)` \|", section("INFO"), re.MULTILINE)
    assert list(info) == documented
    assert info["protocol"] == [PROTOCOL_VERSION]
    assert info["limits"] == {"max_read": MAX_READ}
    assert info["state"] in {state.label for state in ServiceState}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Ops", Op),
        ("Request flags", RequestFlag),
        ("Statuses", Status),
        ("Reply flags", ReplyFlag),
    ],
)
def test_tables_are_complete(heading: str, names: type[IntEnum | IntFlag]) -> None:
    """Each table has every name of the code with its number, and no other."""
    assert table(heading) == {member.name: member.value for member in names}


def test_states_are_complete() -> None:
    """The table of states has the numbers of the page and the names of INFO."""
    assert table("States") == {state.label: state.value for state in ServiceState}


@pytest.mark.parametrize(
    "fact",
    [
        f"{MAX_READ:,}",
        f"{MAX_CONTROL_MESSAGE:,}",
        f"{PAGE_BYTES:,}",
        INTERFACE,
        f"0x{MAGIC >> 32:08X}_{MAGIC & 0xFFFFFFFF:08X}",
    ],
)
def test_numbers_are_those_of_the_code(fact: str) -> None:
    """Limits, names and the magic appear as the code has them."""
    assert fact in TEXT


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """Serves two connections: READs are answered with their tag's low byte, repeated."""
    path = tmp_path / "entropy.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            reader = RequestReader()
            with connection:
                while data := connection.recv(3):
                    reader.feed(data)
                    while (request := reader.next()) is not None:
                        if isinstance(request, Refusal):
                            connection.sendall(encode_reply(request.status, request.tag))
                        else:
                            header = encode_reply(Status.OK, request.tag, request.length)
                            payload = bytes([request.tag & 0xFF]) * request.length
                            connection.sendall(header + payload)

    thread = threading.Thread(target=serve, daemon=True)
    with listener:
        thread.start()
        yield path
        thread.join(10)
    assert not thread.is_alive()


def test_the_client_of_the_document_works(server: Path) -> None:
    """The printed client reads what wire serves, and reports a refusal."""
    [source] = blocks("python")
    namespace: dict[str, Any] = {}
    exec(source, namespace)  # noqa: S102 - the document's own code is what is tested
    random_bytes = namespace["random_bytes"]
    assert random_bytes(str(server), 100_000) == b"\x07" * 100_000
    with pytest.raises(RuntimeError, match="status 2"):
        random_bytes(str(server), MAX_READ + 1)
