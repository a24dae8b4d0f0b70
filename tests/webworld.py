"""Servers of the test's own behind a real proxy on 127.0.0.1: nothing is patched.

A client is led there by environment variables alone, in this process or another::

    with World() as world:
        doi = world.zenodo(123, {"net.zip": content})
        subprocess.run([...], env={**os.environ, **world.environment})

and by a fixture that calls `world.enter(monkeypatch)`.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote, urlsplit

from webproxy import Answer, Mishap, Request, Server, authority, digest


class World:
    """A web of known content; see the methods for what can go wrong in it."""

    def __init__(self) -> None:
        self.ranges = True
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._answers: dict[tuple[str, str], Answer] = {}
        self._mishaps: dict[tuple[str, str], list[Mishap]] = {}
        self._delays: dict[tuple[str, str], float] = {}
        self._numbers = itertools.count(100)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="webworld-"))
        authority().cert_pem.write_to_path(self._folder / "ca.pem")
        self._server = Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up_all()
        self._server.server_close()
        shutil.rmtree(self._folder)
        assert not self._server.bugs, self._server.bugs

    @property
    def address(self) -> str:
        """Of the proxy."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), self.address)
        named = {**proxies, "NO_PROXY": ""}
        lower = {name.lower(): value for name, value in named.items()}
        return {**named, **lower, "REQUESTS_CA_BUNDLE": str(self._folder / "ca.pem")}

    def enter(self, monkeypatch) -> None:
        """Lead this process here until the test ends."""
        for name, value in self.environment.items():
            monkeypatch.setenv(name, value)

    @property
    def log(self) -> list[str]:
        """What was asked, in order: method, host, path and range."""
        return [str(request) for request in self.requests]

    # What there is ----------------------------------------------------------------------------

    def serve(self, url: str, content: bytes, **how) -> str:
        """Put content at an address, or other content than before; `how` as in `Answer`."""
        self._answers[_key(url)] = Answer(content, **how)
        return url

    def status(self, url: str, status: int, content: bytes = b"") -> str:
        """Let an address answer so for ever."""
        return self.serve(url, content, status=status)

    def redirect(self, url: str, target: str, status: int = 302) -> str:
        return self.serve(url, b"", status=status, headers={"Location": target})

    def record(self, doi: str, landing: str) -> str:
        """Let a DOI lead to a page."""
        self.redirect(f"https://doi.org/{doi}", landing)
        self.serve(landing, b"<html>for people</html>")
        return doi

    def zenodo(self, number: int, files: Mapping[str, bytes], *, old: bool = False, **more) -> str:
        """Publish a record; `old` lists it as before October 2023, `more` goes into its JSON."""
        api = f"https://zenodo.org/api/records/{number}"
        listed = []
        for name, content in files.items():
            md5, size = digest("md5", content), len(content)
            if old:
                address = f"https://zenodo.org/records/{number}/files/{quote(name)}?download=1"
                listed.append({"filename": name, "checksum": md5, "filesize": size})
            else:
                address = f"{api}/files/{quote(name)}/content"
                links = {"self": address}
                listed.append({"key": name, "checksum": f"md5:{md5}", "size": size, "links": links})
            self.serve(address, content)
        self.serve(api, json.dumps({"id": number, "files": listed, **more}).encode())
        return self.record(f"10.5281/zenodo.{number}", f"https://zenodo.org/records/{number}")

    def dataverse(
        self,
        host: str,
        doi: str,
        files: Mapping[str, bytes],
        *,
        sha1: bool = False,
        algorithm: str = "",
        restricted: Iterable[str] = (),
        embargo: str = "",
    ) -> str:
        """Publish a dataset; what stands before the last / of a name is its folder there."""
        algorithm = algorithm or ("SHA-1" if sha1 else "MD5")
        listed = []
        for path, content in files.items():
            folder, _, name = path.rpartition("/")
            number = next(self._numbers)
            value = digest(algorithm.lower().replace("-", ""), content)
            file = {"id": number, "filename": name, "filesize": len(content)}
            if algorithm == "MD5":
                file["md5"] = value
            file["checksum"] = {"type": algorithm, "value": value}
            if embargo:
                file["embargo"] = {"dateAvailable": embargo}
            entry = {"label": name, "restricted": path in set(restricted), "dataFile": file}
            listed.append({**entry, **({"directoryLabel": folder} if folder else {})})
            self.serve(f"https://{host}/api/access/datafile/{number}", content)
        version = {"latestVersion": {"versionNumber": 1, "files": listed}}
        answer = json.dumps({"status": "OK", "data": version}).encode()
        self.serve(f"https://{host}/api/datasets/:persistentId?persistentId=doi:{doi}", answer)
        return self.record(doi, f"https://{host}/dataset.xhtml?persistentId=doi:{doi}")

    def figshare(self, number: int, files: Mapping[str, bytes], version: int | None = 1) -> str:
        """Publish an article; without a version, its DOI means the newest."""
        suffix, place = (f".v{version}", f"/versions/{version}") if version else ("", "")
        doi, api = f"10.6084/m9.figshare.{number}{suffix}", "https://api.figshare.com/v2/articles"
        listed = []
        for name, content in files.items():
            address = f"https://ndownloader.figshare.com/files/{next(self._numbers)}"
            self.serve(address, content)
            entry = {"name": name, "size": len(content), "download_url": address}
            listed.append({**entry, "computed_md5": digest("md5", content)})
        self.serve(f"{api}?doi={doi}", json.dumps([{"id": number}]).encode())
        self.serve(f"{api}/{number}{place}", json.dumps({"files": listed}).encode())
        return self.record(doi, f"https://figshare.com/articles/dataset/title/{number}")

    def github(
        self, repository: str, commit: str, files: Mapping[str, bytes], *, large: bool = False
    ) -> None:
        """Publish files of a commit; `large` ones are pointers there, and lie with Git LFS."""
        for path, content in files.items():
            place = f"{repository}/{commit}/{quote(path)}"
            if large:
                self.serve(f"https://media.githubusercontent.com/media/{place}", content)
                sha256, size = digest("sha256", content), len(content)
                version = "version https://git-lfs.github.com/spec/v1"
                content = f"{version}\noid sha256:{sha256}\nsize {size}\n".encode()  # noqa: PLW2901
            self.serve(f"https://raw.githubusercontent.com/{place}", content)

    # What goes wrong --------------------------------------------------------------------------

    def fail(self, where: str, status: int = 503, times: int | None = 1, headers=None) -> None:
        """Let a host or an address answer `times` times with an error, before all else."""
        self._add(where, Mishap(times, Answer(b"not now", status, dict(headers or {}))))

    def fail_tunnel(self, host: str, status: int, times: int | None = None) -> None:
        """Let the proxy refuse to connect to a host."""
        self._add(f"tunnel:{host}", Mishap(times, Answer(b"", status)))

    def drop_after(self, url: str, num_bytes: int, times: int | None = 1) -> None:
        """Close the connection after so many bytes of the content that is sent."""
        self._add(url, Mishap(times, after=num_bytes))

    def stall_after(self, url: str, num_bytes: int, times: int | None = 1) -> None:
        """Send so many bytes and then nothing more, with the connection open."""
        self._add(url, Mishap(times, after=num_bytes, stalls=True))

    def hang_up(self, where: str, times: int | None = 1) -> None:
        """Close the connection without an answer."""
        self._add(where, Mishap(times))

    def delay(self, url: str, seconds: float) -> None:
        """Let an address take its time before each answer."""
        self._delays[_key(url)] = seconds

    # What the handlers ask --------------------------------------------------------------------

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def mishap(self, host: str, path: str) -> Mishap | None:
        with self._lock:
            for key in ((host, path), (host, "")):
                for mishap in self._mishaps.get(key, []):
                    if mishap.happens():
                        return mishap
        return None

    def sleep(self, seconds: float) -> None:
        self.closing.wait(seconds)

    def answer(self, host: str, path: str) -> Answer:
        if seconds := self._delays.get((host, path)):
            self.sleep(seconds)
        found = self._answers.get((host, path)) or self._answers.get((host, path.partition("?")[0]))
        return found or Answer(b"nothing here", 404)

    def _add(self, where: str, mishap: Mishap) -> None:
        self._mishaps.setdefault(_key(where), []).append(mishap)


def _key(where: str) -> tuple[str, str]:
    """Return host and path of an address; a host alone stands for all of its paths."""
    if "//" not in where:
        return where, ""
    parts = urlsplit(where)
    return parts.netloc, unquote(parts.path or "/") + (f"?{parts.query}" if parts.query else "")
