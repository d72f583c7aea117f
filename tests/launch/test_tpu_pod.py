"""launch/tpu_pod.sh with a stub of gcloud that plays a pod of one worker in a directory."""

import os
import shutil
import signal
import subprocess

import pytest

pytestmark = pytest.mark.endtoend
# `states` holds the machines' states in turn; the last one stays. Only ACTIVE machines answer.
GCLOUD = """
import shutil, subprocess

home, verb = folder / "home", arguments[3]
states = (folder / "states").read_text().split()
def become(text):
    (folder / "states.new").write_text(text)
    (folder / "states.new").rename(folder / "states")
if verb == "describe":
    become(" ".join(states[1:] or states))
    if states[0] == "NONE":
        sys.exit("ERROR: NOT_FOUND: no such queued resource")
    print(states[0])
elif verb == "create":
    shutil.rmtree(home, ignore_errors=True)
    become("WAITING_FOR_RESOURCES PROVISIONING ACTIVE")
elif verb == "delete":
    become("NONE")
elif states[0] != "ACTIVE":
    sys.exit(255)
elif verb == "scp":
    home.mkdir(exist_ok=True)
    shutil.copy(arguments[4], home)
elif verb == "ssh":
    command = next(a for a in arguments if a.startswith("--command=")).removeprefix("--command=")
    if "worker.sh setup" not in command:
        environment = {**os.environ, "HOME": str(home), "JAXIR_RUN": str(home / "run")}
        sys.exit(subprocess.run(["bash", "-c", command], cwd=home, env=environment).returncode)
"""
WHERE = ["--name=a-pod", "--zone=us-west4-a"]
OPTIONS = [*WHERE, "--accelerator=v5litepod-16", "--poll=0.02"]
FLAGS = ["--", "--config=dense", "--config.name=it's a b", "--workdir=/bucket/runs/a"]


@pytest.fixture
def pod(launch, stubs):
    stubs.add("gcloud", GCLOUD)

    def start(
        command,
        *arguments,
        states="ACTIVE",
        jaxir="print('trained to step 9 of 9 in a')",
        script="tpu_pod.sh",
        **more,
    ):
        (stubs.folder / "states").write_text(states)
        return launch(script, command, *arguments, JAXIR=str(stubs.add("jaxir", jaxir)), **more)

    return start


def steps(stubs):
    """What gcloud was asked to do, without the looks at the state."""
    shown = []
    for call in stubs.calls("gcloud"):
        verb = call[3]
        if verb == "ssh":
            verb = call[-1].removeprefix("--command=").removeprefix("jaxir/launch/worker.sh ").split()[0]
        if verb not in ("describe", "code"):
            shown.append(verb)
    return shown


def test_up_does_it_all(pod, stubs):
    done = pod("up", *OPTIONS, "--spot", "--bucket=gs://my-bucket", *FLAGS, states="NONE")
    assert done.returncode == 0, done.stderr
    assert steps(stubs) == ["create", "scp", "bash", "setup", "start", "follow", "delete"]
    assert stubs.calls("jaxir") == [["train", "--distributed=auto", *FLAGS[1:]]]
    assert "trained to step 9 of 9" in done.stderr
    create = next(c for c in stubs.calls("gcloud") if c[3] == "create")
    assert create == [
        "compute", "tpus", "queued-resources", "create", "a-pod", "--zone=us-west4-a", "--quiet",
        "--node-id=a-pod", "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite",
        "--spot",
    ]  # fmt: skip
    setup = next(c for c in stubs.calls("gcloud") if "setup" in c[-1])
    assert setup[3:] == [
        "ssh", "a-pod", "--zone=us-west4-a", "--quiet", "--worker=all",
        "--command=jaxir/launch/worker.sh setup my-bucket /bucket",
    ]  # fmt: skip
    assert "--force" in stubs.calls("gcloud")[-1]


def test_the_checkout_is_copied_as_it_is(pod, stubs, root):
    assert pod("copy", *WHERE).returncode == 0
    home = stubs.folder / "home" / "jaxir"
    assert (home / "jaxir" / "cli" / "train.py").is_file()
    assert os.access(home / "launch" / "worker.sh", os.X_OK)
    assert not (home / ".git").exists()


TAKEN_AWAY = """
def become(text):
    (folder / "states.new").write_text(text)
    (folder / "states.new").rename(folder / "states")
if sum(1 for _ in open(folder / "jaxir.calls")) == 1:
"""
FINISHED = "print('trained to step 9 of 9 in a')\n"


def test_an_unpacked_archive_is_copied_too(pod, stubs, root, tmp_path):
    shutil.copytree(root / "launch", tmp_path / "jaxir" / "launch")
    (tmp_path / "jaxir" / ".venv").mkdir()
    (tmp_path / "jaxir" / ".venv" / "large").touch()
    assert pod("copy", *WHERE, script=tmp_path / "jaxir" / "launch" / "tpu_pod.sh").returncode == 0
    home = stubs.folder / "home" / "jaxir"
    assert (home / "launch" / "worker.sh").is_file()
    assert not (home / ".venv").exists()


def test_goes_on_after_a_preemption(pod, stubs):
    # The training fails with one machine, and the state follows a little later.
    body = TAKEN_AWAY + "    become('ACTIVE ACTIVE ACTIVE SUSPENDED')\n    sys.exit(1)\n" + FINISHED
    done = pod("up", *OPTIONS, "--spot", *FLAGS, jaxir=body)
    assert done.returncode == 0, done.stderr
    first = ["scp", "bash", "setup", "start", "follow"]
    assert steps(stubs) == [*first, "delete", "create", *first, "delete"]
    assert "restart 1 of at most 100" in done.stderr
    assert stubs.calls("jaxir") == [["train", "--distributed=auto", *FLAGS[1:]]] * 2  # the same command


def test_a_preempted_training_that_saved_is_not_finished(pod, stubs):
    saved = "    print('trained to step 4 of 9')\n    sys.exit()\n"
    body = TAKEN_AWAY + "    become('ACTIVE ACTIVE SUSPENDED')\n" + saved + FINISHED
    done = pod("up", *OPTIONS, "--spot", *FLAGS, jaxir=body)
    assert done.returncode == 0, done.stderr
    assert len(stubs.calls("jaxir")) == 2


def test_machines_that_vanish_without_a_word(pod, stubs):
    # Nobody is left there to write down how it ended, while the next machines are at work already.
    gone = "    become('SUSPENDED')\n    os.kill(os.getppid(), 9)\n    time.sleep(1)\n    sys.exit(1)\n"
    body = TAKEN_AWAY + gone + FINISHED
    done = pod("up", *OPTIONS, "--spot", *FLAGS, jaxir=body)
    assert done.returncode == 0, done.stderr
    assert "the machines were taken away" in done.stderr


def test_restarts_end(pod, stubs):
    body = TAKEN_AWAY + "    pass\nbecome('SUSPENDED')\nsys.exit(1)\n"
    done = pod("up", *OPTIONS, "--spot", "--restarts=1", *FLAGS, jaxir=body)
    assert done.returncode == 1
    assert len(stubs.calls("jaxir")) == 2


def test_a_worker_that_does_not_answer(pod):
    done = pod("run", *OPTIONS, *FLAGS)  # nothing was copied
    assert done.returncode == 1
    assert "the training failed (lost)" in done.stderr


def test_a_mistake_is_not_repeated_and_the_machines_go_back(pod, stubs):
    done = pod("up", *OPTIONS, *FLAGS, jaxir="print('jaxir: there is no config x'); sys.exit(2)")
    assert done.returncode == 2
    assert steps(stubs)[-2:] == ["tail", "delete"]
    assert "jaxir: there is no config x" in done.stderr
    assert len(stubs.calls("jaxir")) == 1


def test_a_failure_keeps_the_machines_if_asked(pod, stubs):
    done = pod("up", *OPTIONS, "--keep", *FLAGS, jaxir="sys.exit(1)")
    assert done.returncode == 1
    assert "delete" not in steps(stubs)
    assert "cost money" in done.stderr


def test_stop_and_status_and_logs(pod, stubs):
    assert pod("copy", *WHERE).returncode == 0
    body = (
        "saved = lambda *_: (print('trained to step 3 of 9', flush=True), sys.exit(0))\n"
        "signal.signal(signal.SIGTERM, saved)\nprint('training', flush=True)\ntime.sleep(60)\n"
    )
    running = pod("run", *OPTIONS, *FLAGS, jaxir=body, wait=False)
    assert running.stderr.readline() == "training\n"
    assert pod("status", *WHERE).stdout.splitlines() == ["machines: ACTIVE", "running"]
    assert pod("logs", *WHERE, "--worker=all").stdout == "training\n"
    assert pod("stop", *WHERE).returncode == 0
    assert running.wait(30) == 75  # not finished: run goes on with it
    assert pod("logs", *WHERE).stdout.splitlines()[-1] == "trained to step 3 of 9"


def test_an_interrupted_run_leaves_the_training_alone(pod, stubs):
    assert pod("copy", *WHERE).returncode == 0
    body = "print('training', flush=True)\ntime.sleep(4)\nprint('trained to step 9 of 9', flush=True)\n"
    running = pod("run", *OPTIONS, *FLAGS, jaxir=body, wait=False)
    assert running.stderr.readline() == "training\n"
    os.killpg(running.pid, signal.SIGINT)  # what Ctrl-C does
    assert running.wait(30) == 130
    assert "The machines stay" in running.stderr.read()
    assert pod("status", *WHERE).stdout.splitlines()[-1] == "running"
    again = pod("run", *OPTIONS, *FLAGS, jaxir=body)
    assert again.returncode == 0
    assert len(stubs.calls("jaxir")) == 1


def test_a_request_that_fails(pod):
    done = pod("wait", *OPTIONS, states="PROVISIONING FAILED")
    assert done.returncode == 1
    assert "the request is FAILED" in done.stderr
    done = pod("wait", *OPTIONS, states="NONE")
    assert "there is no request a-pod" in done.stderr


def test_dry_run_runs_nothing(pod, stubs):
    done = pod("up", *OPTIONS, "--dry-run", "--project=mine", *FLAGS)
    assert done.returncode == 0
    assert not stubs.calls("gcloud")
    lines = done.stdout.splitlines()
    assert [line.split()[4] for line in lines] == [
        "create", "describe", "scp", "ssh", "ssh", "ssh", "ssh", "delete",
    ]  # fmt: skip
    assert all("--project=mine" in line for line in lines)
    # Read back by a shell, each line is the command; its --command, by the worker's shell, the flags.
    start = next(line for line in lines if " start " in line)
    words = subprocess.run(["bash", "-c", f"printf '%s\\n' {start}"], capture_output=True, text=True).stdout
    remote = words.splitlines()[-1].removeprefix("--command=")
    flags = subprocess.run(["bash", "-c", f"printf '%s\\n' {remote}"], capture_output=True, text=True).stdout
    assert flags.splitlines()[-3:] == FLAGS[1:]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", *WHERE], "create needs --accelerator"),
        (["create", *WHERE, "--accelerator=v9-8"], "give --runtime=VERSION for v9-8"),
        (["run", *WHERE], "run needs the training's flags after --"),
        (["up", *OPTIONS], "up needs the training's flags after --"),
        (["up", *OPTIONS, "--", "--config=dense"], "give --workdir=/bucket/..."),
        (["up", *OPTIONS, "--", "--workdir=gs://a/b"], "not an address: --workdir=gs://a/b"),
        (["up", *OPTIONS, "--bucket=b", "--", "--workdir=runs/a"], "--workdir=runs/a is not below --mount"),
        (["create", "--name=a"], "create needs --name=NAME and --zone=ZONE"),
    ],
)
def test_what_is_missing(pod, stubs, arguments, sentence):
    done = pod(*arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not stubs.calls("gcloud")
