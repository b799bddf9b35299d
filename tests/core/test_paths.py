"""Where the sockets are, for every kind of user and environment."""

from pathlib import Path

import pytest

from hwentropy_core.paths import (
    ENTROPY_SOCKET,
    ENVIRONMENT_VARIABLE,
    SYSTEM_DIR,
    client_runtime_dir,
    daemon_runtime_dir,
    file_in_the_way,
)


def served(directory: Path) -> Path:
    """Make it look as if a daemon served there."""
    directory.mkdir(parents=True)
    (directory / ENTROPY_SOCKET).touch()
    return directory


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({}, 0, "/run/hwentropy"),
        ({"XDG_RUNTIME_DIR": "/run/user/0"}, 0, "/run/hwentropy"),
        ({}, 1000, "/run/user/1000/hwentropy"),
        ({"XDG_RUNTIME_DIR": "/x"}, 1000, "/x/hwentropy"),
        ({"XDG_RUNTIME_DIR": ""}, 1000, "/run/user/1000/hwentropy"),
        ({"XDG_RUNTIME_DIR": "relative"}, 1000, "/run/user/1000/hwentropy"),
        ({ENVIRONMENT_VARIABLE: "/o"}, 0, "/o"),
        ({ENVIRONMENT_VARIABLE: "/o", "XDG_RUNTIME_DIR": "/x"}, 1000, "/o"),
        ({ENVIRONMENT_VARIABLE: "", "XDG_RUNTIME_DIR": "/x"}, 1000, "/x/hwentropy"),
    ],
)
def test_where_a_daemon_serves(environ: dict[str, str], uid: int, expected: str) -> None:
    """The override first; root in /run; anybody else below an absolute XDG_RUNTIME_DIR."""
    assert daemon_runtime_dir(environ, uid) == Path(expected)


def test_user_is_the_effective_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no uid given it is the process's effective one that counts."""
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    assert daemon_runtime_dir({}) == Path("/run/user/4242/hwentropy")


def test_environment_is_the_process_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no environment given it is the process's, as it is at the call."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "/from/the/environment")
    assert daemon_runtime_dir() == Path("/from/the/environment")
    assert client_runtime_dir() == Path("/from/the/environment")


def test_a_client_of_root_uses_the_system_directory(tmp_path: Path) -> None:
    """Root's own daemon is the system's."""
    assert client_runtime_dir({}, 0, tmp_path / "nothing") == SYSTEM_DIR


def test_a_client_prefers_a_daemon_of_its_own(tmp_path: Path) -> None:
    """Somebody who started a daemon means to use it, although the system has one."""
    own = served(tmp_path / "user/hwentropy")
    system = served(tmp_path / "system")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "user")}
    assert client_runtime_dir(environ, 1000, system) == own


def test_a_client_falls_back_to_the_system(tmp_path: Path) -> None:
    """Without a daemon of the user's own the system's is used."""
    system = served(tmp_path / "system")
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "user")}
    assert client_runtime_dir(environ, 1000, system) == system


def test_a_client_with_no_daemon_at_all_names_its_own(tmp_path: Path) -> None:
    """Where nothing serves, the path in the error is the one the user can serve on."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    expected = tmp_path / "hwentropy"
    assert client_runtime_dir(environ, 1000, tmp_path / "system") == expected


def test_a_clients_override_is_final(tmp_path: Path) -> None:
    """Named explicitly, a directory is used whether or not anything serves there."""
    system = served(tmp_path / "system")
    environ = {ENVIRONMENT_VARIABLE: str(tmp_path / "named")}
    assert client_runtime_dir(environ, 1000, system) == tmp_path / "named"


def test_a_directory_that_cannot_be_looked_into_does_not_count(tmp_path: Path) -> None:
    """What the kernel refuses to look up is passed over, not raised."""
    system = served(tmp_path / "system")
    # A name of over 255 bytes: ENAMETOOLONG, for root too, where EACCES is not.
    environ = {"XDG_RUNTIME_DIR": "/" + "x" * 300}
    assert client_runtime_dir(environ, 1000, system) == system


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a file"])
def test_what_is_no_directory_is_found_in_the_way(kind: str, tmp_path: Path) -> None:
    """Itself or the nearest ancestor that is there; nothing where a directory can be made."""
    blocking = tmp_path / "blocking"
    if kind == "file":
        blocking.touch()
    else:
        (tmp_path / "file").touch()
        blocking.symlink_to("nowhere" if kind == "dangling link" else "file")
    for path in (blocking, blocking / "a", blocking / "a" / "b"):
        assert file_in_the_way(path) == blocking
    for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        assert file_in_the_way(path) is None


def test_nothing_is_in_the_way_where_nobody_may_look() -> None:
    """Neither found nor raised: a name of over 255 bytes is refused to root too."""
    assert file_in_the_way(Path("/" + "x" * 300)) is None
