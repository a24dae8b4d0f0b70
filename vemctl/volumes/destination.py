"""An output on its way: filled beside its place, put there when it is whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vemctl.durable import (
    make_folder,
    output_errors,
    remove_temporaries,
    remove_tree,
    sync_file,
    sync_folder,
    write_json,
)
from vemctl.errors import InputError, ResumeError
from vemctl.remote_path import RemotePath
from vemctl.volumes import in_place
from vemctl.volumes.block_store import BlockStore
from vemctl.volumes.checks import TiffFormat, check_layout, check_output, lookup_errors
from vemctl.volumes.ours import check_ours, check_replaceable, refuse_existing
from vemctl.volumes.outputs import STATE, image_name, output_kind, partial_folder
from vemctl.volumes.provenance import PROVENANCE
from vemctl.volumes.pyramid import build_pyramid, describe_levels, finish_metadata
from vemctl.volumes.sidecar import digest_file, write_sidecar
from vemctl.volumes.unfinished import restore_unfinished
from vemctl.volumes.volume import Layout

__all__ = ["Destination", "check_layout", "check_output"]

Progress = Callable[[str, int, int], None]
Seal = Callable[[Path, Mapping[str, bytes]], None]


class Destination:
    """An output on its way.

    Everything lies in ``<output>.partial`` until `finish`: the volume as OME-Zarr in
    ``volume.zarr``, this object's own ``destination.json``, and what the caller adds. Whatever
    happens and whenever, the output is absent, the old one or the new one; while an old one is
    being replaced by a folder it may lie in ``<output>.partial/replaced`` for a moment.

    In an object store, which cannot rename, the volume is filled at its place instead, and one
    last object makes it an image (see `in_place`). An old one is deleted when the new one begins.

    Make one with `create` or `reopen`.

    Attributes
    ----------
    path : Path
        Of the output.
    partial : Path
    finished : bool
        The output is in its place; only leftovers remained, and `store` must not be used.
    """

    def __init__(self, path: Path, state: dict[str, Any], store: BlockStore | None) -> None:
        self.path = path
        self.partial = partial_folder(path)
        self._state = state
        self._store = store

    @property
    def finished(self) -> bool:
        """Whether the output is in its place."""
        return self._store is None

    @property
    def store(self) -> BlockStore:
        """The volume that is being filled."""
        if self._store is None:
            raise RuntimeError(f"{self.path} is finished: nothing is left to write")
        return self._store

    @property
    def _is_in_place(self) -> bool:
        return isinstance(self.path, RemotePath)

    @classmethod
    def create(
        cls,
        path: Path,
        layout: Layout,
        *,
        overwrite: bool = False,
        tiff_format: TiffFormat = "ome",
        compress: bool = False,
    ) -> Destination:
        """Begin an output.

        Parameters
        ----------
        path : Path
            Its suffix decides on the format.
        layout : Layout
        overwrite : bool
            Replace an existing output in the end, and an unfinished one now.
        tiff_format : {"ome", "imagej"}
        compress : bool
            Compress a TIFF by zlib.

        Raises
        ------
        OutputError
            It exists, the format cannot hold it, it cannot be written, or what is in the way is not
            ours to delete.
        """
        check_layout(path, layout, tiff_format)
        partial = partial_folder(path)
        with lookup_errors(path):
            check_ours(path)
            if not overwrite:
                refuse_existing(path, partial)
            if path.exists():
                check_replaceable(path, output_kind(path))
        state = {
            "overwrite": overwrite,
            "tiff_format": tiff_format,
            "compress": compress,
            "layout": layout.to_json(),
        }
        with output_errors(path):
            if partial.exists():
                cls(path, state, None).discard()
            make_folder(partial)
            write_json(partial / STATE, state)
        if isinstance(path, RemotePath):
            return cls(path, state, in_place.begin(path, layout))
        store = BlockStore.create(partial / "volume.zarr", layout, name=image_name(path))
        return cls(path, state, store)

    @classmethod
    def reopen(cls, path: Path, *, overwrite: bool = False) -> Destination:
        """Continue an output that `create` began.

        Parameters
        ----------
        path : Path
        overwrite : bool
            Replace an existing output in the end, even if `create` was not told so.

        Raises
        ------
        ResumeError
            Nothing was begun.
        """
        partial = partial_folder(path)
        try:
            with lookup_errors(path, but=(FileNotFoundError, NotADirectoryError)):
                state = json.loads((partial / STATE).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            cure = "it is finished" if path.exists() else "run without --resume"
            raise ResumeError(f"{path}: no unfinished run in {partial}: {cure}") from None
        state["overwrite"] = bool(state.get("overwrite")) or overwrite
        folder = path if isinstance(path, RemotePath) else partial / "volume.zarr"
        try:
            # killed between putting in place and tidying up?
            if isinstance(path, RemotePath):
                with lookup_errors(path):
                    if state.get("placing") and not in_place.is_unfinished(path):
                        return cls(path, state, None)
            elif not folder.exists() and path.exists():
                return cls(path, state, None)
            else:
                restore_unfinished(folder, state["layout"])
            return cls(path, state, BlockStore.open(folder))
        except (InputError, KeyError) as error:
            raise ResumeError(
                f"{path}: the unfinished run in {partial} is damaged ({error}): start again with "
                "--overwrite"
            ) from error

    def finish(
        self,
        provenance: Mapping[str, Any],
        progress: Progress,
        *,
        memory_bytes: int | None = None,
        pyramid: bool = True,
        seal: Seal | None = None,
    ) -> None:
        """Make the output from the filled store, put it in its place and tidy up.

        May be called again after it was interrupted.

        Parameters
        ----------
        provenance : mapping
            JSON: how the volume came about.
        progress : callable
            Called with the name of the phase, parts done, parts in all.
        memory_bytes : int, optional
            What writing one file may take; a plane and a chunk of each format must fit.
        pyramid : bool
            Whether an OME-Zarr gets lower levels.
        seal : callable, optional
            Adds to the folder of an OME-Zarr when all its levels are there, before anybody sees it;
            is given the metadata, files of the group by their names, that are written last.

        Raises
        ------
        OutputError
            The disk is full or refuses; the store stays.
        """
        if not self.finished:
            if not (self._state["overwrite"] or self._state.get("placing") or self._is_in_place):
                refuse_existing(self.path)
            if (missing := self.store.first_missing()) is not None:
                raise RuntimeError(f"{self.path}: {missing} was never written")
            with output_errors(self.path):
                remove_temporaries(self.partial)
            if output_kind(self.path) == "zarr":
                self._finish_zarr(provenance, progress, pyramid=pyramid, seal=seal)
            else:
                self._finish_file(provenance, progress, memory_bytes)
            self._store = None
        with output_errors(self.path):
            remove_tree(self.partial, last=STATE)

    def discard(self) -> None:
        """Remove what was begun; an output that was being replaced comes back.

        In an object store it does not: it was deleted.

        Raises
        ------
        OutputError
            The partial folder is not ours.
        """
        check_ours(self.path)
        aside = self.partial / "replaced"
        if isinstance(self.path, RemotePath):
            in_place.withdraw(self.path)
        elif aside.exists() and not self.path.exists():
            aside.rename(self.path)
        remove_tree(self.partial, last=STATE)

    def _finish_zarr(
        self,
        provenance: Mapping[str, Any],
        progress: Progress,
        *,
        pyramid: bool,
        seal: Seal | None,
    ) -> None:
        store = self.store
        factors = build_pyramid(store, progress) if pyramid else [(1, 1, 1)]
        made = {PROVENANCE: dict(provenance)}
        described = describe_levels(store, factors, image_name(self.path), made)
        if seal:
            seal(store.folder, described)
        if self._is_in_place:
            with output_errors(self.path):
                self._place()
        finish_metadata(store, described)
        if self._is_in_place:
            return
        aside = self.partial / "replaced"
        with output_errors(self.path):
            self._place()
            if self.path.exists():
                if aside.exists():
                    shutil.rmtree(aside)
                self.path.rename(aside)
            store.folder.rename(self.path)
            sync_folder(self.path.absolute().parent)
            sync_folder(self.partial)

    def _finish_file(
        self, provenance: Mapping[str, Any], progress: Progress, memory_bytes: int | None
    ) -> None:
        from vemctl.volumes.exports import export

        store = self.store
        temporary = self.partial / f"export{self.path.suffix}"
        with output_errors(self.path):
            export(
                store,
                temporary,
                kind=output_kind(self.path),
                tiff_format=self._state["tiff_format"],
                compress=self._state["compress"],
                progress=progress,
                memory_bytes=memory_bytes,
            )
            sync_file(temporary)
            digest = digest_file(temporary, progress)
            self._place()
            temporary.replace(self.path)
            sync_folder(self.path.absolute().parent)
            write_sidecar(self.path, store.layout, provenance, digest)

    def _place(self) -> None:
        """Note that what lies at the output's place from now on is ours to replace."""
        self._state["placing"] = True
        write_json(self.partial / STATE, self._state)
