"""What the plugins publish: pinned, licensed, and named for their methods."""

from __future__ import annotations

import pytest

from vemctl import registry
from vemctl.published import Weights
from vemctl.weights.digests import Digest
from vemctl.weights.locations import InRepository, OnGitHub, parse_location

CATALOGUE, PROBLEMS = registry.catalogue()
OURS = ("denoise", "pssr", "rldfn", "vsisr")
every = pytest.mark.parametrize("weights", CATALOGUE.values(), ids=list(CATALOGUE))


def test_the_catalogue_is_whole() -> None:
    """Every file that the authors published and that a method needs."""
    assert PROBLEMS == []
    names = [name for name in CATALOGUE if name.partition("/")[0] in OURS]
    assert names == [
        "denoise/demo",
        "denoise/self-supervised",
        "denoise/supervised",
        "pssr/em",
        "rldfn/f-actin",
        "rldfn/psf-a",
        "rldfn/psf-b",
        "vsisr/f-actin",
        "vsisr/meta",
        "vsisr/otf-488",
        "vsisr/otf-560",
        "vsisr/otf-642",
    ]
    defaults = [name for name, weights in CATALOGUE.items() if weights.default]
    assert defaults == ["denoise/supervised", "pssr/em"]


@every
def test_every_file_is_pinned_or_in_a_repository_that_states_a_checksum(weights: Weights) -> None:
    """At a commit or by a DOI, never at an address that may change."""
    assert weights.licence
    assert weights.note
    for file in weights.files:
        places = [parse_location(source) for source in file.sources]
        assert places
        if file.digest:
            Digest.parse(file.digest, weights.name)
        else:
            assert all(isinstance(place, InRepository) for place in places)
        for place in places:
            assert not isinstance(place, OnGitHub) or len(place.commit) == 40


def test_blob_ids_and_commits_are_those_of_the_repositories() -> None:
    """Typed once, compared with what the repositories' listings say."""
    blobs = {
        name: weights.files[0].digest.removeprefix("git-blob:")[:12]
        for name, weights in CATALOGUE.items()
        if weights.files[0].digest.startswith("git-blob:")
    }
    assert blobs == {
        "denoise/self-supervised": "bf4e73fe8b1c",
        "denoise/supervised": "841e65fff246",
        "rldfn/psf-a": "14785d52ddfc",
        "rldfn/psf-b": "03d0fbb7dd7b",
        "vsisr/f-actin": "6d29d766701d",
        "vsisr/meta": "25c2e49cf56a",
    }
