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
    sync_file,
    sync_folder,
    write_json,
)
from vemctl.errors import InputError, OutputError, ResumeError
from vemctl.volumes.block_store import (
    BlockStore,
    restore_unfinished,
)
from vemctl.volumes.checks import (
    STATE,
    TiffFormat,
    check_layout,
    check_ours,
    check_output,
    check_replaceable,
    lookup_errors,
    output_kind,
    partial_folder,
)
from vemctl.volumes.provenance import PROVENANCE
from vemctl.volumes.pyramid import build_pyramid, finish_metadata
from vemctl.volumes.sidecar import write_sidecar
from vemctl.volumes.volume import Layout

__all__ = ["Destination", "check_layout", "check_output"]

Progress = Callable[[str, int, int], None]


class Destination:
    """An output on its way.

    Everything lies in ``<output>.partial`` until `finish`: the volume as OME-Zarr in
    ``volume.zarr``, this object's own ``destination.json``, and what the caller adds. Whatever
    happens and whenever, the output is absent, the old one or the new one; while an old one is
    being replaced by a folder it may lie in ``<output>.partial/replaced`` for a moment.

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
                _refuse_existing(path, partial)
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
        store = BlockStore.create(partial / "volume.zarr", layout, name=_image_name(path))
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
            state = json.loads((partial / STATE).read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            cure = "it is finished" if path.exists() else "run without --resume"
            raise ResumeError(f"{path}: no unfinished run in {partial}: {cure}") from None
        state["overwrite"] = bool(state.get("overwrite")) or overwrite
        if not (partial / "volume.zarr").exists() and path.exists():
            return cls(path, state, None)  # killed between putting in place and tidying up
        try:
            restore_unfinished(partial / "volume.zarr", state["layout"])
            return cls(path, state, BlockStore.open(partial / "volume.zarr"))
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

        Raises
        ------
        OutputError
            The disk is full or refuses; the store stays.
        """
        if not self.finished:
            if not (self._state["overwrite"] or self._state.get("placing")):
                _refuse_existing(self.path)
            if (missing := self.store.first_missing()) is not None:
                raise RuntimeError(f"{self.path}: {missing} was never written")
            with output_errors(self.path):
                remove_temporaries(self.partial)
            if output_kind(self.path) == "zarr":
                self._finish_zarr(provenance, progress, pyramid=pyramid)
            else:
                self._finish_file(provenance, progress, memory_bytes)
            self._store = None
        with output_errors(self.path):
            _remove(self.partial)

    def discard(self) -> None:
        """Remove what was begun; an output that was being replaced comes back.

        Raises
        ------
        OutputError
            The partial folder is not ours.
        """
        check_ours(self.path)
        aside = self.partial / "replaced"
        if aside.exists() and not self.path.exists():
            aside.rename(self.path)
        if self.partial.exists():
            _remove(self.partial)

    def _finish_zarr(
        self, provenance: Mapping[str, Any], progress: Progress, *, pyramid: bool
    ) -> None:
        store = self.store
        factors = build_pyramid(store, progress) if pyramid else [(1, 1, 1)]
        finish_metadata(store, factors, _image_name(self.path), {PROVENANCE: dict(provenance)})
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
            self._place()
            temporary.replace(self.path)
            sync_folder(self.path.absolute().parent)
            write_sidecar(self.path, store.layout, provenance)

    def _place(self) -> None:
        """Note that what lies at the output's place from now on is ours to replace."""
        self._state["placing"] = True
        write_json(self.partial / STATE, self._state)


def _remove(partial: Path) -> None:
    """Remove a partial folder, last what tells that it is ours: this may be stopped anywhere."""
    for child in partial.iterdir():
        if child.name == STATE:
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
    shutil.rmtree(partial)


def _refuse_existing(path: Path, partial: Path | None = None) -> None:
    if path.exists():
        raise OutputError(f"{path}: exists: pass --overwrite or choose another output")
    if partial is not None and partial.exists():
        raise OutputError(
            f"{path}: an unfinished run is in {partial}: continue it with --resume or start again "
            "with --overwrite"
        )


def _image_name(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".ome")
