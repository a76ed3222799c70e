"""deploy/install.sh in a folder of its own, with wheels made here; units as systemd reads them; wheelhouse, share."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT

WORKS = '#!/bin/sh\necho "station, version {version}"\n'
BREAKS = '#!/bin/sh\n[ "$1" = --version ] || { echo "an instruction that this processor lacks" >&2; exit 132; }\n'
DAEMON, SHORT = "station.service", ("station-report.service", "station-backup.service")
MOST_EXPOSED = 3.0  # of 10, as systemd-analyze counts

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not on this machine")


@dataclass(frozen=True)
class Machine:
    """A computer of a laboratory: where the station goes, where its units go, wheels on a stick, and its Python."""

    folder: Path
    image: Path

    @property
    def prefix(self) -> Path:
        return self.folder / "opt"

    @property
    def units(self) -> Path:
        return self.image / "etc/systemd/system"

    def wheels(self, version: str, program: str = WORKS, needs: str = "", *, at: Path | None = None) -> Path:
        """A folder with one wheel, whose `station` is `program`."""
        name = f"wbc_station-{version}"
        path = (at or self.folder) / f"stick-{version}" / f"{name}-py3-none-any.whl"
        path.parent.mkdir()
        files = {
            f"{name}.data/scripts/station": program.replace("{version}", version),
            f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: wbc-station\nVersion: {version}\n{needs}",
            f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        with zipfile.ZipFile(path, "w") as wheel:
            for member, text in files.items():
                entry = zipfile.ZipInfo(member)
                entry.external_attr = (
                    0o100755 << 16
                )  # a script that is none of Python's must be executable in the wheel
                wheel.writestr(entry, text)
            wheel.writestr(f"{name}.dist-info/RECORD", "".join(f"{member},,\n" for member in files))
        return path.parent

    def call(self, *options: object) -> subprocess.CompletedProcess[str]:
        line = ["sh", ROOT / "deploy/install.sh", "--prefix", self.prefix, "--root", self.image]
        line += ["--python", self.folder / "python", *options]
        return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=120)

    def install(self, *options: object) -> str:
        told = self.call(*options)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def version(self) -> str:
        """What the version in use says of itself."""
        line = [self.prefix / "current/bin/station", "--version"]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.split()[-1]

    def versions(self) -> list[str]:
        return sorted(path.name.partition("-")[0] for path in (self.prefix / "versions").iterdir())


def everything_below(folder: Path) -> dict[str, object]:
    """Every file with its content and every link with its end."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            found[str(path)] = path.readlink() if path.is_symlink() else (path.stat().st_mtime_ns, path.read_bytes())
    return found


def given_machine(folder: Path) -> Machine:
    """Its Python makes real environments, with this one's pip in place of a copy, which would take seconds."""
    pip = importlib.util.find_spec("pip")
    assert pip and pip.submodule_search_locations
    library = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nset -e\n[ "$1 $2" = "-m venv" ] || exec "{sys.executable}" "$@"\n'
        f'"{sys.executable}" -m venv --without-pip "$3"\n'
        f'ln -s "{pip.submodule_search_locations[0]}" "$3/{library}/pip"\n'
    )
    python.chmod(0o755)
    return Machine(folder, folder / "image")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return given_machine(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with the service on it, for processors. Tests leave it as it is."""
    if not shutil.which("systemctl"):
        pytest.skip("systemctl is not on this machine")
    made = given_machine(tmp_path_factory.mktemp("served"))
    made.install("--offline", made.wheels("1.0"), "--service", "--extras", "openvino")
    return made


def test_a_dry_run_tells_and_changes_nothing(machine: Machine) -> None:
    wheels = machine.wheels("1.0")
    before = everything_below(machine.folder)
    told = machine.install("--dry-run", "--service", "--offline", wheels)
    assert "would install" in told and "would write" in told and "enable" in told
    assert everything_below(machine.folder) == before


def test_a_dry_run_of_an_upgrade_changes_nothing(served: Machine, tmp_path: Path) -> None:
    wheels = served.wheels("2.0", at=tmp_path)
    before = everything_below(served.folder)
    told = served.install("--dry-run", "--offline", wheels)
    assert "versions/2.0-" in told and "with openvino" in told  # the extras of the version in use
    assert "would run: rm -rf" in served.install("--dry-run", "--uninstall")
    assert everything_below(served.folder) == before


def test_the_same_again_changes_nothing(served: Machine) -> None:
    before = everything_below(served.folder)
    assert "installed already" in served.install("--service", "--offline", served.folder / "stick-1.0")
    assert everything_below(served.folder) == before


def test_an_upgrade_is_rolled_back_and_done_again(machine: Machine) -> None:
    machine.install("--offline", machine.wheels("1.0"))
    assert machine.version() == "1.0"
    assert machine.call("--roll-back").returncode == 1
    machine.install("--offline", machine.wheels("2.0"))
    assert machine.version() == "2.0"
    machine.install("--roll-back")
    assert machine.version() == "1.0"
    machine.install("--roll-back")
    assert machine.version() == "2.0"

    machine.install("--offline", machine.wheels("3.0"))
    assert (machine.version(), machine.versions()) == ("3.0", ["2.0", "3.0"])  # no disk is filled with old ones
    (machine.prefix / "previous/bin/station").unlink()
    assert machine.call("--roll-back").returncode == 1
    assert machine.version() == "3.0"


def test_a_folder_may_have_a_space_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my laboratory"
    folder.mkdir()
    machine = given_machine(folder)
    machine.install("--offline", machine.wheels("1.0"))
    assert machine.version() == "1.0"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def booted(machine: Machine, *options: object, path: Path) -> subprocess.CompletedProcess[str]:
    """As on a machine that runs systemd, whose programs are first looked for in `path`."""
    script = (ROOT / "deploy/install.sh").read_text(encoding="utf-8")
    for place, ours in (
        ("/run/systemd/system", machine.folder),
        ("/etc/systemd/system", machine.units),
        ("/var/lib/wbc-station", machine.folder),
    ):
        assert place in script
        script = script.replace(place, str(ours))
    copy = machine.folder / "clone/deploy/install.sh"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(script, encoding="utf-8")
    shutil.copytree(ROOT / "systemd", machine.folder / "clone/systemd", dirs_exist_ok=True)
    line = ["sh", copy, "--prefix", machine.prefix, "--python", machine.folder / "python", *options]
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"}
    return subprocess.run([str(w) for w in line], capture_output=True, text=True, timeout=120, env=environment)


def programs_of_root(machine: Machine, systemctl: str = "exit 1") -> Path:
    """The service has a user, and a Python that this user can execute, unless its home is closed."""
    programs = program(machine.folder / "bin/id", "echo 0").parent
    program(programs / "systemctl", systemctl)
    program(programs / "getent", "exit 0")
    closed = f'[ ! -e "{machine.folder}/closed" ] || {{ echo "$4: Permission denied" >&2; exit 126; }}'
    program(programs / "runuser", f'[ "$1 $2 $3" = "-u wbc-station --" ] || exit 1\n{closed}\nshift 3\nexec "$@"')
    return programs


def test_who_rolls_back_is_told_of_the_copy_before_a_service_that_may_refuse_the_database(machine: Machine) -> None:
    for version in ("1.0", "2.0"):
        machine.install("--offline", machine.wheels(version))
    machine.units.mkdir(parents=True)
    (machine.units / DAEMON).write_text(f"ExecStart={machine.prefix}/current/bin/station run\n")
    programs = programs_of_root(machine)
    told = booted(machine, "--roll-back", path=programs)
    assert told.returncode == 1 and "the service does not start" in told.stderr
    assert "station.db.before-" in told.stdout
    assert "--roll-back" not in told.stderr  # which would go forward again
    assert machine.version() == "1.0"


def test_a_way_back_is_named_where_there_is_one(machine: Machine) -> None:
    machine.units.mkdir(parents=True)
    (machine.units / DAEMON).write_text(f"ExecStart={machine.prefix}/current/bin/station run\n")
    programs = programs_of_root(machine)
    first, second = (booted(machine, "--offline", machine.wheels(one), path=programs) for one in ("1.0", "2.0"))
    assert (first.returncode, second.returncode) == (1, 1)
    assert first.stderr.strip().endswith("the service does not start: journalctl -u station")
    assert "--roll-back" in second.stderr
    before = everything_below(machine.prefix)
    assert "would be in use: versions/1.0-" in machine.install("--dry-run", "--roll-back")
    assert everything_below(machine.prefix) == before


def installed(machine: Machine) -> str:
    """The last word of systemctl about the daemon itself."""
    told = (machine.folder / "told").read_text().splitlines()
    return [line for line in told if "start station.service" in line][-1].split()[0]


def in_service(machine: Machine, failing: str) -> tuple[Path, Path]:
    """Version 1.0, with its service; (programs, a file while which exists systemctl fails at `failing`)."""
    log, fails = machine.folder / "told", machine.folder / "fails"
    programs = programs_of_root(
        machine, f'echo "$*" >> "{log}"\ncase "$*" in {failing}) [ ! -e "{fails}" ] ;; *) exit 0 ;; esac'
    )
    (machine.folder / "station.toml").touch()
    assert booted(machine, "--offline", machine.wheels("1.0"), "--service", path=programs).returncode == 0
    return programs, fails


def test_a_version_that_never_served_is_no_way_back_and_takes_none_away(machine: Machine) -> None:
    programs, fails = in_service(machine, "*start*")
    fails.touch()
    for version in ("2.0", "2.1"):
        told = booted(machine, "--offline", machine.wheels(version), path=programs)
        assert told.returncode == 1 and "--roll-back" in told.stderr
    assert machine.versions() == ["1.0", "2.0", "2.1"]
    fails.unlink()
    assert booted(machine, "--roll-back", path=programs).returncode == 0
    assert machine.version() == "1.0" and not (machine.prefix / "restart-due").exists()
    assert booted(machine, "--offline", machine.wheels("3.0"), path=programs).returncode == 0
    assert machine.versions() == ["1.0", "3.0"]


def test_an_upgrade_that_was_cut_off_before_its_restart_is_completed_by_the_same_again(machine: Machine) -> None:
    programs, fails = in_service(machine, "enable*")
    wheels = machine.wheels("2.0")
    for again in (("--service",), ()):
        fails.touch()
        assert booted(machine, "--offline", wheels, "--service", path=programs).returncode != 0
        fails.unlink()
        told = booted(machine, "--offline", wheels, *again, path=programs)
        assert told.returncode == 0 and "installed already" in told.stdout
        assert installed(machine).endswith("restart") and not (machine.prefix / "restart-due").exists()
        (machine.prefix / "restart-due").touch()


def test_a_python_that_is_closed_to_the_user_of_the_service_is_refused(machine: Machine) -> None:
    programs = programs_of_root(machine, "exit 0")
    closed = machine.folder / "closed"
    closed.touch()
    wheels = machine.wheels("1.0")
    failed = booted(machine, "--offline", wheels, "--service", path=programs)
    assert failed.returncode == 1
    python = Path(sys.executable).resolve()
    assert f"wbc-station cannot run {python}" in failed.stderr and "--python /usr/bin/python3" in failed.stderr
    assert not machine.versions() and not (machine.prefix / "current").is_symlink() and not machine.units.exists()

    closed.unlink()
    told = booted(machine, "--offline", wheels, "--service", path=programs)
    assert told.returncode == 0, told.stderr
    assert (machine.version(), (machine.units / DAEMON).exists()) == ("1.0", True)


def test_a_service_is_not_made_of_what_was_installed_for_somebody_else(machine: Machine) -> None:
    programs = programs_of_root(machine, "exit 0")
    (machine.folder / "closed").touch()
    wheels = machine.wheels("1.0")
    assert booted(machine, "--offline", wheels, path=programs).returncode == 0  # nobody else has to run it
    before = everything_below(machine.prefix)
    failed = booted(machine, "--offline", wheels, "--service", path=programs)
    assert failed.returncode == 1 and "versions/1.0-" in failed.stderr.splitlines()[-1]  # what stays is named
    assert everything_below(machine.prefix) == before and not machine.units.exists()


def test_an_upgrade_that_the_service_cannot_run_leaves_the_one_in_use(machine: Machine) -> None:
    programs = programs_of_root(machine, "exit 0")
    assert booted(machine, "--offline", machine.wheels("1.0"), "--service", path=programs).returncode == 0
    assert booted(machine, "--offline", machine.wheels("2.0"), path=programs).returncode == 0
    before = everything_below(machine.prefix)
    (machine.folder / "closed").touch()
    assert booted(machine, "--offline", machine.wheels("3.0"), path=programs).returncode == 1
    assert booted(machine, "--roll-back", path=programs).returncode == 1
    assert everything_below(machine.prefix) == before


@pytest.mark.parametrize(
    ("program", "needs", "told"),
    [
        pytest.param(BREAKS, "", "an instruction that this processor lacks", id="does not run"),
        pytest.param(WORKS, "Requires-Dist: left-at-home\n", "lacks a wheel", id="is not complete"),
    ],
)
def test_a_version_that_fails_leaves_the_one_in_use(
    served: Machine, tmp_path: Path, program: str, needs: str, told: str
) -> None:
    wheels = served.wheels("2.0", program, needs, at=tmp_path)
    before = everything_below(served.folder)
    failed = served.call("--offline", wheels)
    assert failed.returncode == 1
    assert told in failed.stderr and "versions/1.0-" in failed.stderr.splitlines()[-1]  # what stays is named
    assert everything_below(served.folder) == before
    assert served.version() == "1.0"


def test_an_installation_from_before_there_were_versions_can_be_rolled_back_to(machine: Machine) -> None:
    old = machine.prefix / ".venv/bin/station"
    old.parent.mkdir(parents=True)
    old.write_text(WORKS.replace("{version}", "0.9"))
    old.chmod(0o755)
    machine.install("--offline", machine.wheels("1.0"))
    assert machine.version() == "1.0"
    machine.install("--roll-back")
    assert machine.version() == "0.9"
    machine.install("--uninstall")
    assert not machine.prefix.exists()


@needs_systemd
def test_uninstalling_leaves_what_is_not_its_own(machine: Machine) -> None:
    machine.install("--service", "--offline", machine.wheels("1.0"))
    own = machine.units / "station.service.d/override.conf"
    own.write_text("[Service]\nNice=5\n")
    notes = machine.prefix / "notes.txt"
    notes.write_text("password of the share: see the safe")
    other = machine.units / "another.service"
    other.write_text("[Service]\nExecStart=/bin/true\n")
    told = machine.install("--uninstall")
    assert "kept: /var/lib/wbc-station" in told
    left = {path for path in (*machine.units.rglob("*"), *machine.prefix.rglob("*")) if not path.is_dir()}
    assert left == {own, notes, other}
    machine.install("--uninstall")  # and again


def test_units_of_another_installation_stay(served: Machine, tmp_path: Path) -> None:
    before = everything_below(served.folder)
    served.install("--uninstall", "--prefix", tmp_path)
    assert everything_below(served.folder) == before


@pytest.mark.parametrize(
    "options",
    [
        ("--extras",),
        ("--unknown",),
        ("--gpu",),
        ("--roll-back", "--uninstall"),
        ("--uninstall", "--service"),
        ("--service", "--extras", "openvino,tensorrt"),
        ("--service", "--prefix", "/opt/my station"),
        ("--offline", "no-such-folder"),
    ],
)
def test_wrong_usage_is_refused(machine: Machine, options: tuple[str, ...]) -> None:
    before = everything_below(machine.folder)
    assert machine.call(*options).returncode == 2
    assert everything_below(machine.folder) == before


# --- what is built from a clone ---

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_THE_PACKAGE = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "station/cli.py", "trainer/cli.py"}
LEFT_BY_OTHERS = {
    "build/lib/station/database/migrations/versions/0099_deleted_since.py",
    "wbc_station.egg-info/SOURCES.txt",
    "station/__pycache__/deleted.cpython-312.pyc",
}
FAKE_PIP = """
case "$1 $2" in
    "-m pip") ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && cp /bin/true "$3/bin/station" && exit ;;
    *) exit 0 ;;
esac
printf '%s\\n' "$@" > "$TOLD/arguments"
for last; do :; done
last=${last%[[]*}
[ -d "$last" ] || exit 0
(cd "$last" && find * -type f) > "$TOLD/packed"
touch "$last/left-by-setuptools"
[ "$5" != wheel ] || touch "$8/wbc_station-1.0-py3-none-any.whl"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """In it somebody has built before."""
    made = tmp_path / "a clone"
    for name in OF_THE_PACKAGE | LEFT_BY_OTHERS:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).touch()
    (made / "deploy").mkdir()
    for path in (*(ROOT / "deploy").glob("*.sh"), ROOT / "deploy/constraints.txt"):
        shutil.copy(path, made / "deploy")
    return made


def made_from(clone: Path, script: str, *options: object, **environment: str) -> None:
    """By a pip that writes down what it is told and what it is given to pack."""
    python = program(clone.parent / "a python/python3", FAKE_PIP)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "TOLD": str(clone.parent), **environment}
    line = ["sh", str(clone / "deploy" / script), *map(str, options)]
    told = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("script", ["install.sh", "wheelhouse.sh"])
def test_what_an_earlier_build_left_in_the_clone_is_not_packed(clone: Path, script: str) -> None:
    before = everything_below(clone)
    there, python, rest = clone.parent / "there", clone.parent / "a python/python3", clone.parent / "temporary"
    rest.mkdir()
    installing = ("--prefix", there, "--python", python, "--extras", "openvino")
    made_from(clone, script, *(installing if script == "install.sh" else (there,)), TMPDIR=str(rest))
    assert set((clone.parent / "packed").read_text().splitlines()) == OF_THE_PACKAGE
    assert everything_below(clone) == before
    assert not list(rest.iterdir()) and not list(there.rglob("left-by-setuptools"))


def test_all_that_the_package_reads_is_packed() -> None:
    """An editable installation has every file; a wheel those that the patterns name, found as setuptools does."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    for package, patterns in told.items():
        home = ROOT / package
        named = {path for pattern in patterns for path in home.glob(pattern)}
        files = {path for path in home.rglob("*") if path.is_file() and path.suffix not in (".py", ".md", ".pyc")}
        assert files and files == {path for path in named if path.is_file()}


OLD_NAMES = {f"manylinux{name}_x86_64" for name in ("2014", "2010", "1")}


@pytest.mark.parametrize(
    ("platform", "taken"),
    [
        ("manylinux_2_28_aarch64", {f"manylinux_2_{n}_aarch64" for n in range(17, 29)} | {"manylinux2014_aarch64"}),
        ("manylinux_2_34_x86_64", {f"manylinux_2_{n}_x86_64" for n in range(5, 35)} | OLD_NAMES),
        ("manylinux_2_5_x86_64", {"manylinux_2_5_x86_64", "manylinux1_x86_64"}),
        ("manylinux2014_aarch64", {"manylinux2014_aarch64"}),
        ("", set()),
    ],
)
def test_wheels_for_an_older_glibc_are_taken_too(clone: Path, platform: str, taken: set[str]) -> None:
    made_from(clone, "wheelhouse.sh", clone.parent / "house", PLATFORM=platform, PYTHON_VERSION="3.12")
    told = (clone.parent / "arguments").read_text().splitlines()
    assert {told[place + 1] for place, word in enumerate(told) if word == "--platform"} == taken
    assert ("--only-binary=:all:" in told, "3.12" in told) == (bool(platform), bool(platform))


def test_a_wheelhouse_holds_the_newest_station_alone(tmp_path: Path) -> None:
    python = program(
        tmp_path / "a python" / "python3",
        '[ "$1 $2" = "-m pip" ] || exit 1\n'
        "for last; do :; done\n"
        'case $5 in wheel) touch "$8/wbc_station-$VERSION-py3-none-any.whl" ;; *) [ -f "$last" ] ;; esac',
    )
    house = tmp_path / "the wheelhouse"
    house.mkdir()
    (house / "numpy-2.3-cp312.whl").touch()
    for version in ("0.9", "0.10"):
        environment = {"PATH": os.environ["PATH"], "PYTHON": str(python), "VERSION": version}
        line = ["sh", str(ROOT / "deploy/wheelhouse.sh"), str(house)]
        told = subprocess.run(line, capture_output=True, text=True, timeout=60, env=environment)
        assert told.returncode == 0, told.stderr
    assert {path.name for path in house.iterdir()} == {"numpy-2.3-cp312.whl", "wbc_station-0.10-py3-none-any.whl"}


# --- units ---


def _analyze(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    line = ["systemd-analyze", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def _exposure(machine: Machine, unit: str) -> float:
    told = _analyze("security", "--offline=true", f"--root={machine.image}", unit).stdout
    found = re.search(r"Overall exposure level.*?: ([\d.]+)", told)
    assert found, told
    return float(found[1])


def _lines(unit: str) -> set[str]:
    text = (ROOT / "systemd" / unit).read_text(encoding="utf-8")
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def _says(unit: str, key: str) -> bool:
    return any(line.startswith(f"{key}=") for line in _lines(unit))


@needs_systemd
def test_systemd_finds_no_fault_with_the_units(served: Machine) -> None:
    units = [path for path in served.units.iterdir() if path.suffix in {".service", ".timer"}]
    assert {path.name for path in units} >= {DAEMON, *SHORT, "station-report.timer", "station-backup.timer"}
    told = _analyze("verify", "--man=no", *units, SYSTEMD_UNIT_PATH=f"{served.units}:")
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


@needs_systemd
def test_the_units_expose_little(served: Machine) -> None:
    exposed = {unit: _exposure(served, unit) for unit in (DAEMON, *SHORT)}
    assert max(exposed.values()) <= MOST_EXPOSED
    assert max(exposed[unit] for unit in SHORT) < exposed[DAEMON]


@needs_systemd
def test_the_score_of_a_gpu_is_the_documented_one(served: Machine, tmp_path: Path) -> None:
    shutil.copytree(served.image, tmp_path / "image", symlinks=True)
    with_gpu = Machine(served.folder, tmp_path / "image")
    with_gpu.install("--service", "--gpu", "--offline", served.folder / "stick-1.0")
    tight, loose = _exposure(served, DAEMON), _exposure(with_gpu, DAEMON)
    assert tight < loose <= MOST_EXPOSED
    stated = re.search(r"scores ([\d.]+), with it ([\d.]+)", (ROOT / "deploy/gpu.md").read_text(encoding="utf-8"))
    assert stated and (float(stated[1]), float(stated[2])) == (loose, tight)


def test_nothing_hides_the_gpu_from_the_unit_that_may_have_one() -> None:
    hiding = ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute", "ProcSubset")
    assert not [key for key in (*hiding, "DynamicUser") if _says(DAEMON, key)]
    cpu = "station.service.d/cpu.conf"
    assert _says(cpu, "PrivateDevices") and not _says(cpu, "MemoryDenyWriteExecute")  # OpenVINO makes code


def test_the_daemon_comes_back_and_is_watched() -> None:
    assert _lines(DAEMON) >= {"Type=notify", "Restart=always", "StartLimitIntervalSec=0", "WatchdogSec=300"}


def test_no_unit_may_write_where_init_puts_the_camera() -> None:
    for unit in (DAEMON, "station-.service.d/tight.conf"):
        assert _lines(unit) >= {"ProtectSystem=strict", "ReadOnlyPaths=-/var/lib/wbc-station/camera"}


def test_installing_enables_what_starts_by_itself(served: Machine) -> None:
    wants = {path.name for path in served.units.glob("*.wants/*")}
    assert wants == {DAEMON, "station-report.timer", "station-backup.timer"}
    assert f"ExecStart={served.prefix}/current/bin/station run " in (served.units / DAEMON).read_text()


def test_the_share_lets_one_user_write_and_the_station_read() -> None:
    share = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",), strict=True)
    share.read(ROOT / "deploy/samba.conf", encoding="utf-8")
    (name,) = share.sections()
    told = share[name]
    assert (told["valid users"], told["guest ok"], told["read only"]) == ("camera", "no", "no")
    assert (told["oplocks"], told["level2 oplocks"], told["strict sync"]) == ("no", "no", "yes")
    for key in ("create mask", "force create mode", "directory mask", "force directory mode"):
        mode = int(told[key], 8)
        assert mode & 0o700 and not mode & 0o027, key  # the group reads, others do not
    assert told["force group"] == "wbc-station"


@pytest.mark.skipif(not shutil.which("testparm"), reason="Samba's testparm is not on this machine")
def test_samba_reads_the_share() -> None:
    told = subprocess.run(["testparm", "-s", ROOT / "deploy/samba.conf"], capture_output=True, text=True, timeout=60)
    assert "Loaded services file OK" in told.stderr and "Unknown parameter" not in told.stderr
