"""runner/install on a clean Debian host with systemd: it makes the host ready, does nothing twice, and the
units run an update under all of their hardening. runner/uninstall takes it all back.

The tests share one host and go in the order in which they stand: the one that uninstalls comes last."""

import hashlib
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.integration.clean_host import Host
from tests.integration.world import PREFIX, Broom, Cluster, World, eventually

USER = "dual-update"
UNITS = ("orchestrator-update.service", "orchestrator-update.timer")
TOKEN = "AREGISTRATIONTOKEN0123456789"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def bare_host(engine: None, broom: Broom, places: Path) -> Iterator[Host]:
    host = Host("runner", places)
    yield host
    host.close()


@pytest.fixture(scope="module")
def host(bare_host: Host) -> Host:
    """The host after its first installation; what that said is in /srv/first-install. Its timer never fires:
    a look in the middle of a test would be one too many."""
    never = "[Timer]\nOnBootSec=\nOnCalendar=2099-01-01\n"
    bare_host.write("/etc/systemd/system/orchestrator-update.timer.d/never.conf", never)
    said = bare_host.run("/source/runner/install", seconds=400)
    bare_host.write("/srv/first-install", said)
    return bare_host


def test_a_bare_host_becomes_ready_and_says_each_step(host: Host) -> None:
    said = host.run("cat /srv/first-install")
    for words in (
        "engine: already here, not touched",
        "user: making dual-update",
        "user: adding dual-update to the group docker",
        "state: making /var/lib/dual-update (2770, dual-update:dual-update)",
        "hashes checked",
        "systemd: enabling orchestrator-update.timer",
    ):
        assert words in said
    assert said.splitlines()[-1].startswith("install: ready")
    assert host.run("stat -c '%a %U %G' /var/lib/dual-update") == "2770 dual-update dual-update"
    assert host.run("stat -c '%a %U %G' /etc/dual-update") == "750 root dual-update"
    assert set(host.run(f"id -nG {USER}").split()) == {"dual-update", "docker"}
    assert host.run(f"getent passwd {USER}").endswith("/srv/dual-update:/usr/sbin/nologin")
    assert re.fullmatch(r"\d+\.\d+\.\d+", host.run("cd / && dual-update --version", user=USER))
    plugin = "/usr/local/lib/docker/cli-plugins/docker-compose"
    assert host.run(f"{plugin} version --short", user=USER).startswith("2.")


def test_what_the_user_needs_is_there_by_the_doctor(host: Host) -> None:
    host.run("git init -q -b main /srv/dual-update/doctor", user=USER)
    said = host.run("dual-update doctor --repo /srv/dual-update/doctor", user=USER)
    assert "BAD" not in said
    assert "/var/lib/dual-update is writable" in said


def test_a_second_installation_changes_nothing(host: Host) -> None:
    before = _footprint(host)
    said = host.run("/source/runner/install")
    changed = [line for line in said.splitlines() if "already" not in line]
    assert [line.partition(":")[2].partition(":")[0].strip() for line in changed] == ["ready"]
    assert _footprint(host) == before


def test_an_installation_that_dies_half_way_leaves_the_one_before(host: Host) -> None:
    """Another release of the program, and no package can be had: the old one goes on working."""
    current = host.run("readlink /opt/dual-update/current")
    host.run("rm -rf /srv/newer && cp -a /source /srv/newer && echo >>/srv/newer/src/dual_update/__init__.py")
    done = host.try_run(
        "PIP_INDEX_URL=http://127.0.0.1:9/ PIP_RETRIES=0 PIP_FIND_LINKS= /srv/newer/runner/install"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("install: the program could not be installed")
    assert host.run("readlink /opt/dual-update/current") == current
    assert host.run("dual-update --version", user=USER)
    host.run("/source/runner/install && rm -rf /srv/newer")


def test_units_are_right_and_each_command_runs_as_the_user(host: Host) -> None:
    done = host.try_run(f"systemd-analyze verify {' '.join(UNITS)}")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    exposure = host.run("systemd-analyze security --no-pager orchestrator-update.service").splitlines()[-1]
    assert float(re.findall(r"\d+\.\d+", exposure)[0]) <= 2.5, exposure
    assert host.run("systemctl is-active orchestrator-update.timer") == "active"
    assert "orchestrator-update" in host.run("systemctl list-timers --no-pager")
    command = host.run("systemctl show --value --property ExecStart orchestrator-update.service")
    argv = re.findall(r"argv\[\]=(.*?) ;", command)
    assert len(argv) == 1
    assert "names no cluster" in host.run(argv[0], user=USER)


# --- the timer's service, with a cluster ----------------------------------------------------------


class Shop:
    """A cluster on the host: a bare repository, a laptop that pushes, the checkout that is deployed."""

    def __init__(self, host: Host, world: World) -> None:
        self.host, self.images = host, world.images
        self.port = world.free_port()
        project = f"{PREFIX}shop"
        self.home = f"/srv/dual-update/{self.images.ref('x').rpartition('/')[0].rpartition('/')[2]}"
        self.checkout, self.laptop = f"{self.home}/{project}", f"{self.home}/laptop"
        self.cluster = Cluster(Path(self.checkout), world.engine)
        identity = "git config --global user.name Ada; git config --global user.email ada@example.org; "
        self.git(
            f"{identity} mkdir -p {self.home} && cd {self.home} && git init -q --bare -b main origin.git"
            f" && for clone in laptop {project}; do git clone -q origin.git $clone 2>/dev/null; done"
        )

    def git(self, command: str) -> str:
        return self.host.run(command, user=USER)

    def push(self, image: str, config: str = "driver: service\n", extra: str = "") -> None:
        compose = f'services:\n  web:\n    image: "{image}"\n    ports: ["127.0.0.1:{self.port}:80"]\n{extra}'
        policy = f"health:\n  settle_seconds: 0.5\n  deadline_seconds: 60\n{config}"
        for path, text in (("compose.yml", compose), (".github/dual-update.yml", policy)):
            self.host.write(f"{self.laptop}/{path}", text, owner=f"{USER}:{USER}")
        self.host.run(f"chown -R {USER}:{USER} {self.laptop}")
        self.git(
            f"cd {self.laptop} && git add -A && git commit -q -m change && git push -q -u origin HEAD:main"
        )

    def deploy(self) -> None:
        self.git(
            f"git -C {self.checkout} pull -q origin main && git -C {self.checkout} branch -q -u origin/main"
        )
        self.git(f"cd {self.checkout} && dual-update apply --auto")

    def look(self, auto: str = "true") -> int:
        """One start of the service; its exit code."""
        self.host.run(f"sed -i 's/^AUTO_APPROVE=.*/AUTO_APPROVE={auto}/' /etc/dual-update/*.env")
        self.host.try_run("systemctl start orchestrator-update.service")
        return int(
            self.host.run("systemctl show --value --property ExecMainStatus orchestrator-update.service")
        )


@pytest.fixture
def shop(host: Host, world: World, broom: Broom) -> Iterator[Shop]:
    shop = Shop(host, world)
    yield shop
    host.run(f"rm -rf /etc/dual-update/*.env {shop.home}")
    broom.sweep(lambda project: project == shop.cluster.project)


def test_the_timer_looks_and_applies_only_what_it_may(host: Host, shop: Shop, world: World) -> None:
    one, two, three = (shop.images.push(f"web:{n}", f"web {n}").ref for n in (1, 2, 3))
    shop.push(one, config="")
    shop.deploy()
    host.run(f"/source/runner/install --checkout {shop.checkout}")
    assert "AUTO_APPROVE=false" in host.run("cat /etc/dual-update/*.env")

    shop.push(two, config="")
    before = shop.cluster.running_hash()
    # An administrator who looks as root leaves nothing that the user cannot write to.
    assert "web" in host.run(f"cd {shop.checkout} && dual-update status")
    assert "Images only" in host.run(f"cd /root && dual-update plan --repo {shop.checkout}")
    assert host.run(f"find {shop.checkout} /var/lib/dual-update ! -user {USER}") == ""
    assert shop.look("false") == 0
    journal = host.journal(UNITS[0])
    assert "an update waits (image_only)" in journal
    assert "not applied, AUTO_APPROVE is not true" in journal
    assert shop.look("true") == 0
    assert "says who drives, and that is 'runner'" in host.journal(UNITS[0])
    assert shop.cluster.running_hash() == before

    shop.push(two)
    assert shop.look() == 0
    assert world.http_get(shop.port).body == "web 2"
    assert "succeeded" in host.journal(UNITS[0])
    owners = host.run("find /var/lib/dual-update ! -group dual-update | head")
    assert owners == ""

    shop.push(three, extra="    environment: {MODE: other}\n")
    before = shop.cluster.running_hash()
    assert shop.look() == 0
    assert "only changes of images are applied without a person" in host.journal(UNITS[0])
    assert shop.cluster.running_hash() == before
    # The command that it shows is the one that does it.
    shown = re.findall(rf"By hand: sudo -u {USER} (dual-update .*)", host.journal(UNITS[0]))[-1]
    host.run(f"{shown} --auto", user=USER)
    assert world.http_get(shop.port).body == "web 3"


def test_a_broken_image_is_taken_back_under_the_hardening(host: Host, shop: Shop, world: World) -> None:
    good, bad = shop.images.push("web:1", "web 1").ref, shop.images.push("web:2", flavour="crash").ref
    shop.push(good)
    shop.deploy()
    host.run(f"/source/runner/install --checkout {shop.checkout}")
    shop.push(bad)
    assert shop.look() == 1
    assert host.run("systemctl is-failed orchestrator-update.service || true") == "failed"
    assert "rolled_back" in host.journal(UNITS[0])
    assert world.http_get(shop.port, within_seconds=10).body == "web 1"
    host.run("systemctl reset-failed orchestrator-update.service")


def test_a_stop_takes_a_running_update_back(host: Host, shop: Shop, world: World) -> None:
    """`systemctl stop`, as at a shutdown: the program is asked, and systemd waits for its answer."""
    good = shop.images.push("web:1", "web 1").ref
    slow = shop.images.push("web:2", "web 2", flavour="slow", seconds=40).ref
    shop.push(good)
    shop.deploy()
    host.run(f"/source/runner/install --checkout {shop.checkout}")
    shop.push(slow)
    host.run("sed -i 's/^AUTO_APPROVE=.*/AUTO_APPROVE=true/' /etc/dual-update/*.env")
    host.run("systemctl start --no-block orchestrator-update.service")
    eventually(lambda: "roll web" in host.journal(UNITS[0]), within_seconds=60)
    eventually(lambda: slow in {one.image for one in shop.cluster.containers()}, within_seconds=30)
    refused = host.try_run("/source/runner/uninstall")
    assert (refused.returncode, "is at work" in refused.stderr) == (1, True)
    host.run("systemctl stop orchestrator-update.service")
    assert world.http_get(shop.port, within_seconds=5).body == "web 1"
    assert host.run("systemctl is-failed orchestrator-update.service || true") == "inactive"
    assert "Nothing to recover" in host.run(f"cd {shop.checkout} && dual-update recover", user=USER)


def test_the_reader_of_compose_files_is_confined_inside_the_unit_too(host: Host) -> None:
    """A filter of system calls that forgets Landlock would silently take a wall away."""
    ask = "from dual_update.adapters.sandbox import version; print(version())"
    host.write(
        "/etc/systemd/system/orchestrator-update.service.d/ask.conf",
        f'[Service]\nExecStart=\nExecStart=/opt/dual-update/current/venv/bin/python -I -c "{ask}"\n',
    )
    host.run("systemctl daemon-reload && systemctl start orchestrator-update.service")
    inside = host.journal(UNITS[0])
    host.run("rm /etc/systemd/system/orchestrator-update.service.d/ask.conf && systemctl daemon-reload")
    outside = host.run(f'/opt/dual-update/current/venv/bin/python -I -c "{ask}"', user=USER)
    assert f"\n{outside}\n" in inside


# --- the GitHub runner ----------------------------------------------------------------------------

CONFIG_SH = """\
#!/bin/sh
# A stand-in for the runner's own config.sh: notes what it was given and where the token could be seen.
cd "$(dirname "$0")"
printf '%s\\n' "$*" >given
id -un >>given
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >lines
awk '{ n += index($0, ENVIRON["ACTIONS_RUNNER_INPUT_TOKEN"]) } END { print n + 0 }' lines >seen
[ "$1" = remove ] && { cp given /srv/dual-update/removed; exit 0; }
[ "$ACTIONS_RUNNER_INPUT_TOKEN" = WRONG ] && { echo "bad token $ACTIONS_RUNNER_INPUT_TOKEN" >&2; exit 1; }
printf '%s' "$ACTIONS_RUNNER_INPUT_TOKEN" | sha256sum | cut -d' ' -f1 >.runner
"""
RUNNER = "/srv/dual-update/actions-runner"
RUN_SH = """\
#!/bin/sh
# And for its run.sh: takes one job, hands a stop on to it as a cancel, and waits for it.
id -un >running
printf %s "$DUAL_UPDATE_STATE_DIR" >>running
[ -e job ] || exec sleep 600
mv job begun
sh ./begun &
trap 'kill -INT $!; wait; exit 0' TERM
wait
exec sleep 600
"""


def archive() -> bytes:
    """What GitHub offers for download, as far as an installation sees it."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, text in (("./config.sh", CONFIG_SH), ("./run.sh", RUN_SH)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid = len(text), 0o755, 4321
            tar.addfile(entry, BytesIO(text.encode()))
    return made.getvalue()


def register(host: Host, places: Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    (places / "source" / "runner.tar.gz").write_bytes(archive())
    host.run("git init -q -b main /srv/dual-update/deployed", user=USER)
    flags = "--url https://github.com/o/r --token-file - --checkout /srv/dual-update/deployed"
    install = f"/source/runner/install --runner-archive /source/runner.tar.gz {flags}"
    return host.try_run(install, stdin=f"{token}\n")


def test_a_runner_is_registered_without_showing_its_token(host: Host, places: Path) -> None:
    wrong = register(host, places, "WRONG")
    assert wrong.returncode == 1
    assert "could not be registered" in wrong.stderr
    assert "WRONG" not in wrong.stdout + wrong.stderr
    assert host.run("grep -rl WRONG /tmp /srv/dual-update 2>/dev/null | grep -v config.sh || true") == ""

    done = register(host, places)
    assert (done.returncode, TOKEN in done.stdout + done.stderr) == (0, False)
    folder = RUNNER
    given = host.run(f"cat {folder}/given").splitlines()
    assert "--unattended" in given[0]
    assert "--url https://github.com/o/r" in given[0]
    assert "--labels dual-update" in given[0]
    assert given[1] == USER
    assert host.run(f"cat {folder}/seen") == "0"
    assert host.run(f"cat {folder}/.env") == "CLUSTER_PATH=/srv/dual-update/deployed"
    assert host.run(f"cat {folder}/.runner") == hashlib.sha256(TOKEN.encode()).hexdigest()
    eventually(lambda: host.try_run(f"cat {folder}/running").stdout == f"{USER}\n/var/lib/dual-update")
    assert host.run("systemctl is-active dual-update-runner.service") == "active"
    done = host.try_run("systemd-analyze verify dual-update-runner.service")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "already registered" in register(host, places, "another").stdout


def test_a_deploy_job_outlives_its_runner(host: Host, places: Path, shop: Shop, world: World) -> None:
    """Killed, the runner leaves the deploy to its worker. Stopped, it cancels, and the worker goes back."""
    one = shop.images.push("web:1", "web 1").ref
    two, three = (shop.images.push(f"web:{n}", f"web {n}", flavour="slow", seconds=8).ref for n in (2, 3))
    register(host, places)
    shop.push(one)
    shop.deploy()

    def newest() -> tuple[str, str]:
        said = host.run(f"cd {shop.checkout} && dual-update history --limit 1 --format json", user=USER)
        (run,) = json.loads(said)["runs"]
        return run["run"], run["outcome"]

    first = newest()

    def job(image: str) -> None:
        shop.push(image)
        order = f"cd {shop.checkout} && exec dual-update apply --auto --worker\n"
        host.write(f"{RUNNER}/job", order, owner=f"{USER}:{USER}")
        host.run("systemctl restart dual-update-runner.service")
        eventually(lambda: image in {c.image for c in shop.cluster.containers()}, within_seconds=60)

    job(two)
    host.run("systemctl kill --kill-who main --signal KILL dual-update-runner.service")
    eventually(lambda: newest() != first and newest()[1] == "succeeded", within_seconds=60)
    assert world.http_get(shop.port, within_seconds=5).body == "web 2"

    job(three)
    host.run("systemctl stop dual-update-runner.service")
    eventually(lambda: newest()[1] == "rolled_back", within_seconds=60)
    assert world.http_get(shop.port, within_seconds=10).body == "web 2"
    host.run("systemctl start dual-update-runner.service")


# --- and back -------------------------------------------------------------------------------------


def test_uninstalling_takes_everything_back_and_keeps_the_state(host: Host, places: Path) -> None:
    register(host, places)
    host.run("touch /var/lib/dual-update/kept")
    said = host.run("/source/runner/uninstall --token-file -", stdin="REMOVAL\n")
    assert "taking it off GitHub" in said
    assert host.run("head -1 /srv/dual-update/removed") == "remove"
    for gone in (
        "/opt/dual-update",
        "/usr/local/bin/dual-update",
        "/usr/local/lib/docker/cli-plugins/docker-compose",
        "/srv/dual-update/actions-runner",
        *(f"/etc/systemd/system/{unit}" for unit in (*UNITS, "dual-update-runner.service")),
        "/etc/systemd/system/timers.target.wants/orchestrator-update.timer",
        "/etc/systemd/system/multi-user.target.wants/dual-update-runner.service",
        "/etc/systemd/system/orchestrator-update.service.d",
    ):
        assert host.try_run(f"test -e {gone} || test -L {gone}").returncode == 1, gone
    assert host.run("ls /var/lib/dual-update/kept /etc/dual-update -d")
    assert "no unit" in host.run(
        "systemctl list-timers --no-pager | grep -c orchestrator-update || echo no unit"
    )
    again = host.run("/source/runner/uninstall").splitlines()
    assert not [line for line in again if "removing" in line]

    kept = host.run("/source/runner/uninstall --purge")
    assert "is not empty, so it and its owner" in kept
    host.run("rm -rf /srv/dual-update/* /srv/dual-update/.[a-z]*")
    host.run("/source/runner/uninstall --purge")
    assert host.try_run("ls -d /var/lib/dual-update /etc/dual-update /srv/dual-update").stdout == ""
    assert host.try_run(f"getent passwd {USER}; getent group {USER}").stdout == ""


def test_an_engine_is_installed_where_there_is_none(engine: None, broom: Broom, places: Path) -> None:
    """Really installed, not started: no systemd runs. And no package index: a sentence, and nothing half."""
    host = Host("bare", places, has_engine=False, has_systemd=False)
    try:
        done = host.try_run(
            "PIP_INDEX_URL=http://127.0.0.1:9/ PIP_RETRIES=0 /source/runner/install", seconds=400
        )
        assert "engine: installing docker.io and iptables" in done.stdout
        assert "systemd does not run here; start dockerd yourself" in done.stdout
        assert "adding dual-update to the group docker" in done.stdout
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            1,
            "install: the program could not be installed; is the package index reachable?",
        )
        assert host.run("command -v dockerd docker iptables")
        assert host.try_run("test -e /opt/dual-update/current").returncode == 1
        assert "not root" not in done.stdout
        refused = host.try_run("/source/runner/install", user="daemon")
        assert (refused.returncode, refused.stderr) == (
            1,
            "install: only root can do this; run it with sudo.\n",
        )
        assert "it stays, clusters run on it" in host.run("/source/runner/uninstall --purge")
        assert host.run("command -v dockerd")
    finally:
        host.close()


def test_wrong_usage_is_said_before_anything_is_done(engine: None, broom: Broom, bare_host: Host) -> None:
    for flags, words in (
        ("--what", "unknown option --what"),
        ("--checkout", "--checkout needs a value"),
        ("--checkout relative", "is not absolute"),
        ("--checkout '/srv/a b'", "characters that unit files read in their own way"),
        ("--checkout /etc", "is not a git checkout"),
        ("--url https://github.com/o/r", "together"),
        ("--runner-archive /nowhere --url https://x --token-file -", "is not a file"),
    ):
        done = bare_host.try_run(f"/source/runner/install {flags}")
        assert (done.returncode, words in done.stderr) == (2, True), done
    assert bare_host.try_run("/source/runner/uninstall --what").returncode == 2


def _footprint(host: Host) -> str:
    """Every file that an installation may touch, with its time, mode and owner."""
    return host.run(
        "find /opt/dual-update /etc/dual-update /etc/systemd /usr/local /var/lib/dual-update /srv/dual-update"
        " /etc/passwd /etc/group ! -name '*.pyc' ! -name __pycache__ -printf '%p %T@ %m %u %g\\n' | sort"
    )
