"""Make ``.venv``: Python packages from the lock file, visloc_ros itself, and the compiled ROS 2 interfaces.

Needs nothing but Python's standard library, and does nothing when everything is in place already. A set-up that
failed or was interrupted is completed by running it again. ``make setup`` calls it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
LOCK = ROOT / "requirements.lock"
WORK = ROOT / "build" / "setup"
LOG = WORK / "setup.log"
STAMP = VENV / "visloc-setup.stamp"
UNFINISHED = VENV / "visloc-setup.unfinished"
INTERFACES = ROOT / "visloc_msgs"
PLUGINS = ROOT / "plugins"

MINIMUM_PYTHON = (3, 10)
MAXIMUM_PYTHON = (3, 13)
DISK_SPACE_GB = 8
ROS_VARIABLES = ("PYTHONPATH", "AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "COLCON_PREFIX_PATH", "LD_LIBRARY_PATH")


class SetupFailure(Exception):
    """The set-up cannot go on; the message says what to do."""


def main() -> int:
    """Set the environment up, if needed, and return the exit status."""
    try:
        WORK.mkdir(parents=True, exist_ok=True)
        with only_one_at_a_time():
            if is_up_to_date():
                return 0
            set_up()
    except (SetupFailure, OSError) as failure:
        print(f"set-up failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted: run it again to complete it", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    """Carry out all steps; the stamp is written when the last one has succeeded."""
    check_system()
    print(f"Setting up {VENV.name} (a few minutes the first time; full log in {LOG.relative_to(ROOT)})")
    LOG.write_text("", encoding="utf-8")
    STAMP.unlink(missing_ok=True)
    inputs = fingerprint()
    steps: list[tuple[str, Callable[[], None]]] = [
        ("Python environment", make_virtual_environment),
        ("Python packages from requirements.lock", install_packages),
        ("visloc_ros and its plug-ins in development mode", install_visloc_ros),
        ("ROS 2 interfaces", build_interfaces),
        ("check", check_result),
    ]
    for number, (title, step) in enumerate(steps, 1):
        print(f"  [{number}/{len(steps)}] {title} ", end="", flush=True)
        start = time.monotonic()
        step()
        print(f"... {time.monotonic() - start:.0f} s", flush=True)
    STAMP.write_text(inputs, encoding="utf-8")


def is_up_to_date() -> bool:
    """Tell whether the last set-up succeeded and nothing that it depends on has changed since."""
    return PYTHON.exists() and STAMP.is_file() and STAMP.read_text(encoding="utf-8") == fingerprint()


def fingerprint() -> str:
    """Hash all that the environment is made from, the interpreter and the place of the checkout included."""
    digest = hashlib.sha256(f"{platform.python_version()} {ROOT}".encode())
    for path in sorted(input_files()):
        digest.update(f"\0{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def input_files() -> Iterator[Path]:
    """List the files that the environment is made from."""
    yield from (LOCK, Path(__file__).resolve(), ROOT / "setup.cfg", ROOT / "package.xml")
    yield from (package / "setup.py" for package in (ROOT, *plugins()))
    yield from (path for path in INTERFACES.rglob("*") if path.is_file() and path.parent.name != "__pycache__")


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold a lock, so that two commands started together do not both set up."""
    with (WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another set-up of this checkout to finish")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_system() -> None:
    """Refuse a machine that lacks something, naming the Debian packages that bring it."""
    version = sys.version_info[:2]
    if not MINIMUM_PYTHON <= version <= MAXIMUM_PYTHON:
        raise SetupFailure(
            f"Python 3.10 to 3.13 is needed and {sys.executable} is {platform.python_version()}; "
            "name another one, for example: make PYTHON=python3.11"
        )
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupFailure(
            f"the pinned packages exist for x86-64 Linux, and this is {platform.machine()} {platform.system()}; "
            "with ROS 2 installed, build with colcon instead (see README.md)"
        )
    missing = missing_debian_packages()
    if missing:
        names = " ".join(missing)
        raise SetupFailure(f"these packages are missing: {names}. On Debian or Ubuntu:\n  sudo apt-get install {names}")
    free_gb = shutil.disk_usage(ROOT).free / 1e9
    if free_gb < DISK_SPACE_GB and not PYTHON.exists():
        raise SetupFailure(f"{ROOT} has {free_gb:.1f} GB of free disk space, and {VENV.name} needs {DISK_SPACE_GB} GB")


def missing_debian_packages() -> list[str]:
    """Name the Debian packages of the missing tools. The wheels bring everything else, CMake and Ninja included."""
    python = f"python3.{sys.version_info.minor}"
    headers = Path(sysconfig.get_config_var("INCLUDEPY") or "", "Python.h")
    found = {
        f"{python}-venv": importlib.util.find_spec("ensurepip") is not None,
        f"{python}-dev": headers.is_file(),
        "g++": shutil.which(os.environ.get("CXX", "c++").split()[0]) is not None,
    }
    return [package for package, is_there in found.items() if not is_there]


def make_virtual_environment() -> None:
    """Create the virtual environment, or keep the one that this Python version made."""
    if installed_python() != platform.python_version():
        run([sys.executable, "-m", "venv", "--clear", str(VENV)])


def installed_python() -> str | None:
    """Ask the existing environment for its Python version; None when there is none that runs."""
    if not PYTHON.exists():
        return None
    answer = subprocess.run(
        [str(PYTHON), "-c", "import platform; print(platform.python_version())"],
        env=build_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


def install_packages() -> None:
    """Install the locked packages; those of an interrupted installation are all installed again."""
    again = UNFINISHED.exists()
    UNFINISHED.touch()
    if not (bootstrap_uv() and install_with_uv(again)):
        print("(with pip, slower) ", end="", flush=True)
        run_pip(["--no-deps", "--requirement", str(LOCK), *(["--force-reinstall"] if again else [])])
    UNFINISHED.unlink()


def bootstrap_uv() -> bool:
    """Install the locked version of uv, which installs many times faster than pip, and return whether it is there."""
    if UV.exists():
        return True
    pin = re.search(r"^uv==.*(?:\\\n.*)*", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if pin is None:
        raise SetupFailure(f"{LOCK.name} does not pin uv: make it again with 'make lock'")
    requirement = WORK / "uv.txt"
    requirement.write_text(pin.group() + "\n", encoding="utf-8")
    return try_pip(["--no-deps", "--requirement", str(requirement)])


def install_with_uv(again: bool) -> bool:
    """Install with uv's own certificates or, behind a company's proxy, with those of the system.

    Not ``uv pip sync``: it takes the metadata that the ROS wheels carry of their parts for packages to remove.
    """
    command = [str(UV), "pip", "install", "--python", str(PYTHON), "--no-deps", "--requirement", str(LOCK)]
    command += ["--reinstall"] if again else []
    return try_run(command) or try_run([*command, "--system-certs"])


def install_visloc_ros() -> None:
    """Link this checkout into the environment, with its commands and plug-ins."""
    install_from_checkout([word for package in (ROOT, *plugins()) for word in ("--editable", str(package))])


def plugins() -> list[Path]:
    """The folders of the plug-ins."""
    return sorted(path.parent for path in PLUGINS.glob("*/setup.py"))


def build_interfaces() -> None:
    """Compile visloc_msgs and tf2_msgs into the environment."""
    install_from_checkout([str(INTERFACES)])


def install_from_checkout(arguments: list[str]) -> None:
    """Build and install a package of this checkout with what the environment has."""
    arguments = ["--no-build-isolation", "--no-deps", *arguments]
    if not (UV.exists() and try_run([str(UV), "pip", "install", "--python", str(PYTHON), *arguments])):
        run_pip(arguments)


def check_result() -> None:
    """Import what the steps before have made."""
    run(
        [
            str(PYTHON),
            "-c",
            "import rclpy, tf2_msgs.msg, visloc_msgs.msg, visloc_msgs.srv, visloc_msgs.action, visloc_ros, pycolmap",
        ]
    )


def build_environment() -> dict[str, str]:
    """Environment for the child processes: this one without any ROS installation, ``.venv`` first."""
    kept = {name: value for name, value in os.environ.items() if name not in ROS_VARIABLES}
    kept = {name: value for name, value in kept.items() if not name.startswith(("ROS_", "_ROS_", "VIRTUAL_ENV"))}
    path = f"{VENV / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "VIRTUAL_ENV": str(VENV), "PATH": path}


def run_pip(arguments: list[str]) -> None:
    """Run ``pip install`` in the environment. Raises SetupFailure when it fails."""
    ensure_pip()
    run([str(PYTHON), "-m", "pip", "install", *arguments])


def try_pip(arguments: list[str]) -> bool:
    """Run ``pip install`` in the environment; return whether it succeeded."""
    ensure_pip()
    return try_run([str(PYTHON), "-m", "pip", "install", *arguments])


def ensure_pip() -> None:
    """Bring pip into an environment that was made without it."""
    if not any(VENV.glob("lib/python*/site-packages/pip")):
        run([str(PYTHON), "-m", "ensurepip"])


def run(command: list[str]) -> None:
    """Run a command with its output in the log. Raises SetupFailure with the end of that output."""
    if not try_run(command):
        tail = LOG.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise SetupFailure("\n  ".join([f"'{' '.join(command)}' failed:", *tail, f"(full log: {LOG})"]))


def try_run(command: list[str]) -> bool:
    """Run a command with its output in the log; return whether it succeeded."""
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        try:
            result = subprocess.run(
                command, cwd=WORK, env=build_environment(), stdout=log, stderr=subprocess.STDOUT, check=False
            )
        except OSError as error:
            log.write(f"{error}\n")
            return False
    return result.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
