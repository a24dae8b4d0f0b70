"""Files that a method reads beside its weights: found or fetched, told to it, and remembered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import shapes
from contract.running import Killed, digests, kill_after
from webworld import World

from vemctl import registry
from vemctl.errors import ResumeError, WeightsError
from vemctl.plugin import Footprint, Place, PublishedFile, Weights, option
from vemctl.volumes.checks import partial_folder
from vemctl.volumes.open import open_volume
from vemctl.volumes.provenance import read_provenance
from vemctl.workflows.options import ComputeOptions, OutputOptions, PredictRequest, RunOptions
from vemctl.workflows.predict import plan_prediction, predict
from vemctl.workflows.rerun import recorded_request

OTF = bytes([3, 4])
SHA = hashlib.sha256(OTF).hexdigest()
VALUES = np.random.default_rng(0).integers(0, 99, (4, 40, 40), np.uint8)


def published(name: str, kind: Any, sha256: str = SHA) -> Weights:
    """Describe a file on the test's own server."""
    file = PublishedFile("otf.bin", (f"https://microscope.org/{name}.bin",), f"sha256:{sha256}")
    return Weights(f"lens/{name}", (file,), "CC0-1.0", "", kind=kind)


@dataclass(frozen=True)
class LensOptions:
    otf: str = option("lens/otf", help="Of the microscope: a name or a path.")


@dataclass
class Brightened(shapes.Base):
    """Adds what the files say."""

    footprint = Footprint(tile=(2, 16, 16))

    def __call__(self, tiles: Sequence[torch.Tensor], places: Sequence[Place]) -> torch.Tensor:
        return tiles[0] + brightness(self.request.files["otf"])


def brightness(path: Path) -> int:
    """Add up the bytes of a file, or of all files of a folder."""
    files = [p for p in path.iterdir() if p.is_file()] if path.is_dir() else [path]
    return sum(sum(file.read_bytes()) for file in files)


class Lens(shapes.Synthetic):
    """Takes a file of a microscope."""

    predict_options = LensOptions
    weights = (
        published("otf", "optics"),
        published("other", "optics", "0" * 64),
        published("net", "network"),
    )

    def files(self, options: LensOptions, *, as_original: bool) -> Mapping[str, str]:
        """Read the optical transfer function that the user names."""
        return {"otf": options.otf}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Register the method, and work in a folder with a volume."""
    monkeypatch.setattr(registry, "get", lambda _: Lens("lens", Brightened))
    monkeypatch.setenv("VEMCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VEMCTL_SHARED_CACHE", raising=False)
    monkeypatch.delenv("VEMCTL_OFFLINE", raising=False)
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", VALUES)
    return tmp_path


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Lead this process to servers of the test's own, one of which has the file."""
    with World() as world:
        world.enter(monkeypatch)
        world.serve("https://microscope.org/otf.bin", OTF)
        world.serve("https://microscope.org/other.bin", OTF)
        yield world


def asking(otf: str, name: str = "out.zarr", *, resume: bool = False) -> PredictRequest:
    """Ask for a volume that is brightened by what is in a file."""
    return PredictRequest(
        "lens", (Path("in.npy"),), Path(name), None, LensOptions(otf),
        writing=OutputOptions(chunk_shape=(2, 16, 16), shard_shape=(2, 16, 16)),
        compute=ComputeOptions(device="cpu", block=(2, 16, 16)), run=RunOptions(resume=resume),
    )  # fmt: skip


def added(name: str = "out.zarr") -> int:
    """Return by what a result is brighter than the input, all over."""
    made = open_volume(Path(name)).read((slice(0, 4), slice(0, 40), slice(0, 40)))
    (offset,) = np.unique(made.astype(int) - VALUES)
    return int(offset)


def recorded(name: str = "out.zarr") -> Any:
    """Return what a result says of the files of which it was made."""
    return (read_provenance(Path(name)) or {})["files"]


def refused(request: PredictRequest, kind: type[Exception]) -> str:
    """Return the line with which a run ends before anything is written or changed."""
    with pytest.raises(kind) as raised:
        predict(request)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_of_the_catalogue_is_fetched_once_and_its_digest_recorded(world: World) -> None:
    """The method gets the path where it is kept; the output says by which name it was asked for."""
    predict(asking("lens/otf"))
    assert added() == sum(OTF)
    assert recorded() == {"otf": {"name": "lens/otf", "sha256": SHA}}
    predict(asking("lens/otf", "again.zarr"))
    assert world.log == ["GET microscope.org /otf.bin"]
    assert recorded("again.zarr") == recorded()


def test_a_file_that_is_not_what_was_published_is_refused(world: World) -> None:
    """And nothing is begun."""
    line = refused(asking("lens/other"), WeightsError)
    assert "lens/other" in line
    assert SHA in line
    assert not partial_folder(Path("out.zarr")).exists()


@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_and_a_folder_may_be_named(folder: Path, absolute: bool) -> None:
    """What is recorded is where they lie, though a relative path was given."""
    Path("mine.bin").write_bytes(b"\x05")
    Path("bench", "inner").mkdir(parents=True)
    for name, content in (("a.bin", b"\x01"), ("b.bin", b"\x06"), ("inner/c.bin", b"\x09")):
        Path("bench", name).write_bytes(content)
    start = f"{folder}/" if absolute else ""
    for name, offset in (("mine.bin", 5), ("bench", 7)):
        predict(asking(start + name, f"{name}.zarr"))
        assert added(f"{name}.zarr") == offset
        assert recorded(f"{name}.zarr")["otf"]["name"] == str(folder / name)
    assert recorded("mine.bin.zarr")["otf"]["sha256"] == hashlib.sha256(b"\x05").hexdigest()
    listed = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in (("a.bin", b"\x01"), ("b.bin", b"\x06"))
    )
    assert recorded("bench.zarr")["otf"]["sha256"] == hashlib.sha256(listed.encode()).hexdigest()


def test_a_run_without_files_records_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of methods that read none are as they ever were."""
    monkeypatch.setattr(registry, "get", lambda _: shapes.Synthetic("cropped", shapes.Cropped))
    predict(
        replace(asking(""), method="cropped", method_options=shapes.Synthetic.predict_options())
    )
    assert "files" not in (read_provenance(Path("out.zarr")) or {"files": None})


@pytest.mark.parametrize("planned", [False, True])
def test_a_name_that_is_not_there_is_refused_with_the_nearest(planned: bool) -> None:
    """Names of networks are not among them."""
    begin = plan_prediction if planned else predict
    with pytest.raises(WeightsError) as raised:
        begin(asking("lens/otff"))
    assert str(raised.value) == (
        "lens/otff: no such file or folder, and lens has none of that name. Did you mean "
        "'lens/otf'? Names: lens/otf, lens/other"
    )
    assert "lens/net: no such file or folder" in refused(asking("lens/net"), WeightsError)
    assert not partial_folder(Path("out.zarr")).exists()


def test_a_run_that_is_resumed_wants_the_same_content() -> None:
    """A file that changed since the kill is refused; with the former one the bytes are the same."""
    path = Path("mine.bin")
    path.write_bytes(OTF)
    predict(asking("mine.bin", "whole.zarr"))
    with pytest.raises(Killed):
        predict(asking("mine.bin", "killed.zarr"), kill_after(9))
    path.write_bytes(b"\x09")
    line = refused(asking("mine.bin", "killed.zarr", resume=True), ResumeError)
    other = hashlib.sha256(b"\x09").hexdigest()
    assert f"files.otf.sha256 was '{SHA}', now '{other}'" in line
    assert "--overwrite" in line
    path.write_bytes(OTF)
    predict(asking("mine.bin", "killed.zarr", resume=True))
    assert digests(Path("whole.zarr")) == digests(Path("killed.zarr"))


def test_a_finished_output_is_known_by_its_files() -> None:
    """Resumed or repeated with a file that changed it is refused, with the former one it is not."""
    path = Path("mine.bin")
    path.write_bytes(OTF)
    predict(asking("mine.bin"))
    before, made = digests(Path("out.zarr")), (Path("out.zarr"), Path("again.zarr"))
    path.write_bytes(b"\x09")
    line = refused(asking("mine.bin", resume=True), ResumeError)
    other = hashlib.sha256(b"\x09").hexdigest()
    assert line.startswith("out.zarr: finished, and made otherwise: ")
    assert f"files.otf.sha256 was '{SHA}', now '{other}'" in line
    assert ResumeError.exit_code == 2
    with pytest.raises(WeightsError) as raised:
        recorded_request(*made, overwrite=False, resume=False)
    assert str(raised.value) == (
        "mine.bin: changed since out.zarr was made with it; put the former back, or use vemctl "
        "predict"
    )
    path.write_bytes(OTF)
    assert predict(asking("mine.bin", resume=True)).facts["resumed"]
    assert digests(Path("out.zarr")) == before
    predict(recorded_request(*made, overwrite=False, resume=False))
    assert added("again.zarr") == added() == sum(OTF)


@pytest.mark.parametrize("known", [None, {}, {"otf": {"name": "mine.bin"}}])
def test_an_output_that_does_not_tell_its_files_cannot_be_repeated(
    known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether they are what they were."""
    Path("mine.bin").write_bytes(OTF)
    predict(asking("mine.bin"))
    told = {**(read_provenance(Path("out.zarr")) or {}), "files": known}
    monkeypatch.setattr("vemctl.workflows.rerun.read_provenance", lambda _: told)
    with pytest.raises(WeightsError, match=r"mine\.bin: changed since out\.zarr was made"):
        recorded_request(Path("out.zarr"), None, overwrite=True, resume=False)


def test_a_folder_with_a_changed_file_is_refused_too() -> None:
    """As is one with a file more."""
    Path("bench").mkdir()
    for name in "ab":
        Path("bench", name).write_bytes(OTF)
    with pytest.raises(Killed):
        predict(asking("bench"), kill_after(9))
    for name in "bc":
        before = Path("bench", name).read_bytes() if name == "b" else None
        Path("bench", name).write_bytes(b"\x09")
        assert "files.otf.sha256 was" in refused(asking("bench", resume=True), ResumeError)
        Path("bench", name).write_bytes(before) if before else Path("bench", name).unlink()
    predict(asking("bench", resume=True))
    assert added() == 2 * sum(OTF)
