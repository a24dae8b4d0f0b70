"""What a method's authors published: files of weights, where they lie and what pins them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PublishedFile:
    """One file as its authors published it.

    Attributes
    ----------
    name : str
        Under which it is kept.
    sources : tuple of str
        Where it lies, tried in this order: ``"github:OWNER/REPOSITORY@COMMIT/PATH"``,
        ``"doi:10.5281/zenodo.N/FILE"``, ``"https://..."``, or ``"package:PACKAGE/FILE"`` for a
        file that a wheel carries.
    digest : str
        What pins the content: ``"sha256:HEX"``, ``"git-blob:HEX"`` (the id that a commit gives
        it), ``"md5:HEX"``. Empty where only the repository knows one: that is asked at the first
        fetch, and the SHA-256 then found holds from there on.
    members : tuple of str
        Of an archive, the files to keep; they lie together in one folder, whichever.
    extra_members : tuple of str
        Files beside those that are kept if they are there.
    """

    name: str
    sources: tuple[str, ...]
    digest: str = ""
    members: tuple[str, ...] = ()
    extra_members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Weights:
    """One entry of the catalogue: what is fetched, kept and named together.

    Attributes
    ----------
    name : str
        ``"<method>/<what>"``.
    files : tuple of PublishedFile
        A method receives the path of the file, or of the folder where there are several.
    licence : str
        Under which they are published; say so where none is stated.
    note : str
        What they were made from and what they are good for.
    default : bool
        Taken where the user names none; one of a method at most.
    kind : {"network", "optics"}
        Parameters of a network, or files of a microscope (OTF, PSF) that options name.
    """

    name: str
    files: tuple[PublishedFile, ...]
    licence: str
    note: str
    default: bool = False
    kind: Literal["network", "optics"] = "network"

    @property
    def method(self) -> str:
        """The method that they are for."""
        return self.name.partition("/")[0]


def packaged(place: str, sha256: str) -> tuple[PublishedFile, ...]:
    """Return the files of weights that a wheel carries.

    Parameters
    ----------
    place : str
        ``"PACKAGE/FILE"``.
    sha256 : str
        Hexadecimal digest of the file.
    """
    name = place.rpartition("/")[2]
    return (PublishedFile(name, (f"package:{place}",), f"sha256:{sha256}"),)
