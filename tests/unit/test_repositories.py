"""From a DOI and a name to an address: what repositories answer, and what is said of it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from webworld import World

from vemctl.errors import Interrupted, WeightsError
from vemctl.events import Event, Noted, ignore
from vemctl.weights.patience import Patience
from vemctl.weights.repositories import Remote, look_up

NET, OTHER = b"tensors by name", b"other tensors"
MD5 = f"md5:{hashlib.md5(NET).hexdigest()}"
QUICK = Patience(attempts=3, first_wait=0.01, connect_timeout=5, read_timeout=5)
HOST, DOI = "dataverse.tdl.org", "10.18738/T8/YLCK5A"
API = f"https://{HOST}/api/datasets/:persistentId?persistentId=doi:{DOI}"
RECORD = "https://zenodo.org/api/records/123"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Lead this process into a world of the test's own."""
    with World() as world:
        world.enter(monkeypatch)
        yield world


def find(doi: str, file: str, **how: Any) -> Remote:
    return look_up(doi, file, **{"listen": ignore, "patience": QUICK, **how})


def refused(doi: str, file: str = "net.zip", **how: Any) -> str:
    """Return the line with which a look-up ends."""
    with pytest.raises(WeightsError) as raised:
        find(doi, file, **how)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_file_of_zenodo_is_found(world: World) -> None:
    """With its digest and size, in the interface of today."""
    doi = world.zenodo(123, {"net.zip": NET, "other.zip": OTHER})
    found = find(doi, "net.zip")
    url = f"{RECORD}/files/net.zip/content"
    assert found == Remote(url, MD5, len(NET), "https://zenodo.org/records/123")
    assert world.log == [
        "GET doi.org /10.5281/zenodo.123",
        "GET zenodo.org /records/123",
        "GET zenodo.org /api/records/123",
    ]
    assert all(one.headers["user-agent"].startswith("vemctl/") for one in world.requests)


def test_a_file_of_zenodo_is_found_in_its_other_form(world: World) -> None:
    """In which names are "filename" and digests have no prefix."""
    doi = world.zenodo(123, {"net.zip": NET}, old=True)
    found = find(doi, "net.zip")
    url = "https://zenodo.org/records/123/files/net.zip?download=1"
    assert found == Remote(url, MD5, len(NET), "https://zenodo.org/records/123")


def test_a_file_of_a_dataverse_is_found(world: World) -> None:
    """In whatever folder it is."""
    world.dataverse(HOST, DOI, {"a/net.pkl": NET, "b/other.pkl": OTHER, "read.me": b""})
    found = find(DOI, "net.pkl")
    assert found.url == f"https://{HOST}/api/access/datafile/100"
    assert (found.digest, found.size) == (MD5, len(NET))
    assert found.landing == f"https://{HOST}/dataset.xhtml?persistentId=doi:{DOI}"


@pytest.mark.parametrize("algorithm", ["SHA-1", "SHA-256", "SHA-512"])
def test_a_dataverse_may_use_another_digest(world: World, algorithm: str) -> None:
    """Its administrators choose."""
    world.dataverse(HOST, DOI, {"net.pkl": NET}, algorithm=algorithm)
    kind = algorithm.lower().replace("-", "")
    assert find(DOI, "net.pkl").digest == f"{kind}:{hashlib.new(kind, NET).hexdigest()}"


def test_an_older_dataverse_states_only_md5(world: World) -> None:
    """And a newer one may use a digest that is not known here: then there is none."""
    world.record(DOI, f"https://{HOST}/dataset.xhtml")
    for stated, expected in (
        ({"md5": MD5[4:].upper()}, MD5),
        ({"checksum": {"type": "BLAKE3", "value": "0" * 64}}, None),
        ({"checksum": {"type": "MD5", "value": "short"}}, None),
    ):
        file = {"dataFile": {"id": 7, "filename": "net.pkl", **stated}}
        answer = {"status": "OK", "data": {"latestVersion": {"files": [file]}}}
        world.serve(API, json.dumps(answer).encode())
        assert find(DOI, "net.pkl") == Remote(
            f"https://{HOST}/api/access/datafile/7", expected, None, f"https://{HOST}/dataset.xhtml"
        )


def test_a_file_of_figshare_is_found(world: World) -> None:
    """A DOI without a version is told of, for it may mean another file tomorrow."""
    told: list[Event] = []
    found = find(world.figshare(77, {"net.zip": NET}), "net.zip", listen=told.append)
    assert (found.digest, found.size) == (MD5, len(NET))
    assert found.url.startswith("https://ndownloader.figshare.com/files/")
    assert told == []
    newest = find(world.figshare(78, {"net.zip": NET}, None), "net.zip", listen=told.append)
    assert newest.digest == MD5
    assert len(told) == 1
    assert isinstance(told[0], Noted)
    assert told[0].level == "warning"
    assert "10.6084/m9.figshare.78" in told[0].text


def test_one_name_with_two_contents_is_ambiguous(world: World) -> None:
    """The line names both folders; of one content, it does not matter."""
    world.dataverse(HOST, DOI, {"2x/net.pkl": NET, "4x/net.pkl": OTHER, "x/same": NET, "same": NET})
    text = refused(DOI, "net.pkl")
    assert "net.pkl is there 2 times, in the folders '2x' and '4x'" in text
    assert "vemctl weights add" in text
    assert find(DOI, "same").digest == MD5


def test_a_file_that_is_not_there_is_refused_with_the_nearest(world: World) -> None:
    """And with the names that there are, though not with hundreds."""
    names = {f"file{number:02d}.csv": b"" for number in range(30)}
    doi = world.zenodo(123, {"PSSR_1024.zip": NET, "PSSR_\n512.zip": OTHER, **names})
    text = refused(doi, "PSSR_1025.zip")
    assert text.startswith("doi:10.5281/zenodo.123: no file 'PSSR_1025.zip' there.")
    assert "Did you mean 'PSSR_1024.zip'? Files: PSSR_1024.zip, PSSR_?512.zip, file00" in text
    assert text.endswith("and 22 more")


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_record_that_is_not_public_is_refused(world: World, status: int) -> None:
    """Whatever Zenodo says of it; it is asked once."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.status(RECORD, status, b'{"status": 403, "message": "Permission denied."}')
    text = refused(doi)
    assert f"doi:{doi}: zenodo.org answers HTTP {status}: restricted, embargoed, withdrawn" in text
    assert "ask its authors for access, or download it by hand and run vemctl weights add" in text
    assert len(world.log) == 3


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"access_right": "restricted"}, "lists no files of it (restricted): "),
        (
            {"access_right": "embargoed", "embargo_date": "2099-01-01"},
            "lists no files of it (embargoed until 2099-01-01): ",
        ),
        ({}, "lists no files of it: "),
    ],
)
def test_a_record_without_files_is_refused(
    world: World, metadata: dict[str, str], words: str
) -> None:
    """Pooch would stumble over the missing key."""
    doi = world.zenodo(123, {}, metadata=metadata)
    assert words in refused(doi)
    world.serve(RECORD, json.dumps({"id": 123, "metadata": metadata}).encode())
    assert words in refused(doi)


def test_a_restricted_file_of_a_dataverse_is_refused(world: World) -> None:
    """Others of the dataset may be had."""
    world.dataverse(HOST, DOI, {"a/net.pkl": NET, "free.pkl": OTHER}, restricted=["a/net.pkl"])
    text = refused(DOI, "net.pkl")
    assert "net.pkl is restricted: " in text
    assert "ask its authors" in text
    assert find(DOI, "free.pkl").size == len(OTHER)


def test_an_embargo_of_a_dataverse_ends(world: World) -> None:
    """Until then, the line says when."""
    world.dataverse(HOST, DOI, {"net.pkl": NET}, embargo="2099-01-01")
    assert "net.pkl is embargoed until 2099-01-01: " in refused(DOI, "net.pkl")
    world.dataverse(HOST, DOI, {"net.pkl": NET}, embargo="2001-01-01")
    assert find(DOI, "net.pkl").digest == MD5


def test_a_dataset_that_is_not_public_is_refused(world: World) -> None:
    """The Dataverse says so in its own form, unlike a host that is none."""
    world.record(DOI, f"https://{HOST}/dataset.xhtml")
    world.status(API, 404, b'{"status": "ERROR", "message": "Dataset not found"}')
    assert f"{HOST} answers HTTP 404: restricted" in refused(DOI)


@pytest.mark.parametrize(
    "doi",
    [
        "zenodo.123",
        "10.5281",
        "10.5281/",
        "doi:10.5281/zenodo.1",
        "10.5281/zeno do",
        "10.5281/a?b",
        "10.5281/a&b=c",
        "10.5281/x\n",
        "",
    ],
)
def test_what_is_no_doi_is_refused_without_asking(world: World, doi: str) -> None:
    """It becomes a part of addresses."""
    assert "no DOI; expected the form 10.5281/zenodo.1234567" in refused(doi)
    assert world.log == []


def test_an_unknown_doi_is_refused(world: World) -> None:
    """By doi.org; nobody else is asked."""
    assert refused("10.5281/zenodo.9") == "doi:10.5281/zenodo.9: no such DOI; check its spelling"
    assert world.log == ["GET doi.org /10.5281/zenodo.9"]


@pytest.mark.parametrize("content", [b"<html>everything</html>", None])
def test_a_doi_of_another_kind_of_place_is_refused(world: World, content: bytes | None) -> None:
    """Journals answer with a page, or with 404."""
    doi = world.record("10.1038/s41592-021-01080-z", "https://www.nature.com/articles/x")
    if content:
        world.serve("https://www.nature.com/api/datasets/:persistentId", content)
    text = refused(doi)
    assert "leads to www.nature.com, which is neither Zenodo nor figshare nor a Dataverse" in text
    assert "give the https address of the file instead" in text


def test_a_page_that_turns_programs_away_does_not_matter(world: World) -> None:
    """What counts is the interface for programs behind it."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.status("https://zenodo.org/records/123", 403)
    assert find(doi, "net.zip").digest == MD5


def test_a_busy_interface_is_asked_again(world: World) -> None:
    """Any of the servers on the way; each wait is told."""
    doi = world.zenodo(123, {"net.zip": NET})
    told: list[Event] = []
    world.fail(RECORD, 503)
    world.fail("doi.org", 502)
    assert find(doi, "net.zip", listen=told.append).digest == MD5
    texts = [event.text for event in told if isinstance(event, Noted)]
    assert [text.partition("; ")[0] for text in texts] == [
        "https://doi.org/10.5281/zenodo.123: HTTP 502, the server is busy or down",
        f"{RECORD}: HTTP 503, the server is busy or down",
    ]


def test_a_busy_interface_is_given_up(world: World) -> None:
    """Also that of a Dataverse, which is not mistaken for another kind of place."""
    world.dataverse(HOST, DOI, {"net.pkl": NET})
    world.fail(API, 503, times=None)
    text = refused(DOI, "net.pkl")
    assert f"https://{HOST}/api/datasets/:persistentId: HTTP 503" in text
    assert "try again later (3 attempts)" in text


def test_a_dropped_answer_is_asked_for_again(world: World) -> None:
    """Half of a JSON document is none."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.drop_after(RECORD, 20)
    world.hang_up("doi.org")
    assert find(doi, "net.zip").digest == MD5


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'"text"', b"7", b'{"files": [7]}', b'{"files": [{"size": 1}]}']
)
def test_an_answer_of_another_form_is_one_line(world: World, content: bytes) -> None:
    """Interfaces change; that is no reason for a traceback."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.serve(RECORD, content)
    assert "zenodo.org " in refused(doi)
    world.dataverse(HOST, DOI, {"net.zip": NET})
    world.serve(API, content)
    assert f"{HOST} " in refused(DOI)


def test_an_answer_that_is_no_json_is_one_line(world: World) -> None:
    """A page of maintenance, for instance."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.serve(RECORD, b"<html>maintenance</html>")
    text = refused(doi)
    assert text.startswith(f"{RECORD}: answers with something that is not JSON; try again later, ")
    assert text.endswith("(3 attempts)")


def test_an_article_that_figshare_does_not_list_is_one_line(world: World) -> None:
    """Its list is then empty."""
    doi = world.figshare(77, {"net.zip": NET})
    world.serve(f"https://api.figshare.com/v2/articles?doi={doi}", b"[]")
    assert "api.figshare.com answers in a form that is not understood" in refused(doi)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://zenodo.org/x", "x", 7])
def test_an_interface_cannot_lead_out_of_the_web(world: World, address: Any) -> None:
    """What it says is an address must be one."""
    doi = world.zenodo(123, {})
    file = {"key": "net.zip", "checksum": MD5, "size": 3, "links": {"self": address}}
    world.serve(RECORD, json.dumps({"id": 123, "files": [file]}).encode())
    refused(doi)


def test_a_redirect_does_not_leave_tls(world: World) -> None:
    """Except that what doi.org still knows as http is asked by https."""
    doi = world.zenodo(123, {"net.zip": NET})
    world.redirect(f"https://doi.org/{doi}", "http://zenodo.org/records/123")
    assert find(doi, "net.zip").landing == "https://zenodo.org/records/123"
    assert all(request.secure for request in world.requests)
    world.redirect(RECORD, "http://zenodo.org/elsewhere")
    assert "refused, because it redirects from https to an address without TLS" in refused(doi)
    assert all(request.secure for request in world.requests)


def test_no_network_is_said_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here behind a proxy that is not there."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    text = refused("10.5281/zenodo.123", patience=Patience(first_wait=60))
    assert "https://doi.org/10.5281/zenodo.123: the proxy cannot be used; check HTTPS_" in text


def test_stop_ends_it(world: World) -> None:
    """Before the first request, and while it waits for the next."""
    stop = threading.Event()
    world.fail("doi.org", times=None)

    def listen(event: Event) -> None:
        stop.set()

    for asked in (1, 1):
        with pytest.raises(Interrupted, match=r"look up doi:10.5281/zenodo.1: stopped"):
            find(
                "10.5281/zenodo.1",
                "x",
                listen=listen,
                stop=stop,
                patience=Patience(first_wait=60),
            )
        assert len(world.log) == asked
