"""hwentropy.hashing against published hashes, and what it refuses."""

import base64
import hashlib
import re

import pytest
from cryptography.exceptions import InvalidKey
from hypothesis import given
from hypothesis import strategies as st

import hwentropy.hashing as module
from hwentropy import CheckFailed
from hwentropy.hashing import (
    DEFAULT,
    OWASP_ARGON2ID,
    OWASP_PBKDF2,
    Argon2idCost,
    Pbkdf2Cost,
    check_password,
    generate_salt,
    hash_password,
    needs_rehash,
)
from support.seeded_bytes import SeededBytes, supply

#: The cheapest there is, so that tests do not take a minute.
CHEAP = Argon2idCost(memory_kib=8, passes=1, lanes=1)
CHEAP_PBKDF2 = Pbkdf2Cost(iterations=1)

#: P-H-C/phc-winner-argon2, src/test.c: Argon2id, version 19, password, somesalt.
ARGON2ID = (
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
)

#: RustCrypto/password-hashes, pbkdf2/tests; the hash itself is RFC 6070's fifth with SHA-256.
PBKDF2 = (
    "$pbkdf2-sha256$i=4096,l=40$c2FsdFNBTFRzYWx0U0FMVHNhbHRTQUxUc2FsdFNBTFRzYWx0"
    "$NIyJ28vTKy8y2BS4EW6EzysXNH68GAAYHE4qH7jdU+HGNVGMfaxH6Q"
)


@pytest.fixture(autouse=True)
def seeded(monkeypatch: pytest.MonkeyPatch) -> SeededBytes:
    """Bytes that are the same in every run."""
    source = SeededBytes(10)
    supply(monkeypatch, source)
    return source


@pytest.mark.parametrize(
    ("password", "stored"),
    [("password", ARGON2ID), ("passwordPASSWORDpassword", PBKDF2)],
)
def test_published_hashes_are_checked(password: str, stored: str) -> None:
    """What others made is accepted with its password, and with no other."""
    check_password(password, stored)
    check_password(password.encode(), stored)
    for wrong in ("Password", password + " ", "", b"\0" + password.encode()):
        with pytest.raises(CheckFailed):
            check_password(wrong, stored)


def test_pbkdf2_is_hashlibs() -> None:
    """The string holds salt and hash as a second implementation computes it."""
    stored = hash_password("secret", Pbkdf2Cost(1000))
    match = re.fullmatch(r"\$pbkdf2-sha256\$i=1000,l=32\$(\S+)\$(\S+)", stored)
    assert match
    salt = base64.b64decode(match[1] + "==")
    assert base64.b64decode(match[2] + "=") == hashlib.pbkdf2_hmac(
        "sha256", b"secret", salt, 1000
    )


@pytest.mark.parametrize("cost", [CHEAP, CHEAP_PBKDF2])
def test_each_hash_has_its_own_salt(
    cost: Argon2idCost | Pbkdf2Cost, seeded: SeededBytes
) -> None:
    """Sixteen fresh bytes each, so that two users with one password differ."""
    one, other = hash_password("secret", cost), hash_password("secret", cost)
    assert one != other
    assert seeded.given == 32
    for stored in (one, other):
        check_password("secret", stored)
        assert not needs_rehash(stored, cost)


def test_the_default_is_that_of_the_rfc() -> None:
    """RFC 9106's second recommended option, in the string too."""
    stored = hash_password("secret")
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not needs_rehash(stored)
    check_password("secret", stored)


@pytest.mark.parametrize(
    ("cost", "beginning"),
    [
        (OWASP_ARGON2ID, "$argon2id$v=19$m=19456,t=2,p=1$"),
        (OWASP_PBKDF2, "$pbkdf2-sha256$i=600000,l=32$"),
    ],
)
def test_the_named_costs_are_the_least_that_owasp_recommends(
    cost: Argon2idCost | Pbkdf2Cost, beginning: str
) -> None:
    """Password Storage Cheat Sheet; an attacker's guess costs as much as one check."""
    assert hash_password("secret", cost).startswith(beginning)


@pytest.mark.parametrize("stored", [ARGON2ID, PBKDF2])
def test_other_costs_want_a_new_hash(stored: str) -> None:
    """Older costs, another algorithm, shorter salts and other lengths are to be replaced."""
    for cost in (DEFAULT, OWASP_ARGON2ID, OWASP_PBKDF2):
        assert needs_rehash(stored, cost)
    # Its cost is right, its salt is of eight bytes; its hash is of forty bytes.
    same = Argon2idCost(65536, 2, 1) if stored is ARGON2ID else Pbkdf2Cost(4096)
    assert needs_rehash(stored, same)


def test_text_is_normalised() -> None:
    """The same password on another keyboard: composed, decomposed, ligature."""
    stored = hash_password("caf\u00e9 \ufb01x", CHEAP)
    check_password("cafe\u0301 fix", stored)
    with pytest.raises(CheckFailed):
        check_password("cafe fix", stored)


@given(st.one_of(st.text(), st.binary(), st.just("\ud800")))
def test_any_password_is_wrong_or_right(password: str | bytes) -> None:
    """Hostile input is a wrong password, never another error, and not repeated."""
    with pytest.raises(CheckFailed) as caught:
        check_password(password, _OF_ANOTHER)
    assert str(caught.value) == "the password is not the right one"


_OF_ANOTHER = "$pbkdf2-sha256$i=1,l=32$" + "A" * 22 + "$" + "A" * 43


Work = list[tuple[str, dict[str, int]]]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Every derivation that is asked for, by its parameters; none is computed or right."""
    asked: Work = []

    class Derivation:
        name: str

        def __init__(self, **parameters: object) -> None:
            self.counts = {key: one for key, one in parameters.items() if isinstance(one, int)}

        def derive(self, password: bytes) -> bytes:
            asked.append((self.name, self.counts))
            return password

        def verify(self, password: bytes, hashed: bytes) -> None:
            if self.derive(password) != hashed:
                raise InvalidKey

    class Pbkdf2(Derivation):
        name = "pbkdf2"

    class Argon2id(Derivation):
        name = "argon2id"

        @staticmethod
        def verify_phc_encoded(password: bytes, stored: str) -> None:
            memory, passes, lanes = (int(one) for one in re.findall(r"[mtp]=(\d+)", stored))
            made = Argon2id(length=32, iterations=passes, lanes=lanes, memory_cost=memory)
            made.verify(password, b"")

    monkeypatch.setattr(module, "Argon2id", Argon2id)
    monkeypatch.setattr(module, "PBKDF2HMAC", Pbkdf2)
    return asked


#: A hash of each kind of cost; none is of "secret".
OF_A_COST = {
    DEFAULT: f"$argon2id$v=19$m=65536,t=3,p=4${'A' * 22}${'A' * 43}",
    OWASP_ARGON2ID: f"$argon2id$v=19$m=19456,t=2,p=1${'A' * 22}${'A' * 43}",
    OWASP_PBKDF2: f"$pbkdf2-sha256$i=600000,l=32${'A' * 22}${'A' * 43}",
}


@pytest.mark.parametrize("cost", OF_A_COST)
def test_a_missing_user_costs_what_a_wrong_password_costs(
    cost: Argon2idCost | Pbkdf2Cost, work: Work
) -> None:
    """At the site's cost the two are one derivation of the same parameters, and one error."""
    for stored in (OF_A_COST[cost], None):
        with pytest.raises(CheckFailed, match=r"^the password is not the right one$"):
            check_password("secret", stored, cost=cost)
    of_a_user, of_nobody = work
    assert of_a_user == of_nobody


def test_a_missing_user_costs_the_default_unless_told(work: Work) -> None:
    """What `hash_password` takes by default, `check_password` does too."""
    with pytest.raises(CheckFailed):
        check_password("secret", None)
    parameters = {"memory_cost": 65536, "iterations": 3, "lanes": 4, "length": 32}
    assert work == [("argon2id", parameters)]


def test_a_stored_hash_says_its_own_cost(work: Work) -> None:
    """`cost=` changes nothing where there is a user."""
    with pytest.raises(CheckFailed):
        check_password("secret", OF_A_COST[OWASP_ARGON2ID], cost=OWASP_PBKDF2)
    parameters = {"memory_cost": 19456, "iterations": 2, "lanes": 1, "length": 32}
    assert work == [("argon2id", parameters)]


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "hunter2-in-clear",
        ARGON2ID + "\n",
        ARGON2ID[:-30],
        ARGON2ID.replace("argon2id", "argon2i"),
        ARGON2ID.replace("v=19", "v=16"),
        ARGON2ID.replace("c29tZXNhbHQ", "c29tZXNhbHQAA"),
        PBKDF2.replace("l=40", "l=32"),
        PBKDF2.replace("sha256", "sha1"),
        PBKDF2.replace("+", "."),
        PBKDF2.replace("$NIyJ", "$IyJ"),
        "\u0661".join(PBKDF2.split("4", 1)),
    ],
)
def test_malformed_hashes_are_an_error(stored: str) -> None:
    """A damaged store is the operator's matter, not a wrong password; nothing is repeated."""
    for use in (lambda: check_password("password", stored), lambda: needs_rehash(stored)):
        with pytest.raises(ValueError, match=r"not a password hash|cost") as caught:
            use()
        assert "hunter2" not in str(caught.value)
        assert "CTFh" not in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [
        ARGON2ID.replace("m=65536", "m=4194305"),
        ARGON2ID.replace("m=65536", "m=7"),
        ARGON2ID.replace("t=2", "t=65"),
        ARGON2ID.replace("t=2", "t=0"),
        ARGON2ID.replace("p=1", "p=256"),
        ARGON2ID.replace("p=1", "p=0"),
        PBKDF2.replace("i=4096", "i=0"),
        PBKDF2.replace("i=4096", "i=67108865"),
    ],
)
def test_a_planted_hash_does_not_take_the_machine_down(stored: str) -> None:
    """Costs that no login should have are refused before anything is computed."""
    with pytest.raises(ValueError, match="at a cost of"):
        check_password("password", stored)


def test_impossible_costs_are_refused() -> None:
    """In hashing as in checking."""
    for cost in (Argon2idCost(7, 1, 1), Argon2idCost(64, 0, 1), Pbkdf2Cost(0)):
        with pytest.raises(ValueError, match="at a cost of"):
            hash_password("secret", cost)
        with pytest.raises(ValueError, match="at a cost of"):
            check_password("secret", None, cost=cost)


def test_salts_are_fresh_and_long_enough(seeded: SeededBytes) -> None:
    """Sixteen bytes of the generator unless more is asked for; less is an error."""
    assert len(generate_salt()) == 16
    assert len(generate_salt(32)) == 32
    assert seeded.given == 48
    with pytest.raises(ValueError, match="too short; ask for 16"):
        generate_salt(15)


def test_pbkdf2_does_not_see_a_final_nul() -> None:
    """What the module admits: HMAC pads with zeros.  Argon2id tells the two apart."""
    check_password("secret\0", hash_password("secret", CHEAP_PBKDF2))
    with pytest.raises(CheckFailed):
        check_password("secret\0", hash_password("secret", CHEAP))
