"""The set-up script: it says what a machine lacks, repeats nothing, and resumes what was interrupted."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, working on an empty checkout."""
    spec = importlib.util.spec_from_file_location("setup_environment", REPOSITORY / "tools" / "setup_environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv, work = tmp_path / ".venv", tmp_path / "work"
    (venv / "bin").mkdir(parents=True)
    work.mkdir()
    lock = tmp_path / "requirements.lock"
    lock.write_text("uv==1.0 \\\n    --hash=sha256:00\n", encoding="utf-8")
    places = {"VENV": venv, "PYTHON": venv / "bin" / "python", "UV": venv / "bin" / "uv", "WORK": work, "LOCK": lock}
    files = {"LOG": work / "log", "STAMP": venv / "stamp", "UNFINISHED": venv / "unfinished"}
    for name, value in {**places, **files}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_a_second_run_does_nothing(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    monkeypatch.setattr(environment, "fingerprint", lambda: "as before")
    monkeypatch.setattr(environment, "set_up", lambda: runs.append("set up"))
    environment.PYTHON.touch()
    assert environment.main() == 0
    environment.STAMP.write_text("as before", encoding="utf-8")
    assert environment.main() == 0
    assert runs == ["set up"]


def test_the_fingerprint_follows_every_input(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    message = tmp_path / "A.msg"
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "input_files", lambda: iter([message]))
    message.write_text("bool a\n", encoding="utf-8")
    before = environment.fingerprint()
    assert environment.fingerprint() == before
    message.write_text("bool b\n", encoding="utf-8")
    changed = environment.fingerprint()
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert len({before, changed, environment.fingerprint()}) == 3


def test_missing_tools_are_named_as_debian_packages(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment.shutil, "which", lambda _program: None)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _module: None)
    monkeypatch.setattr(environment.sysconfig, "get_config_var", lambda _name: "/nowhere")
    python = f"python3.{sys.version_info.minor}"
    with pytest.raises(environment.SetupFailure, match=f"apt-get install {python}-venv {python}-dev g\\+\\+$"):
        environment.check_system()


def test_a_python_that_is_too_old_is_refused(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    with pytest.raises(environment.SetupFailure, match=r"3\.10 to 3\.13 is needed.*make PYTHON="):
        environment.check_system()


def test_a_full_disk_is_reported_before_anything_is_downloaded(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "missing_debian_packages", list)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _path: SimpleNamespace(free=2e9))
    with pytest.raises(environment.SetupFailure, match=r"2\.0 GB of free disk space"):
        environment.check_system()


def test_a_failing_command_shows_the_end_of_its_output(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "print('no space left'); raise SystemExit(3)"]
    monkeypatch.setattr(environment, "set_up", lambda: environment.run(command))
    assert environment.main() == 1
    assert "no space left" in capsys.readouterr().err


@pytest.mark.parametrize("interrupted", [False, True])
def test_an_interrupted_installation_is_repeated_as_a_whole(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "try_run", lambda command: commands.append(command) or True)
    environment.UV.touch()
    if interrupted:
        environment.UNFINISHED.touch()
    environment.install_packages()
    (install,) = commands
    assert ("--reinstall" in install) is interrupted
    assert not environment.UNFINISHED.exists()


def test_without_uv_pip_installs_the_same_lock(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "try_run", lambda command: commands.append(command) or "uv.txt" not in command[-1])
    environment.install_packages()
    assert commands[-1][1:4] == ["-m", "pip", "install"]
    assert str(environment.LOCK) in commands[-1]


def test_a_sourced_ros_installation_stays_outside(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "humble")
    monkeypatch.setenv("PYTHONPATH", "/opt/ros/humble/lib/python3.10/site-packages")
    monkeypatch.setenv("AMENT_PREFIX_PATH", "/opt/ros/humble")
    variables = environment.build_environment()
    assert not {"ROS_DISTRO", "PYTHONPATH", "AMENT_PREFIX_PATH"} & set(variables)
    assert variables["PATH"].startswith(f"{environment.VENV / 'bin'}:")


def test_commands_start_without_anything_sourced() -> None:
    python = Path(sys.executable)
    if not (python.parents[1] / "visloc-setup.stamp").is_file():
        pytest.skip("this Python is not in an environment that 'make setup' made")
    script = "import rclpy, tf2_msgs.msg, visloc_msgs.msg; rclpy.init(); rclpy.shutdown(); print('ready')"
    answer = subprocess.run([python, "-c", script], env={"HOME": str(Path.home())}, capture_output=True, text=True)
    assert answer.stdout.strip() == "ready", answer.stderr
