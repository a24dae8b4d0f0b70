"""Commands that only look: methods, info, doctor; and the demo."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from vemctl.errors import InputError
from vemctl.events import Finished
from vemctl.workflows import doctor


def put_module(monkeypatch, name, **content):
    """Put a module in the place of one that would load much."""
    module = ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def test_methods_lists_what_works_and_why_the_rest_does_not(cli):
    """Every installed method is a row; an unusable one has its reason."""
    ran = cli("methods", "--json")
    rows = {row["name"]: row for row in json.loads(ran.out)}
    assert ran.code == 0
    assert rows["probe"] == {
        "name": "probe",
        "usable": True,
        "summary": "Do nothing, on two views.",
        "commands": ["predict"],
        "inputs": ["view_a", "view_b"],
        "weights": ["probe/one"],
        "optics": [],
        "paper": "Nobody et al. 2020",
        "doi": "10.1000/probe",
        "distribution": "vemctl-probe 0.1",
        "reason": "",
    }
    assert "no_such_package" in rows["broken"]["reason"]
    assert "uninstall one of them" in rows["twin"]["reason"]
    assert "--tile" in rows["clash"]["reason"]


def test_methods_reads_well(cli):
    """For people a method is a name with its facts below."""
    out = cli("methods").out
    assert (
        "probe\n  summary       Do nothing, on two views.\n  commands      predict\n"
        "  inputs        view_a, view_b\n" in out
    )
    assert "broken (unusable)\n" in out


@dataclass(frozen=True)
class Described:
    """Facts of a file."""

    shape: tuple[int, int, int] = (4, 5, 6)
    voxel_size_nm: tuple[float, float, float] = (40.0, 8.0, 8.0)
    bytes_on_disk: int = 2048
    provenance: dict[str, str] | None = None


def test_info_shows_facts(cli, monkeypatch):
    """The facts of a file are shown with the axes and the level that were asked for."""
    asked = []

    def describe(path, axes, level):
        asked.append((path, axes, level))
        return Described()

    put_module(monkeypatch, "vemctl.volumes.describe", describe=describe)
    out = cli("info", "a.tif", "--axes", "zyx", "--level", "1").out
    assert "shape          4 x 5 x 6" in out
    assert "voxel size nm  40 x 8 x 8" in out
    assert "size on disk   2.0 KiB" in out
    assert "provenance" not in out
    assert json.loads(cli("info", "a.tif", "--json").out)["shape"] == [4, 5, 6]
    assert asked == [(Path("a.tif"), "zyx", 1), (Path("a.tif"), None, 0)]


def test_info_of_a_bad_file_is_one_line(cli, monkeypatch):
    """What is wrong with a file is told like any error."""

    def describe(path, axes, level):
        raise InputError(f"{path}: no such file")

    put_module(monkeypatch, "vemctl.volumes.describe", describe=describe)
    ran = cli("info", "a.tif")
    assert (ran.code, ran.err) == (2, "error: a.tif: no such file\n")


def test_the_demo_tells_what_it_did(cli, monkeypatch):
    """The workflow's lines go to standard output, its events to standard error."""
    asked = []

    def run_demo(folder, *, device, overwrite, listen):
        asked.append((folder, device, overwrite))
        listen(Finished(folder / "restored.zarr", 1.0))
        return {"gain_db": 3.5, "what": ["3.5 dB better", "look at it"]}

    put_module(monkeypatch, "vemctl.workflows.demo", run_demo=run_demo)
    ran = cli("demo", "here", "--device", "cpu", "--overwrite")
    assert ran.out == "3.5 dB better\nlook at it\n"
    assert "wrote here/restored.zarr" in ran.err
    assert json.loads(cli("demo", "--json", "-q").out)["gain_db"] == 3.5
    assert asked == [(Path("here"), "cpu", True), (Path("vemctl-demo"), "auto", False)]


@pytest.fixture
def quick_doctor(monkeypatch, tmp_path):
    """Keep the doctor from loading torch and from the network."""
    cuda = SimpleNamespace(
        device_count=lambda: 1,
        mem_get_info=lambda index: (2**30, 2**31),
        get_device_name=lambda index: "Some GPU",
    )
    mps = SimpleNamespace(is_available=lambda: False)
    put_module(monkeypatch, "torch", cuda=cuda, backends=SimpleNamespace(mps=mps))
    monkeypatch.setenv("VEMCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VEMCTL_OFFLINE", "1")
    return monkeypatch


def test_the_doctor_looks_at_everything(cli, quick_doctor, tmp_path):
    """Versions, devices, extras, folders and network are told, and a healthy place exits 0."""
    ran = cli("doctor", "--json")
    facts = json.loads(ran.out)
    assert ran.code == 0, facts["problems"]
    assert facts["packages"]["typer"] == metadata.version("typer")
    assert facts["devices"][1] == {
        "name": "cuda:0",
        "model": "Some GPU",
        "total_bytes": 2**31,
        "free_bytes": 2**30,
    }
    assert facts["cache"]["path"] == str(tmp_path / "cache")
    assert facts["cache"]["free_bytes"] > 0
    assert facts["cpu_cores"] >= 1
    assert facts["memory"]["total_bytes"] > 0
    assert facts["network"] == {"offline": True, "reason": "VEMCTL_OFFLINE is set"}


def test_the_doctor_reads_well(cli, quick_doctor):
    """For people the same facts stand under headings."""
    out = cli("doctor").out
    assert "  cuda:0  Some GPU" in out
    assert "1.0 GiB of 2.0 GiB free" in out
    assert "offline: VEMCTL_OFFLINE is set" in out
    assert out.endswith("all is well\n")


def test_the_doctor_names_what_is_missing_and_its_cure(cli, quick_doctor):
    """A missing package and a broken torch are problems, and the exit code says so."""

    def version(name):
        raise metadata.PackageNotFoundError(name)

    def device_count():
        raise OSError("libcuda is broken")

    quick_doctor.setattr(metadata, "version", version)
    quick_doctor.setattr(sys.modules["torch"].cuda, "device_count", device_count)
    quick_doctor.setattr(
        metadata, "requires", lambda name: ["numpy>=2", 'h5py>=3.11; extra == "hdf5"']
    )
    ran = cli("doctor")
    assert ran.code == 2
    assert "problem: zarr is missing: pip install --force-reinstall vemctl" in ran.out
    assert "problem: torch does not work: OSError: libcuda is broken" in ran.out
    assert "hdf5  pip install 'vemctl[hdf5]'" in ran.out


def test_the_doctor_tells_which_hosts_are_reached(monkeypatch):
    """Without a proxy the hosts themselves are tried, and one that answers is enough."""
    for name in ("VEMCTL_OFFLINE", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    facts = doctor.network(lambda host, port: (host, port) == ("zenodo.org", 443))
    assert facts == {
        "offline": False,
        "hosts": {"raw.githubusercontent.com": False, "doi.org": False, "zenodo.org": True},
    }


def test_the_doctor_asks_the_proxy(monkeypatch):
    """Behind a proxy it is the proxy that must be reached."""
    monkeypatch.delenv("VEMCTL_OFFLINE", raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "")
    tried = []
    doctor.network(lambda host, port: bool(tried.append((host, port))))
    assert tried == [("proxy.example", 3128)] * len(doctor.WEIGHT_HOSTS)


def test_an_unreachable_host_is_told_in_time():
    """A port on which nobody listens is no connection."""
    assert not doctor.can_connect("127.0.0.1", 9)


def test_a_folder_that_is_a_file_is_a_problem(tmp_path):
    """A folder that cannot be made is told."""
    (tmp_path / "cache").touch()
    problems: list[str] = []
    doctor.folder_facts(tmp_path / "cache", problems)
    assert problems == [f"{tmp_path / 'cache'} cannot be written to"]
