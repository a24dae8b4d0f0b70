"""Weights from servers to a restored volume: a web of our own, nothing patched.

In real processes where they come into it: what one leaves to the next, and how it is stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from parity import load_fixture
from webworld import World

from e2e.conftest import Run, Start, digests
from vemctl import registry

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RAW = f"https://raw.githubusercontent.com/laboratory/nets/{COMMIT}"
DENOISE = (
    "https://raw.githubusercontent.com/hmzawz2/OptimizedAcquisition4vEM/"
    "faea1f66cb5844c07ec364941117f3b9cbae3253/ckpt/Fig2/supervised.pth"
)
NO_NETWORK = """
import socket, sys
def watch(event, arguments):
    internet = (socket.AF_INET, socket.AF_INET6)
    if event == "socket.getaddrinfo" or event == "socket.__new__" and arguments[1] in internet:
        sys.stderr.write(f"SOCKET {event}\\n")
        sys.stderr.flush()
        import os
        os._exit(99)
sys.addaudithook(watch)
from vemctl.__main__ import main
sys.exit(main())
"""
PLUGIN = '''
from vemctl.plugin import PublishedFile, Weights
from vemctl_denoise.method import Denoise

def one(name, source, digest="", **more):
    sources = source if isinstance(source, tuple) else (source,)
    file = PublishedFile(more.pop("file", "w.pth"), sources, digest,
                         more.pop("members", ()), more.pop("extra_members", ()))
    return Weights(f"seeded/{name}", (file,), "CC0-1.0", "For tests.", **more)

GITHUB = "github:laboratory/nets@COMMIT"

class Seeded(Denoise):
    """denoise under another name, with weights that the test's servers have."""

    name = "seeded"
    weights = (
        one("github", GITHUB + "/w.pth", "git-blob:BLOB", default=True),
        one("large", GITHUB + "/large.pth", "git-blob:POINTER"),
        one("zenodo", "doi:10.5281/zenodo.77/w.pth"),
        one("dataverse", "doi:10.18738/T8/YLCK5A/w.pth"),
        one("archive", ("doi:10.5281/zenodo.78/a.zip", "doi:10.5281/zenodo.79/a.zip"),
            file="a.zip", members=("net_FA.pth", "net_G.pth"), extra_members=("net_FB.pth",)),
    )

METHOD = Seeded()
'''


def blob(content: bytes) -> str:
    """Return the id that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture(scope="module")
def content() -> bytes:
    """Return a checkpoint of GShiftNet."""
    file = io.BytesIO()
    torch.save({"epoch": 3, "state_dict": load_fixture("denoise_tiled")[2]}, file)
    return file.getvalue()


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Return a volume of one small tile."""
    path = tmp_path / "noisy.npy"
    np.save(path, np.random.default_rng(5).integers(0, 256, (5, 16, 16), dtype=np.uint8))
    return path


@pytest.fixture
def world() -> Iterator[World]:
    """Start the web of the test."""
    with World() as there:
        yield there


@pytest.fixture
def environment(world: World, content: bytes, tmp_path: Path) -> dict[str, str]:
    """Install the plugin, publish its weights, and return what leads vemctl there."""
    digest, size = hashlib.sha256(content).hexdigest(), len(content)
    version = "version https://git-lfs.github.com/spec/v1"
    pointer = f"{version}\noid sha256:{digest}\nsize {size}\n".encode()
    site = tmp_path / "site"
    facts = site / "vemctl_seeded-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: vemctl-seeded\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[vemctl.methods]\nseeded = vemctl_seeded:METHOD\n")
    text = PLUGIN.replace("COMMIT", COMMIT).replace("BLOB", blob(content))
    (site / "vemctl_seeded.py").write_text(text.replace("POINTER", blob(pointer)))
    world.github("laboratory/nets", COMMIT, {"w.pth": content})
    world.github("laboratory/nets", COMMIT, {"large.pth": content}, large=True)
    return {
        **os.environ,
        **world.environment,
        "PYTHONPATH": str(site),
        "VEMCTL_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


@pytest.fixture
def vemctl(environment: dict[str, str], start: Start) -> Run:
    """Return a function that runs vemctl in that world."""

    def run(*words: object, **changed: str) -> subprocess.CompletedProcess[str]:
        process = start(*words, **environment | changed)
        out, err = process.communicate()
        return subprocess.CompletedProcess([], process.returncode, out, err)

    return run


@pytest.fixture
def here(here: Run, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return a function that runs vemctl in that world and this process, which is quicker."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    registry.method_entry_points.cache_clear()

    yield here
    sys.modules.pop("vemctl_seeded", None)
    registry.method_entry_points.cache_clear()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the error of a run that the user can mend: the last line, without a traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line == done.stderr.splitlines()[-1]
    return line


def kept(tmp_path: Path) -> list[str]:
    """Return the files of the store, without locks."""
    files = digests(tmp_path / "cache") if (tmp_path / "cache").exists() else {}
    return [name for name in files if not name.startswith("locks/")]


def test_the_default_weights_are_fetched_once_and_the_second_run_opens_no_socket(
    vemctl: Run, fork: Start, environment: dict[str, str], world: World, noisy: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """No -w: the first run fetches, verifies and restores; the next needs no network."""
    first = vemctl("predict", "seeded", noisy, "a.zarr")
    assert first.returncode == 0, first.stderr
    assert "fetch seeded/github" in first.stderr
    assert [line for line in world.log if "w.pth" in line] == [
        f"GET raw.githubusercontent.com /laboratory/nets/{COMMIT}/w.pth"
    ]
    words = ["predict", "seeded", str(noisy), "b.zarr"]
    second = fork(f"import sys; sys.argv[1:] = {words}\n{NO_NETWORK}", **environment)
    _, told = second.communicate()
    assert second.returncode == 0, told
    assert digests(tmp_path / "a.zarr" / "0") == digests(tmp_path / "b.zarr" / "0")


def test_offline_nothing_is_tried_and_the_line_says_what_to_fetch_and_where(
    vemctl: Run, environment: dict[str, str], world: World, noisy: Path, tmp_path: Path
) -> None:
    """By the flag and by the variable; not even a name is looked up."""
    line = one_line(vemctl("predict", "seeded", noisy, "a.zarr", "--offline"))
    assert "seeded/github is not on this machine" in line
    assert str(tmp_path / "cache") in line
    assert "vemctl weights fetch seeded/github" in line
    assert "vemctl weights unpack" in line
    watched = subprocess.run(
        [sys.executable, "-c", NO_NETWORK, "weights", "fetch", "seeded/zenodo"],
        cwd=tmp_path, env=environment | {"VEMCTL_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "forbids to fetch it" in one_line(watched)
    assert world.log == []
    assert not (tmp_path / "a.zarr").exists()


def test_a_file_that_is_not_the_published_one_is_removed_and_both_digests_are_shown(
    here: Run, world: World, noisy: Path, tmp_path: Path
) -> None:
    """Of the real catalogue: whoever changes the server's file gets nothing to run."""
    world.serve(DENOISE, b"another file")
    line = one_line(here("predict", "denoise", noisy, "a.zarr"))
    assert "git-blob:841e65fff246d10589be9e2be141a28d933a0997" in line
    assert f"git-blob:{blob(b'another file')}" in line
    assert kept(tmp_path) == []
    assert not (tmp_path / "a.zarr").exists()


def test_all_kinds_of_sources_are_fetched_listed_verified_and_found(
    here: Run, world: World, content: bytes, tmp_path: Path
) -> None:
    """A commit, Git LFS, Zenodo, a Dataverse, an archive of which the second source has it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name in ("net_FA.pth", "net_G.pth", "notes.txt"):
            zipped.writestr(f"F-actin/iteration17600/{name}", name.encode())
    world.zenodo(77, {"w.pth": content, "other": b""})
    world.zenodo(79, {"a.zip": archive.getvalue()})
    world.dataverse("dataverse.tdl.org", "10.18738/T8/YLCK5A", {"models/w.pth": content})
    done = here("weights", "fetch", "--method", "seeded", "--json")
    assert done.returncode == 0, done.stderr
    assert "trying the next source" in done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    single = ["seeded/github", "seeded/large", "seeded/zenodo", "seeded/dataverse"]
    assert set(rows) == {*single, "seeded/archive"}
    for name in single:
        assert Path(rows[name]["path"]).read_bytes() == content
        assert rows[name]["sha256"] == hashlib.sha256(content).hexdigest()
    members = {
        path.name: path.read_bytes() for path in Path(rows["seeded/archive"]["path"]).iterdir()
    }
    assert members == {"net_FA.pth": b"net_FA.pth", "net_G.pth": b"net_G.pth"}
    listed = {row["name"]: row for row in json.loads(here("weights", "list", "--json").stdout)}
    assert {name: listed[name]["state"] for name in rows} == dict.fromkeys(rows, "here")
    assert listed["seeded/github"]["default"] is True
    assert listed["denoise/supervised"]["state"] == "not fetched"
    assert listed["denoise/demo"]["state"] == "in the package"
    assert listed["vsisr/f-actin"]["licence"].startswith("none stated")
    found = here("weights", "path", "seeded/large", VEMCTL_OFFLINE="1")
    assert found.stdout.strip() == rows["seeded/large"]["path"]
    assert here("weights", "verify").returncode == 0
    Path(rows["seeded/large"]["path"]).write_bytes(content[:-1] + b"!")
    broken = here("weights", "verify", "--json")
    assert broken.returncode == 2
    problems = {row["name"]: row["problems"] for row in json.loads(broken.stdout)}
    assert [name for name, wrong in problems.items() if wrong] == ["seeded/large"]


def test_a_record_that_changes_after_the_first_fetch_is_refused_until_accepted(
    here: Run, world: World, content: bytes
) -> None:
    """Only the repository's word pins it at first; then the record of the store does."""
    world.zenodo(77, {"w.pth": content})
    assert here("weights", "fetch", "seeded/zenodo").returncode == 0
    assert here("weights", "remove", "seeded/zenodo").returncode == 0
    world.zenodo(77, {"w.pth": content + b"changed"})
    line = one_line(here("weights", "fetch", "seeded/zenodo"))
    assert "changed since it was first fetched" in line
    assert hashlib.sha256(content).hexdigest() in line
    assert hashlib.sha256(content + b"changed").hexdigest() in line
    assert here("weights", "remove", "--forget", "seeded/zenodo").returncode == 0
    assert here("weights", "fetch", "seeded/zenodo").returncode == 0


def test_troubles_of_servers_are_outlived(here: Run, world: World, content: bytes) -> None:
    """Busy twice, then cut off half-way: the file arrives whole, by Range."""
    url = f"{RAW}/w.pth"
    world.fail(url, 503, times=2)
    world.drop_after(url, len(content) // 2)
    done = here("weights", "fetch", "seeded/github")
    assert done.returncode == 0, done.stderr
    assert any("bytes=" in line for line in world.log)
    world.fail(f"{RAW}/large.pth", 429, headers={"Retry-After": "1"})
    began = time.monotonic()
    assert here("weights", "fetch", "seeded/large").returncode == 0
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize(
    ("status", "words"), [(404, "no such file"), (403, "not public"), (410, "no such file")]
)
def test_what_no_patience_mends_is_one_line(
    here: Run, world: World, status: int, words: str, tmp_path: Path
) -> None:
    """Where, what, and what to do about it."""
    world.status(f"{RAW}/w.pth", status)
    line = one_line(here("weights", "fetch", "seeded/github"))
    assert f"{RAW}/w.pth: HTTP {status}, {words}" in line
    assert "vemctl weights add" in line
    assert kept(tmp_path) == []


def test_a_killed_download_continues_where_it_was(
    environment: dict[str, str], start: Start, here: Run, world: World, content: bytes,
    tmp_path: Path,
) -> None:  # fmt: skip
    """The next process asks for the rest only."""
    world.stall_after(f"{RAW}/w.pth", len(content) * 3 // 4)
    process = start("weights", "fetch", "seeded/github", **environment)
    downloads = tmp_path / "cache" / "downloads"
    for _ in range(300):
        sizes = [path.stat().st_size for path in downloads.glob("*.part")]
        if sizes and sizes[0] > 0:
            break
        time.sleep(0.1)
    process.kill()
    process.communicate()
    assert here("weights", "fetch", "seeded/github").returncode == 0
    assert "bytes=" in world.log[-1]
    assert list(downloads.iterdir()) == []


def test_three_processes_at_once_download_once(
    environment: dict[str, str], start: Start, world: World
) -> None:
    """Two wait for the third, and find what it fetched."""
    world.delay(f"{RAW}/w.pth", 1.0)
    processes = [start("weights", "fetch", "seeded/github", **environment) for _ in range(3)]
    outcomes = [(process.communicate(), process.returncode)[1] for process in processes]
    assert outcomes == [0, 0, 0]
    assert len([line for line in world.log if line.startswith("GET raw.")]) == 1


def test_addresses_with_a_digest_are_weights_too(
    here: Run, world: World, content: bytes, noisy: Path
) -> None:
    """And without one they are not."""
    digest = hashlib.sha256(content).hexdigest()
    world.serve("https://laboratory.example/w.pth", content)
    world.zenodo(80, {"w.pth": content})
    bare = one_line(here("predict", "seeded", noisy, "a.zarr", "-w",
                           "https://laboratory.example/w.pth"))  # fmt: skip
    assert "append #sha256=HEX" in bare
    for number, address in enumerate(
        (f"https://laboratory.example/w.pth#sha256={digest}", "doi:10.5281/zenodo.80/w.pth")
    ):
        done = here("predict", "seeded", noisy, f"{number}.zarr", "-w", address,
                      "--json")  # fmt: skip
        assert done.returncode == 0, done.stderr
        again = here("rerun", f"{number}.zarr", f"{number}b.zarr", VEMCTL_OFFLINE="1")
        assert again.returncode == 0, again.stderr
    wrong = f"https://laboratory.example/w.pth#sha256={'0' * 64}"
    assert f"sha256:{digest}" in one_line(here("weights", "fetch", wrong))


def test_weights_are_carried_to_a_machine_without_a_network(
    here: Run, environment: dict[str, str], noisy: Path, tmp_path: Path
) -> None:
    """Packed here, unpacked there, and the same again is the same bytes."""
    assert here("weights", "fetch", "seeded/github", "seeded/large").returncode == 0
    for name in ("weights.tar", "again.tar"):
        assert here("weights", "pack", name).returncode == 0
    assert (tmp_path / "weights.tar").read_bytes() == (tmp_path / "again.tar").read_bytes()
    there = {"VEMCTL_CACHE": str(tmp_path / "there"), "VEMCTL_OFFLINE": "1"}
    unpacked = here("weights", "unpack", "weights.tar", "--json", **there)
    assert json.loads(unpacked.stdout)["names"] == ["seeded/github", "seeded/large"]
    assert "nothing new" in here("weights", "unpack", "weights.tar", **there).stdout
    assert here("weights", "verify", **there).returncode == 0
    done = here("predict", "seeded", noisy, "a.zarr", **there)
    assert done.returncode == 0, done.stderr
    content = bytearray((tmp_path / "weights.tar").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.tar").write_bytes(content)
    elsewhere = {"VEMCTL_CACHE": str(tmp_path / "elsewhere")}
    assert "carry it over again" in one_line(here("weights", "unpack", "damaged.tar", **elsewhere))
    assert "exists" in one_line(here("weights", "pack", "weights.tar"))


def test_a_shared_store_is_read_and_never_written_to(
    here: Run, noisy: Path, tmp_path: Path
) -> None:
    """As a core facility fills it once for everybody."""
    shared = tmp_path / "cache"
    assert here("weights", "fetch", "seeded/github").returncode == 0
    before = digests(shared)
    folders = [shared, *(path for path in shared.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        user = {
            "VEMCTL_SHARED_CACHE": str(shared),
            "VEMCTL_CACHE": str(tmp_path / "mine"),
            "VEMCTL_OFFLINE": "1",
        }
        done = here("predict", "seeded", noisy, "a.zarr", **user)
        assert done.returncode == 0, done.stderr
        assert digests(shared) == before
        assert not (tmp_path / "mine" / "weights").exists()
        rows = json.loads(here("weights", "list", "--json", **user).stdout)
        assert [row["state"] for row in rows if row["name"] == "seeded/github"] == ["shared"]
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_own_weights_get_a_name(here: Run, content: bytes, noisy: Path, tmp_path: Path) -> None:
    """A file or a run, copied into the store; junk and taken names are refused."""
    (tmp_path / "mine.pth").write_bytes(content)
    added = here("weights", "add", "seeded/liver", "mine.pth")
    assert added.returncode == 0, added.stderr
    (tmp_path / "mine.pth").unlink()
    done = here("predict", "seeded", noisy, "a.zarr", "-w", "seeded/liver")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "d1"
    (run / "checkpoints").mkdir(parents=True)
    (run / "run.json").write_text('{"method": "seeded", "default_weights": "best"}')
    (run / "checkpoints" / "last.safetensors").write_bytes(content)
    assert "exists" in one_line(here("weights", "add", "seeded/liver", "runs/d1"))
    assert here("weights", "add", "seeded/liver", "runs/d1@last", "--overwrite").returncode == 0
    assert "catalogue" in one_line(here("weights", "add", "seeded/github", "runs/d1"))
    (tmp_path / "junk.pth").write_bytes(b"no weights")
    one_line(here("weights", "add", "seeded/junk", "junk.pth"))
    assert here("weights", "remove", "seeded/liver").returncode == 0
    assert "seeded/liver" not in here("weights", "list").stdout


def test_checkpoints_are_converted_there_and_back(
    here: Run, content: bytes, tmp_path: Path
) -> None:
    """To safetensors with a description, and to what the published program loads, strictly."""
    (tmp_path / "w.pth").write_bytes(content)
    done = here("weights", "import", "w.pth", "w.safetensors", "--method", "denoise", "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["method"] == "denoise"
    assert facts["network"] == {"name": "GShiftNet"}
    back = here("weights", "import", "w.safetensors", "back.pth", "--layout", "original")
    assert back.returncode == 0, back.stderr
    original = torch.load(tmp_path / "back.pth", weights_only=True)
    expected = load_fixture("denoise_tiled")[2]
    keys = [key if key.startswith("module.") else f"module.{key}" for key in expected]
    assert sorted(original["state_dict"]) == sorted(keys)
    for key, value in expected.items():
        name = key if key.startswith("module.") else f"module.{key}"
        assert torch.equal(original["state_dict"][name], value)
    assert "exists" in one_line(here("weights", "import", "w.pth", "w.safetensors"))
    line = one_line(here("weights", "import", "w.pth", "x.pth", "--layout", "original"))
    assert "add --method" in line


def test_a_stopped_download_ends_as_an_interruption(
    environment: dict[str, str], start: Start, world: World, content: bytes, tmp_path: Path
) -> None:
    """Ctrl-C during a fetch: exit code 130, and the part stays."""
    world.stall_after(f"{RAW}/w.pth", len(content) // 2)
    process = start("weights", "fetch", "seeded/github", **environment)
    downloads = tmp_path / "cache" / "downloads"
    while not any(path.stat().st_size for path in downloads.glob("*.part")):
        time.sleep(0.1)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert any(downloads.glob("*.part"))
