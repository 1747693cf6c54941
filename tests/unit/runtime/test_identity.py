import os
import signal
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from deployer.runtime.identity import Identity, alive, end, identify, send, wait_gone


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def known(pid: int) -> Identity:
    found = identify(pid)
    assert found is not None
    return found


def test_a_process_is_itself() -> None:
    me = known(os.getpid())
    assert alive(me)
    assert me.started_ticks > 0
    assert len(me.boot_id) == 36


def test_nobody_has_a_free_number() -> None:
    assert identify(2**22 + 1) is None
    assert not alive(None)


@pytest.mark.parametrize("changes", [{"started_ticks": 1}, {"boot_id": "another boot"}])
def test_a_stranger_with_our_old_number_is_never_signalled(
    stranger: subprocess.Popen[bytes], changes: dict[str, object]
) -> None:
    ours = msgspec.structs.replace(known(stranger.pid), **changes)
    assert not alive(ours)
    assert not send(ours, signal.SIGKILL)
    assert wait_gone(ours, 0)
    assert end(ours, grace_s=0)
    time.sleep(0.05)
    assert stranger.poll() is None


def test_the_very_process_is_ended(stranger: subprocess.Popen[bytes]) -> None:
    ours = known(stranger.pid)
    assert not wait_gone(ours, 0.05)
    assert end(ours, grace_s=60)
    assert stranger.wait(timeout=60) == -signal.SIGTERM


def test_one_that_ignores_the_request_is_killed() -> None:
    with subprocess.Popen(["sh", "-c", "trap '' TERM; echo; while :; do sleep 0.1; done"], stdout=-1) as deaf:
        assert deaf.stdout is not None
        deaf.stdout.readline()
        assert end(known(deaf.pid), grace_s=0.2)
        assert deaf.wait(timeout=60) == -signal.SIGKILL


def test_a_zombie_is_gone() -> None:
    with subprocess.Popen(["true"]) as process:
        ours_gone = time.monotonic() + 60
        while identify(process.pid) is not None and time.monotonic() < ours_gone:
            time.sleep(0.01)
        assert identify(process.pid) is None
