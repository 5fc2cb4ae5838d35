"""Plain files, written so that a power cut leaves the old or the new content."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dual_update.core.errors import WorldError


class HostDisk:
    """The host's disk. Raises WorldError with the path and the system's reason."""

    def read(self, path: str) -> bytes | None:
        try:
            return Path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror}.") from error

    def write(self, path: str, content: bytes) -> None:
        target = Path(path)
        temporary = ""
        try:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                if target.exists():
                    shutil.copymode(target, temporary)
                os.fsync(file.fileno())
            Path(temporary).replace(target)
        except OSError as error:
            if temporary:
                with suppress(OSError):
                    Path(temporary).unlink()
            raise WorldError(f"{path} cannot be written: {error.strerror}.") from error

    def files(self, directory: str) -> Mapping[str, bytes]:
        root = Path(directory)
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def free_bytes(self, path: str) -> int:
        return shutil.disk_usage(_nearest(path)).free

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def is_directory(self, path: str) -> bool:
        return Path(path).is_dir()

    def is_writable(self, path: str) -> bool:
        here = _nearest(path)
        return here.is_dir() and os.access(here, os.W_OK)

    def free_inodes(self, path: str) -> int | None:
        counts = os.statvfs(_nearest(path))
        return counts.f_favail if counts.f_files else None


def _nearest(path: str) -> Path:
    """The path itself, or the closest one above it that exists."""
    here = Path(path)
    while not here.exists() and here != here.parent:
        here = here.parent
    return here
