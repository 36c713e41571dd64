"""Files of any file system that fsspec knows, below one root: seen whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec

from recsys_core.lake.contents import LakeError

# A file that somebody began to write so long before another write of the same one is given up.
UNFINISHED_S = 5.0
DISK_FULL = os.strerror(errno.ENOSPC)
REMEDY = "free space there and run again; what was live before still is"


def disk_full(error: BaseException) -> bool:
    """Whether an error, of whatever library, says that a disk is full."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or DISK_FULL.lower() in str(error).lower()


def place(root: str) -> tuple[Any, str, bool]:
    """The file system of a URL, the path within it without a slash at the end, and whether it is this machine's own."""
    # What other processes write must be seen at once: nothing that was listed is remembered.
    fs, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
    local = "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
    return fs, os.path.abspath(path) if local else path.rstrip("/"), local


class Files:
    """What lies below `root`, any URL that fsspec knows; paths are relative to it."""

    def __init__(self, root: str) -> None:
        self.fs, self.root, self.local = place(root)

    @property
    def url(self) -> str:
        """The root for fsspec in another process."""
        return self.root if self.local else str(self.fs.unstrip_protocol(self.root))

    # -- paths -------------------------------------------------------------------------------------------------------------------
    def path(self, relative: str) -> str:
        """Absolute path of something in the lake, for fsspec."""
        return f"{self.root}/{relative}" if relative else self.root

    def spark_path(self, relative: str) -> str:
        """The same for Spark."""
        return (
            f"file://{self.path(relative)}" if self.local else f"{self.fs.unstrip_protocol(self.path(relative)).replace('s3://', 's3a://')}"
        )

    # -- bytes -------------------------------------------------------------------------------------------------------------------
    def exists(self, relative: str) -> bool:
        """Whether a file is there."""
        return bool(self.fs.exists(self.path(relative)))

    def read_bytes(self, relative: str) -> bytes:
        """A file's bytes; FileNotFoundError when absent."""
        return bytes(self.fs.cat_file(self.path(relative)))

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Write a file so that readers see the old or the new one, never a part."""
        path = self.path(relative)
        if not self.local:
            self.fs.pipe_file(path, data)  # object stores show an object only when it is complete
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        staged = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(staged, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _remove_unfinished(path, os.stat(staged).st_mtime - UNFINISHED_S)
            os.replace(staged, path)
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(staged)
            raise

    def create(self, relative: str) -> bool:
        """Create an empty file; False when it was there. Of several that try only one succeeds."""
        path = self.path(relative)
        try:
            if self.local:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            else:
                self.fs.pipe_file(path, b"", mode="create")
        except FileExistsError:
            return False
        return True

    def names(self, relative: str) -> list[str]:
        """Names of all that lies directly in a folder, sorted; none when it is not there."""
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self.entries(relative))

    def folders(self, relative: str) -> list[str]:
        """Names of the folders directly below, sorted."""
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in self.entries(relative) if e["type"] == "directory")

    def entries(self, relative: str) -> list[dict[str, Any]]:
        """name, type and size of all that lies directly in a folder."""
        path = self.path(relative)
        if self.local:
            return list(_scan(path))
        try:
            return [e for e in self.fs.ls(path, detail=True) if e["name"].rstrip("/") != path]
        except FileNotFoundError:
            return []

    def files(self, relative: str) -> dict[str, dict[str, Any]]:
        """All files in a folder and below it, by path in the lake, with what the file system knows of each."""
        try:
            found = self.fs.find(self.path(relative), detail=True)
        except FileNotFoundError:
            return {}
        return {str(path)[len(self.root) + 1 :]: info for path, info in sorted(found.items())}

    def remove(self, relative: str) -> None:
        """Remove a file, or a folder with all in it, if it is there."""
        with suppress(FileNotFoundError):  # somebody else may be removing it too
            self.fs.rm(self.path(relative), recursive=True)

    def keep_to_owner(self, folder: str) -> None:
        """Make a folder that nobody else of this machine can enter; elsewhere that is for the store's own rules."""
        if self.local:
            os.makedirs(self.path(folder), exist_ok=True)
            os.chmod(self.path(folder), 0o700)

    @contextmanager
    def disk_full_is_said(self, folder: str) -> Iterator[None]:
        """Whatever says in the block that a disk is full becomes a LakeError that names the folder and the remedy."""
        try:
            yield
        except Exception as error:
            if disk_full(error):
                raise LakeError(f"{self.path(folder)}: {DISK_FULL}: {REMEDY}") from error
            raise


def _scan(path: str) -> Iterator[dict[str, Any]]:
    """Entries of a folder of this machine; what vanishes meanwhile is passed over, where fsspec would give up the whole folder."""
    try:
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        with suppress(FileNotFoundError):
            folder = entry.is_dir()
            yield {"name": entry.path, "type": "directory" if folder else "file", "size": 0 if folder else entry.stat().st_size}


def _remove_unfinished(path: str, before: float) -> None:
    """Remove what writers of a file that did not come to their end left beside it, if it is older than `before` (of the file system)."""
    folder, name = os.path.split(path)
    for entry in os.scandir(folder):
        if entry.name.startswith(f"{name}.") and entry.name.endswith(".tmp"):
            with suppress(FileNotFoundError):
                if entry.stat().st_mtime < before:
                    os.unlink(entry.path)
