"""docs/protocol.md and the cases of conformance/ say the same: each row has its cases."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hwentropy.exchange import MAX_INFO, MAX_NUMBER
from hwentropy_core.page import MAGIC, PAGE_BYTES, ServiceState
from hwentropy_core.wire import HEADER, LEASE_BYTES
from support.conformance import Case, cases
from support.drbg_reference import ReferenceDrbg

TEXT = (Path(__file__).parents[2] / "docs/protocol.md").read_text()
PLAYED = [case for case in cases("replies") if "at_connect" not in case]
REPLIES = [case for case in PLAYED if not case.get("prediction_resistance")]
#: READs with prediction resistance.
FRESH = [case for case in PLAYED if case.get("prediction_resistance")]
REFUSED = [case for case in cases("replies") if "at_connect" in case]

#: What a status is called as an error; two have one name.
ERRORS = {"TOO_LONG": "RequestRefused", "BAD_REQUEST": "RequestRefused"}


def rows(heading: str) -> list[tuple[int, str]]:
    """Number and name of each row of the table under a heading."""
    found = re.search(rf"^#+ {heading}\n(.*?)(?=^#|\Z)", TEXT, re.DOTALL | re.MULTILINE)
    assert found, heading
    table = re.findall(r"^\| (\d+) \| `(\w+)` \|", found[1], re.MULTILINE)
    return [(int(number), name) for number, name in table]


STATUSES = rows("Statuses")
FLAGS = dict(rows("Reply flags"))


def first_reply(case: Case) -> tuple[int, int, int, int] | None:
    """The header that answers a case's first request; None where it is cut short."""
    reply = bytes.fromhex(case["exchange"][0]["reply"])
    return HEADER.unpack(reply[:8]) if len(reply) >= HEADER.size else None


def answered(op: str, **fields: int) -> list[Case]:
    """The cases of an op whose first reply has these fields, and else what is right."""
    names = ("status", "flags", "tag")
    found = []
    for case in REPLIES:
        header = first_reply(case)
        if case["op"] == op and header is not None and not case.get("hangup"):
            known = dict(zip(names, header[:3], strict=True))
            if all(known[name] == fields.get(name, 0) for name in names):
                found.append(case)
    return found


@pytest.mark.parametrize("op", ["READ", "INFO", "LEASE"])
def test_each_status_has_its_error(op: str) -> None:
    """Statuses 1 to 6 end a call with their own error; all but 6 leave the connection open."""
    for number, name in STATUSES[1:]:
        error = ERRORS.get(name, name.title().replace("_", ""))
        found = [
            case
            for case in REPLIES
            if case["op"] == op
            and first_reply(case) == (number, 0, 0, 0)
            and "payload" not in case["exchange"][0]
            and "page" not in case["exchange"][0]
        ]
        assert found, name
        assert {case["outcome"] for case in found} == {error}
        alone = [case for case in found if case["length"] < 1 << 20]
        assert {case["connection"] for case in alone} == {"closed" if number == 6 else "kept"}


@pytest.mark.parametrize("op", ["READ", "LEASE"])
@pytest.mark.parametrize("number", [number for number, _ in STATUSES[1:]])
def test_an_error_has_neither_flags_nor_payload(number: int, op: str) -> None:
    """With any status but OK the length and the flags are 0."""
    for flag in FLAGS:
        found = answered(op, status=number, flags=flag)
        assert found
        assert {case["outcome"] for case in found} == {"ProtocolError"}
    loaded = [case for case in answered(op, status=number) if first_reply(case)[3]]  # type: ignore[index]
    assert [case["outcome"] for case in loaded] == ["ProtocolError"]


@pytest.mark.parametrize("op", ["READ", "INFO", "LEASE"])
def test_which_replies_refuse_a_connection(op: str) -> None:
    """OVER_QUOTA and NOT_PERMITTED with flags, tag and length 0, and no other."""
    assert "`OVER_QUOTA` or `NOT_PERMITTED` with flags, tag and length 0" in TEXT
    for number, name in STATUSES:
        whole = HEADER.pack(number, 0, 0, 0).hex()
        ends = {c["outcome"] for c in REFUSED if (c["op"], c["at_connect"]) == (op, whole)}
        refuses = name in {"OVER_QUOTA", "NOT_PERMITTED"}
        assert ends == {name.title().replace("_", "") if refuses else "ProtocolError"}
    assert {case["connection"] for case in REFUSED} == {"closed"}


def test_which_flags_come_with_ok() -> None:
    """DEGRADED with READ and LEASE, PAGE with a connection's first LEASE, and no other.

    NOT_LIVE comes where prediction resistance was asked for.
    """
    assert FLAGS == {1: "DEGRADED", 2: "PAGE", 4: "NOT_LIVE"}
    taken = {"READ": {0, 1}, "INFO": {0}, "LEASE": {2, 3}}
    seen: set[tuple[str, int]] = set()
    for op, allowed in taken.items():
        for flags in (*range(11), 0x80):
            for case in answered(op, flags=flags):
                seen.add((op, flags))
                if flags not in allowed:
                    assert case["outcome"] == "ProtocolError", case["name"]
                elif case["outcome"] in {"bytes", "info"}:
                    marks = [bytes.fromhex(turn["reply"])[1] & 1 for turn in case["exchange"]]
                    assert case.get("degraded", False) == any(marks)
    assert {("READ", 2), ("READ", 4), ("READ", 8), ("READ", 0x80)} <= seen
    assert {("INFO", 1), ("INFO", 2), ("INFO", 4), ("INFO", 8)} <= seen
    assert {("LEASE", 0), ("LEASE", 2), ("LEASE", 3), ("LEASE", 6), ("LEASE", 10)} <= seen


def test_prediction_resistance_may_not_be_live() -> None:
    """DEGRADED and NOT_LIVE in any pair with OK, and neither PAGE nor another flag."""
    seen: dict[int, set[str]] = {}
    for case in FRESH:
        replied = [bytes.fromhex(turn["reply"]) for turn in case["exchange"]]
        marks = 0
        for reply in replied:
            marks |= reply[1]
        if replied[0][0] == 0:
            seen.setdefault(marks, set()).add(case["outcome"])
        if case["outcome"] == "bytes":
            assert (case["degraded"], case["not_live"]) == (bool(marks & 1), bool(marks & 4))
        assert all(turn["request"].startswith("0102") for turn in case["exchange"])
    taken = {flags for flags, outcomes in seen.items() if outcomes == {"bytes"}}
    assert taken == {0, 1, 4, 5}
    assert {2, 6, 8, 0x84} == {
        flags for flags, ends in seen.items() if ends == {"ProtocolError"}
    }


def test_what_is_not_in_the_tables_is_refused() -> None:
    """The next status and the highest, the next flag and the highest."""
    for fields in ({"status": 7}, {"status": 255}, {"flags": 8}, {"flags": 0x80}, {"tag": 1}):
        found = answered("READ", **fields)
        assert found
        assert {case["outcome"] for case in found} == {"ProtocolError"}


def test_the_lengths_of_replies() -> None:
    """INFO 1 to 16,384, LEASE 56; each end has cases on both of its sides."""
    assert "to `INFO` is 1 to 16,384, to `LEASE` 56" in TEXT
    assert (MAX_INFO, LEASE_BYTES) == (16384, 56)
    sizes: dict[str, dict[int, str]] = {"INFO": {}, "LEASE": {}}
    for case in (*answered("INFO"), *answered("LEASE", flags=2)):
        header = first_reply(case)
        assert header is not None
        if case["connection"] == "kept" or header[3] not in range(1, MAX_INFO + 1):
            sizes[case["op"]][header[3]] = case["outcome"]
    assert sizes["INFO"][0] == sizes["INFO"][16385] == "ProtocolError"
    assert sizes["INFO"][16384] == "info"
    lengths = {first_reply(case)[3] for case in answered("LEASE", flags=2)}  # type: ignore[index]
    assert {0, 55, 56, 57} <= lengths


def test_the_states_and_numbers_of_info() -> None:
    """Each state of the document is taken; generations up to 2^53 - 1."""
    taken = [case["info"] for case in REPLIES if case["outcome"] == "info"]
    names = [name for _, name in rows("States")]
    assert {info["state"] for info in taken} == set(names)
    assert names == [state.label for state in ServiceState]
    assert "integer from 0 to 2^53 - 1" in TEXT
    assert max(int(info["generation"]) for info in taken) == MAX_NUMBER


def test_the_page_is_the_document_s() -> None:
    """Size, magic and each seal: the page without one of them is refused."""
    pages: dict[str, Any] = {case["name"]: case for case in cases("pages")}
    good = pages["as the daemon makes it"]
    seals = re.findall(r"`F_SEAL_(\w+)`", TEXT)
    assert set(good["seals"]) == set(seals)
    assert (good["size"], int(good["words"][0])) == (PAGE_BYTES, MAGIC)
    for seal in seals:
        assert pages[f"without F_SEAL_{seal}"]["outcome"] == "ProtocolError"


def test_every_case_has_a_name_of_its_own() -> None:
    """Within its file, so that a failure leads to one line."""
    for name in ("replies", "requests", "pages", "leases", "paths", "drbg"):
        names = [case["name"] for case in cases(name)]
        assert len(set(names)) == len(names) > 0


def test_no_number_is_beyond_what_json_holds() -> None:
    """Numbers that may need 64 bits are strings."""

    def numbers(value: Any) -> Any:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from numbers(one)
        elif isinstance(value, int):
            yield value

    for file in (Path(__file__).parents[2] / "conformance").glob("*.json"):
        assert all(abs(n) <= MAX_NUMBER for n in numbers(json.loads(file.read_text()))), file


@pytest.mark.parametrize("case", list(cases("leases")), ids=lambda case: case["name"])
def test_a_lease_is_drawn_from_as_the_page_says(case: Case) -> None:
    """Its purpose and its label, by a generator that is written from docs/drbg.md alone."""
    section = TEXT[TEXT.index("## LEASE") :]
    label = re.search(r"with the label `(\w+)`", section)
    purpose = re.search(r"of the purpose `(\w+)`", section)
    assert label
    assert purpose
    drbg = ReferenceDrbg(purpose[1].encode())
    taken = 0
    for step in case["steps"]:
        if "gives" not in step:
            continue
        for lease in case["leases"][taken : step["granted"]]:
            drbg.reseed([(label[1].encode(), bytes.fromhex(lease["seed"]))])
        taken = step["granted"]
        assert drbg.read(step["draw"]).hex() == step["gives"]
