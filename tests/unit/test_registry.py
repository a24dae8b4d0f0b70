"""Entry points to methods: listed unseen, loaded one by one, and one that is broken harms none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from vemctl import registry
from vemctl.errors import MethodError
from vemctl.plugin import Method

Install = Callable[..., Path]
GOOD = """
from vemctl.plugin import Method

class Probe(Method):
    name = "{name}"
    summary = "For tests."

    def restorer(self, weights, options, request):
        raise NotImplementedError

METHOD = Probe()
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Look anew before the test, and forget afterwards."""
    registry.method_entry_points.cache_clear()
    modules = set(sys.modules)
    yield
    registry.method_entry_points.cache_clear()
    for name in set(sys.modules) - modules:
        if name.startswith("probing_"):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that puts a distribution with methods on the path."""

    def put(
        distribution: str,
        methods: dict[str, str],
        code: str = "",
        *,
        folder: str = "site",
        version: str = "1.0",
    ) -> Path:
        site = tmp_path / folder
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        lines = "".join(f"{name} = {value}\n" for name, value in methods.items())
        (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{lines}")
        if code:
            module = next(iter(methods.values())).partition(":")[0]
            (site / f"{module}.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        return site

    return put


def test_a_strangers_method_is_found_and_loaded(install: Install) -> None:
    """It stands beside our own, with the distribution that brings it."""
    install("probing-dist", {"probe": "probing_a:METHOD"}, GOOD.format(name="probe"))
    points = registry.method_entry_points()
    assert {"denoise", "probe"} <= set(points)
    assert list(points) == sorted(points)
    assert isinstance(registry.get("probe"), Method)
    assert registry.get("probe") is registry.get("probe")
    (listed,) = (row for row in registry.listing() if row.name == "probe")
    assert (listed.distribution, listed.reason) == ("probing-dist 1.0", "")
    assert listed.method is registry.get("probe")


def test_listing_names_imports_nothing(install: Install) -> None:
    """A module is loaded only when its method is asked for."""
    install("probing-dist", {"probe": "probing_b:METHOD"}, GOOD.format(name="probe"))
    assert "probe" in registry.method_entry_points()
    assert "probing_b" not in sys.modules
    registry.get("denoise")
    assert "probing_b" not in sys.modules
    registry.get("probe")
    assert "probing_b" in sys.modules


BROKEN = {
    "raises": ("probing_c:METHOD", "1 / 0", "ZeroDivisionError: division by zero"),
    "does not parse": ("probing_c:METHOD", "def", "SyntaxError"),
    "lacks a package": (
        "probing_c:METHOD",
        "import probing_absent",
        "ModuleNotFoundError: No module named 'probing_absent'",
    ),
    "lacks the object": ("probing_c:METHOD", "OTHER = 1", "AttributeError"),
    "lacks the module": ("probing_none:METHOD", "", "No module named 'probing_none'"),
    "is a module": ("probing_c", "a = 1", "probing_c is a module, expected a vemctl.plugin.Method"),
    "is no method": ("probing_c:METHOD", "METHOD = 3", "probing_c:METHOD is a int, expected"),
    "is a class": (
        "probing_c:Probe",
        GOOD.format(name="probe"),
        "is a ABCMeta, expected a vemctl.plugin.Method object",
    ),
    "has another name": (
        "probing_c:METHOD",
        GOOD.format(name="other"),
        "calls itself 'other'",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plugin_is_named_with_its_reason(install: Install, fault: str) -> None:
    """One line names method, distribution and fault; the others are listed and usable."""
    value, code, words = BROKEN[fault]
    install("probing-dist", {"probe": value}, code)
    with pytest.raises(MethodError) as raised:
        registry.get("probe")
    assert "'probe' (from probing-dist 1.0)" in str(raised.value)
    assert words in str(raised.value)
    rows = {row.name: row for row in registry.listing()}
    assert rows["probe"].method is None
    assert rows["probe"].distribution == "probing-dist 1.0"
    assert rows["probe"].reason == str(raised.value)
    assert rows["denoise"].method is registry.get("denoise")


def test_a_plugin_that_exits_is_named(install: Install) -> None:
    """A module that ends the process when it is imported does not end ours."""
    install("probing-dist", {"probe": "probing_d:METHOD"}, "import sys; sys.exit('bye')")
    with pytest.raises(MethodError, match="probing-dist"):
        registry.get("probe")


def test_a_name_of_two_distributions_is_refused(install: Install) -> None:
    """Both are named, and neither wins by chance."""
    code = GOOD.format(name="probe")
    install("probing-one", {"probe": "probing_e:METHOD"}, code, folder="one")
    install("probing-two", {"probe": "probing_f:METHOD"}, code, folder="two", version="2.5")
    with pytest.raises(MethodError, match="uninstall one of them") as raised:
        registry.get("probe")
    assert "probing-one 1.0" in str(raised.value)
    assert "probing-two 2.5" in str(raised.value)
    rows = [row for row in registry.listing() if row.name == "probe"]
    assert [row.method for row in rows] == [None]


def test_a_distribution_that_is_found_twice_counts_once(install: Install) -> None:
    """One that is installed and on the path as well is no clash."""
    code = GOOD.format(name="probe")
    install("probing-one", {"probe": "probing_g:METHOD"}, code, folder="one")
    install("probing-one", {"probe": "probing_g:METHOD"}, code, folder="two")
    assert len(registry.method_entry_points()["probe"]) == 1
    assert registry.get("probe").name == "probe"


def test_an_entry_point_that_is_told_twice_counts_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not Python itself leaves out what it finds twice."""
    install("probing-one", {"probe": "probing_i:METHOD"}, GOOD.format(name="probe"))
    points = [*entry_points(group=registry.GROUP, name="probe")] * 2
    assert len(points) == 2
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    assert registry.get("probe").name == "probe"


def test_an_unknown_name_is_met_with_the_nearest(install: Install) -> None:
    """And with all that are installed."""
    install("probing-dist", {"probe": "probing_h:METHOD"}, GOOD.format(name="probe"))
    with pytest.raises(MethodError, match=r"Did you mean 'probe'\?.*denoise.*probe"):
        registry.get("prob")
    with pytest.raises(MethodError, match=r"no method 'xyz'. Installed") as raised:
        registry.get("xyz")
    assert "Did you mean" not in str(raised.value)


def test_no_method_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without plugins lists none."""
    monkeypatch.setattr(registry, "entry_points", lambda group: ())
    assert registry.listing() == []
    with pytest.raises(MethodError, match="none are installed"):
        registry.get("denoise")
