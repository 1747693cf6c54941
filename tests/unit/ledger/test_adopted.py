import stat
from pathlib import Path

import pytest

from deployer import ledger
from deployer.errors import BadInputError, StateError
from deployer.paths import Home
from deployer.types import Adopted, Bundle, Plan

THERE = Adopted(name="desk", base_url="http://127.0.0.1:1234/v1", model="demo", models=("demo", "other"))


def test_the_record_and_a_closed_copy_of_the_key_are_kept(home: Home) -> None:
    kept = ledger.adopt(home, THERE, "sk-1 \n")
    assert ledger.adopted(home, "desk") == kept
    assert ledger.all_adopted(home) == (kept,)
    assert (kept.base_url, kept.model, kept.user is not None, kept.adopted_at != "") == (
        THERE.base_url,
        "demo",
        True,
        True,
    )
    key = Path(kept.key_file or "")
    assert key == ledger.key_path(home, "desk")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ledger.read_key(home, "desk") == "sk-1"
    assert "sk-1" not in (home.deployments / "desk" / "adopted.json").read_text()


def test_without_a_key_none_is_kept(home: Home) -> None:
    assert ledger.adopt(home, THERE, None).key_file is None
    assert not home.secrets.exists()


def test_it_is_no_deployment_of_ours(home: Home) -> None:
    ledger.adopt(home, THERE, None)
    assert ledger.deployments(home) == ()
    assert ledger.known_plan(home, "desk") is None


def test_forgetting_leaves_nothing(home: Home) -> None:
    ledger.adopt(home, THERE, "sk-1")
    ledger.forget_adopted(home, "desk")
    assert ledger.adopted(home, "desk") is None
    assert list(home.deployments.iterdir()) == []
    assert list(home.secrets.iterdir()) == []
    ledger.forget_adopted(home, "desk")


def test_a_name_is_given_once(home: Home, plan: Plan) -> None:
    ledger.adopt(home, THERE, "sk-1")
    with pytest.raises(BadInputError, match="desk"):
        ledger.adopt(home, THERE, "sk-2")
    assert ledger.read_key(home, "desk") == "sk-1"
    ledger.create(home, plan, Bundle(files={}))
    with pytest.raises(BadInputError, match=plan.name):
        ledger.adopt(home, Adopted(name=plan.name, base_url="http://a/v1", model="m"), None)


def test_whatever_has_a_folder_has_the_name(home: Home) -> None:
    folder = home.deployments / "gateway"
    folder.mkdir(parents=True)
    (folder / "adopted.json.corrupt-1").write_text("{")
    ledger.adopt(home, Adopted(name="gateway", base_url="http://a/v1", model="m"), None)
    ledger.forget_adopted(home, "gateway")
    (folder / "gateway.json").write_text("{}")
    with pytest.raises(BadInputError, match="gateway"):
        ledger.adopt(home, Adopted(name="gateway", base_url="http://a/v1", model="m"), "key")
    assert not ledger.key_path(home, "gateway").exists()


@pytest.mark.parametrize("name", ["../x", "A", "", "a/b"])
def test_a_name_cannot_leave_its_folder(name: str, home: Home) -> None:
    with pytest.raises(BadInputError):
        ledger.adopt(home, Adopted(name=name, base_url="http://a/v1", model="m"), None)
    assert not home.deployments.exists()


@pytest.mark.parametrize("key", ["", "two words", "käse", "a\nb", "x" * 600])
def test_what_is_no_key_is_refused_and_nothing_is_kept(key: str, home: Home) -> None:
    with pytest.raises(BadInputError, match="key") as caught:
        ledger.adopt(home, THERE, key)
    assert ledger.adopted(home, "desk") is None
    assert not key or key not in caught.value.message


def test_a_damaged_record_is_set_aside_and_the_others_are_still_read(home: Home) -> None:
    ledger.adopt(home, THERE, None)
    ledger.adopt(home, Adopted(name="other", base_url="http://a/v1", model="m"), None)
    path = home.deployments / "desk" / "adopted.json"
    path.write_text("{")
    assert [record.name for record in ledger.all_adopted(home)] == ["other"]
    path.write_text("[]")
    with pytest.raises(StateError, match="damaged"):
        ledger.adopted(home, "desk")


def test_a_record_of_a_newer_version_is_left_alone(home: Home) -> None:
    ledger.adopt(home, THERE, None)
    path = home.deployments / "desk" / "adopted.json"
    path.write_text('{"format_version": 99}')
    with pytest.raises(StateError, match="newer"):
        ledger.adopted(home, "desk")
    assert path.read_text() == '{"format_version": 99}'
