"""The Node.js client (client/node): its own tests, its helper thread, a real daemon."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hwentropy_core.limits import MAX_READ
from support.daemon import Daemon, only
from support.node import (
    NODE,
    OUTWAIT,
    PACKAGE,
    PATIENCE,
    ROOT,
    WAYS,
    Leasing,
    Node,
    NodeError,
    needs_node,
)

pytestmark = [pytest.mark.process, needs_node]


def test_the_packages_own_tests() -> None:
    """Known answers, arguments, integers, endpoint, watch, wire: `node --test`."""
    files = sorted(str(path) for path in (PACKAGE / "test").glob("*.test.js"))
    run = subprocess.run(
        [NODE, "--test", *files],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE * 5,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(files) == 8


def test_the_types_name_what_both_kinds_of_module_export(node: Node) -> None:
    """index.js, index.mjs and index.d.ts have the same names."""
    types = (PACKAGE / "index.d.ts").read_text()
    typed = set(re.findall(r"^export (?:function|const|class) (\w+)", types, re.MULTILINE))
    imported, required = node.run(
        "const { createRequire } = await import('node:module');"
        f" const required = createRequire('/')({json.dumps(str(PACKAGE))});"
        " return [Object.keys(h), Object.keys(required)]"
    )
    assert typed == set(required) == set(imported) - {"default"}


def test_the_helper_keeps_no_process_alive(leasing: Leasing, node: Node) -> None:
    """After sync and async draws the process ends with its input, quietly."""
    node.draw(32)
    node.draw(32, "async")
    assert node.end() == ""
    assert node.process.returncode == 0


def test_a_callback_that_waits_keeps_the_process_alive(
    leasing: Leasing, tmp_path: Path
) -> None:
    """As with node:crypto: the program does not end before its bytes are there."""
    js = (
        f"const h = require({json.dumps(str(PACKAGE))});"
        f" h.configure({{ path: {json.dumps(str(tmp_path / 'entropy.sock'))} }});"
        " h.randomBytes(4, (error, data) => console.log(error, data.length));"
        " h.randomInt(1, (error, n) => console.log(error, n));"
        " h.randomFill(new Uint16Array(3), 1, (error, data) => console.log(error, data[0]));"
    )
    run = subprocess.run(
        [NODE, "-e", js], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert sorted(run.stdout.splitlines()) == ["null 0", "null 4", "undefined 0"]
    assert run.stderr == ""


def test_close_ends_the_helper_and_the_next_draw_begins_anew(
    leasing: Leasing, node: Node
) -> None:
    """Also with a call under way, which fails, and twice in a row."""
    node.draw(32)
    node.run("await h.close(); await h.close()")
    assert len(node.draw(32)) == 32
    assert len(leasing.seeds) == 2
    words = node.run(
        "await h.close();"
        " const drawn = h.randomBytesAsync(8).then(() => 'bytes', (error) => error.message);"
        " await h.close(); return drawn"
    )
    assert "it was closed" in words


def test_the_programs_preloads_stay_out_of_the_helper(leasing: Leasing, tmp_path: Path) -> None:
    """What --require and NODE_OPTIONS name runs in the program's threads only."""
    preload = tmp_path / "preload.cjs"
    preload.write_text("require('node:fs').writeSync(1, 'loaded\\n');")
    socket = json.dumps(str(tmp_path / "entropy.sock"))
    js = (
        f"const h = require({json.dumps(str(PACKAGE))}); h.configure({{ path: {socket} }});"
        " require('node:fs').writeSync(1, `${h.randomBytes(4).length}\\n`);"
    )
    for options, environment in (
        (["--require", str(preload)], {}),
        ([], {"NODE_OPTIONS": f"--require {preload}"}),
    ):
        run = subprocess.run(
            [NODE, *options, "-e", js],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
            env=environment,
        )
        assert run.stdout.split() == ["loaded", "4"]


def test_a_startup_snapshot_is_refused(leasing: Leasing, node: Node) -> None:
    """A generator in a snapshot would begin alike in every process."""
    with pytest.raises(NodeError, match="startup snapshot"):
        node.run(
            "const v8 = (await import('node:v8')).default;"
            " v8.startupSnapshot.isBuildingSnapshot = () => true; h.randomBytes(8)"
        )


@pytest.fixture(scope="module")
def served() -> Iterator[Daemon]:
    """One hwentropyd for the tests that need the real thing."""
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def real(served: Daemon) -> Iterator[Node]:
    """A Node process that draws from it."""
    with Node(served.entropy) as process:
        yield process


@pytest.mark.parametrize("mode", ["lease", "direct", "prediction_resistant"])
def test_every_call_against_the_real_daemon(mode: str, real: Node) -> None:
    """Sizes, ranges and forms, in each mode, each way."""
    real.configure(mode=mode, timeout=PATIENCE * 1000)
    for way in WAYS:
        assert len(set(real.draw(3 * MAX_READ + 5, way))) == 256
        assert real.draw(32, way) != real.draw(32, way)
    numbers = real.run("return Array.from({length: 60}, () => h.randomInt(-2, 3))")
    assert set(numbers) == {-2, -1, 0, 1, 2}
    assert real.run("return h.promises.randomInt(7, 8)") == 7
    filled = real.run("return h.randomFillSync(new Uint32Array(8), 2, 4)")
    assert (filled[:16], filled[48:]) == ("0" * 16, "0" * 16)
    assert filled[16:48] != "0" * 32


def test_the_documented_program_runs(served: Daemon, tmp_path: Path) -> None:
    """The code in docs/node.md, with the package where npm would put it."""
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "hwentropy").symlink_to(PACKAGE)
    blocks = re.findall(r"```js\n(.*?)```", (ROOT / "docs" / "node.md").read_text(), re.DOTALL)
    assert blocks
    for number, code in enumerate(blocks):
        program = tmp_path / f"{number}.mjs"
        program.write_text(code + "console.log(key.length, die, id, token.length);")
        run = subprocess.run(
            [NODE, str(program)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={"HWENTROPY_RUNTIME_DIR": str(served.directory)},
        )
        assert re.fullmatch(r"32 [1-6] [0-9a-f-]{36} 16\n", run.stdout), run.stderr


def test_uuids_are_of_version_4(real: Node) -> None:
    """RFC 9562: version, variant and form; no two alike, every free bit moves."""
    drawn = real.run("return Array.from({length: 2000}, () => h.randomUUID())")
    assert len(set(drawn)) == 2000
    union, common = 0, (1 << 128) - 1
    for text in drawn:
        assert text[8] + text[13] + text[18] + text[23] == "----"
        assert text == text.lower()
        value = int(text.replace("-", ""), 16)
        assert value >> 76 & 0xF == 4
        assert value >> 62 & 0b11 == 0b10
        union, common = union | value, common & value
    # A free bit is the same in all 2,000 with probability 2^-1999.
    assert union ^ common == (1 << 128) - 1 - (0xF << 76) - (0b11 << 62)


def test_threads_and_children_share_nothing(served: Daemon, real: Node) -> None:
    """worker_threads, child_process.fork and cluster: all draw, no two the same bytes."""
    code = (
        "const h = require(process.env.PACKAGE);"
        " h.configure({ path: process.env.SOCKET });"
        " const drawn = Array.from({ length: 50 }, () => h.randomBytes(16).toString('hex'));"
        " const { parentPort } = require('node:worker_threads');"
        " if (parentPort) parentPort.postMessage(drawn);"
        " else process.send(drawn, () => process.disconnect());"
    )
    drawn = real.run(
        f"""
        const env = {json.dumps({"PACKAGE": str(PACKAGE), "SOCKET": str(real.path)})};
        const code = {json.dumps(code)};
        const {{ Worker }} = await import('node:worker_threads');
        const {{ fork }} = await import('node:child_process');
        const {{ default: cluster }} = await import('node:cluster');
        const fs = await import('node:fs');
        const file = {json.dumps(str(served.directory / "child.cjs"))};
        fs.writeFileSync(file, code);
        const own = Array.from({{ length: 50 }}, () => h.randomBytes(16).toString('hex'));
        const said = (one) => new Promise((resolve) => one.once('message', resolve));
        cluster.setupPrimary({{ exec: file }});
        const others = await Promise.all([
          said(new Worker(code, {{ eval: true, env }})),
          said(new Worker(code, {{ eval: true, env }})),
          said(fork(file, {{ env }})),
          said(fork(file, {{ env }})),
          said(cluster.fork(env)),
          said(cluster.fork(env)),
        ]);
        return [...own, ...others.flat()];
        """
    )
    assert len(drawn) == len(set(drawn)) == 350


def test_draws_go_on_through_real_reseeds(served: Daemon, real: Node) -> None:
    """None fails, none repeats, while the generation moves five times."""
    real.begin(
        "const drawn = []; shared.end = performance.now() + 1000;"
        " while (performance.now() < shared.end) {"
        " drawn.push(h.randomBytes(16), await h.randomBytesAsync(16));"
        " await new Promise((resolve) => setTimeout(resolve, 1)); } return drawn"
    )
    before = served.generation()
    for _ in range(5):
        served.call("Reseed")
    drawn = real.result()
    assert served.generation() == before + 5
    assert len(drawn) == len(set(drawn)) > 10


def test_a_real_daemon_that_ends_and_comes_back(tmp_path: Path) -> None:
    """SIGTERM, SIGKILL and start again: within the lease no draw fails."""
    with Daemon() as daemon, Node(daemon.entropy) as node:
        node.draw(32)
        daemon.stop()
        node.run(OUTWAIT)
        daemon.start()
        daemon.wait_until_settled()
        node.run(OUTWAIT)
        daemon.kill()
        node.run(OUTWAIT)
        node.configure(mode="direct")
        assert node.fill(32).name == "DaemonUnavailable"
        assert node.end() == ""


def test_a_real_daemon_without_a_seed() -> None:
    """NotSeeded where the caller would not wait, Timeout where they would, for a while."""
    with Daemon(only(), wait=False) as daemon:
        daemon.wait_until_reachable()
        with Node(daemon.entropy) as node:
            for mode in ("lease", "direct"):
                node.configure(mode=mode, block=False)
                assert node.fill(32).name == "NotSeeded"
                node.configure(mode=mode, timeout=100)
                assert node.fill(32, "async").name == "Timeout"
