"""The action's container image, built for the tests: once for the same sources, whoever asks first.

No registry is asked: the base is a minimal Debian made by debootstrap from the mirror that this machine's apt
is set up with. It holds this machine's certificates and pip settings, so pip works in it as here. The
base is kept as an image and as a tarball; both are made again only when this file says something else.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
CACHE = Path("/var/cache/dual-update-tests")
PACKAGES = ("python3", "python3-venv", "ca-certificates", "git", "openssh-client")
NEEDLESS = (
    "var/cache/apt/archives",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
)
FROM_THE_HOST = ("etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
SOURCES = (
    "Dockerfile",
    ".dockerignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "requirements.lock",
    "requirements-build.lock",
    "src",
)
BASE = "dual-update-test-base"
ACTION = "dual-update-test-action"
"""Labels as well as names: `docker images --filter label=NAME` finds every one of them."""


def action_image() -> str:
    """The tag of the image of this checkout's sources, built if it is not there."""
    tag = f"{ACTION}:{sources_hash()}"
    if has_image(tag):
        return tag
    base = base_image()
    with _alone("image"):
        if not has_image(tag):
            options = ["--build-arg", f"BASE_IMAGE={base}", "--label", ACTION, "--force-rm"]
            docker("build", "--quiet", *options, "--tag", tag, str(ROOT), seconds=900)
    return tag


def base_image() -> str:
    """The tag of the base, imported if it is not there."""
    tag = f"{BASE}:{_key()}"
    if has_image(tag):
        return tag
    tarball = base_tarball()
    with _alone("base"):
        if not has_image(tag):
            docker("import", "--change", f"LABEL {BASE}=", str(tarball), tag, seconds=300)
    return tag


def base_tarball() -> Path:
    """A Debian root with python, git and ssh, as a tar file; made if it is not there."""
    tarball = _cache() / f"base-{_key()}.tar"
    with _alone("tarball"):
        if tarball.exists():
            return tarball
        for program in ("debootstrap", "tar"):
            if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
                missing(f"{program} is not on PATH; run scripts/bootstrap --tests")
        if os.geteuid() != 0:
            missing("debootstrap needs root")
        with tempfile.TemporaryDirectory(prefix="dual-update-base-") as folder:
            root = Path(folder) / "root"
            _debootstrap(root)
            made = Path(folder) / "base.tar"
            checked("tar", "--create", "--numeric-owner", "--file", str(made), "--directory", str(root), ".")
            aside = tarball.with_suffix(f".{os.getpid()}")
            shutil.copyfile(made, aside)
            aside.replace(tarball)
    return tarball


def sources_hash() -> str:
    """Names what goes into the image: the files that the build sees, and the base."""
    digest = hashlib.sha256(_key().encode())
    for name in SOURCES:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:20]


def has_image(tag: str) -> bool:
    done = subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def docker(*words: str, seconds: float = 60) -> str:
    """One docker command that must succeed. The classic builder: every engine of the tests has it."""
    return checked("docker", *words, seconds=seconds, environment={"DOCKER_BUILDKIT": "0"})


def checked(*words: str, seconds: float = 300, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        words,
        env={**os.environ, **(environment or {}), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=seconds,
    )
    said = f"{done.stdout}{done.stderr}"[-4000:]
    assert done.returncode == 0, f"{' '.join(words[:3])} ended with {done.returncode}:\n{said}"
    return done.stdout.strip()


def release() -> tuple[str, str]:
    """The release that this machine runs, and the components that hold the packages."""
    told = platform.freedesktop_os_release()
    return told.get("VERSION_CODENAME", ""), "main,universe" if told.get("ID") == "ubuntu" else "main"


def mirror() -> str:
    """Where this machine's apt gets its release from."""
    name, _ = release()
    told = checked("apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages")
    found = [line.split(" ", 1)[1] for line in told.splitlines() if line.split(" ", 1)[0] == name]
    if not found:
        missing(f"apt on this machine has no source for its release {name!r}")
    return found[0]


def _debootstrap(root: Path) -> None:
    name, components = release()
    options = ["--variant=minbase", f"--components={components}", f"--include={','.join(PACKAGES)}"]
    checked("debootstrap", *options, name, str(root), mirror(), seconds=600)
    for name in NEEDLESS:
        shutil.rmtree(root / name, ignore_errors=True)
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in FROM_THE_HOST:
        if (Path("/") / name).is_file():
            shutil.copyfile(Path("/") / name, root / name)


def _key() -> str:
    told = "\0".join((*release(), *PACKAGES, *NEEDLESS, *FROM_THE_HOST))
    digest = hashlib.sha256(told.encode())
    for name in FROM_THE_HOST:
        if (Path("/") / name).is_file():
            digest.update((Path("/") / name).read_bytes())
    return digest.hexdigest()[:12]


def _cache() -> Path:
    """A folder of this machine's where it may be kept, else one that lasts as long as the machine's /tmp."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
    except OSError:
        other = Path(tempfile.gettempdir()) / f"dual-update-tests-{os.geteuid()}"
        other.mkdir(mode=0o700, exist_ok=True)
        return other
    return CACHE


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """One maker at a time on this machine, whichever worker or suite it belongs to."""
    with (_cache() / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
