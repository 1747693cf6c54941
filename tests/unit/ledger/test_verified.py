from pathlib import Path
from typing import Any

import msgspec
import pytest

from deployer import ledger
from deployer.errors import StateError
from deployer.paths import Home
from deployer.types import VerifiedImage


def _image(entry: VerifiedImage, number: int, **changes: object) -> VerifiedImage:
    return msgspec.structs.replace(entry, image_id=f"sha256:{number:064d}", **changes)


def test_entries_come_newest_first_whatever_the_clock_said(home: Home, verified: VerifiedImage) -> None:
    years = ("2026", "2031", "2019", "2026")
    for number, year in enumerate(years):
        ledger.add_verified(home, _image(verified, number, verified_at=f"{year}-01-01T00:00:00Z"))
    assert [int(entry.image_id[-1]) for entry in ledger.entries(home)] == [3, 2, 1, 0]


def test_the_same_image_and_model_is_remembered_once(home: Home, verified: VerifiedImage) -> None:
    ledger.add_verified(home, _image(verified, 1))
    ledger.add_verified(home, _image(verified, 2))
    ledger.add_verified(home, _image(verified, 1, verified_at="later"))
    found = ledger.entries(home)
    assert [(int(entry.image_id[-1]), entry.verified_at) for entry in found] == [
        (1, "later"),
        (2, verified.verified_at),
    ]


def test_finding_by_recipe_or_any_recipe(home: Home, verified: VerifiedImage) -> None:
    ledger.add_verified(home, _image(verified, 1, recipe="dockerfile:old"))
    ledger.add_verified(home, _image(verified, 2, recipe="dockerfile:new"))
    ledger.add_verified(home, _image(verified, 3, profile="server-cuda"))
    ledger.add_verified(home, _image(verified, 4, fingerprint="another host"))
    here = ledger.for_fingerprint(home, verified.fingerprint)
    assert len(here) == 3
    newest = ledger.find_verified(here, engine="llama.cpp", profile="server-cpu")
    old = ledger.find_verified(here, engine="llama.cpp", profile="server-cpu", recipe="dockerfile:old")
    assert newest is not None
    assert old is not None
    assert (newest.recipe, old.recipe) == ("dockerfile:new", "dockerfile:old")
    assert ledger.find_verified(here, engine="vllm", profile="server-cpu") is None


def test_one_bad_entry_costs_only_itself(
    home: Home, verified: VerifiedImage, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [ledger.add_verified(home, _image(verified, number)) for number in range(4)]
    paths[1].write_bytes(paths[1].read_bytes()[:40])
    newer = paths[2].read_bytes().replace(b'"format_version": 1', b'"format_version": 999')
    paths[2].write_bytes(newer)
    warnings: list[str] = []
    found = ledger.entries(home, warnings.append)
    assert [int(entry.image_id[-1]) for entry in found] == [3, 0]
    assert any("damaged" in text for text in warnings)
    assert any("format version 999" in text for text in warnings)
    assert paths[1].with_name(f"{paths[1].name}.corrupt-1").exists()
    assert paths[2].read_bytes() == newer
    assert len(ledger.entries(home)) == 2
    assert "format version 999" in capsys.readouterr().err
    assert ledger.add_verified(home, _image(verified, 9)).name == "000005.json"


def test_forgetting_an_image_that_is_gone(home: Home, verified: VerifiedImage) -> None:
    ledger.add_verified(home, _image(verified, 1))
    ledger.add_verified(home, _image(verified, 1, model="another"))
    ledger.add_verified(home, _image(verified, 2))
    assert ledger.forget_verified(home, _image(verified, 1).image_id) == 2
    assert [int(entry.image_id[-1]) for entry in ledger.entries(home)] == [2]


def test_an_empty_ledger(home: Home) -> None:
    assert ledger.entries(home) == ()
    assert ledger.forget_verified(home, "sha256:0") == 0


def test_many_writers_lose_no_entry(home: Home, verified: VerifiedImage, script: Any) -> None:
    code = """
import sys, msgspec
from pathlib import Path
from deployer import ledger
from deployer.paths import Home
from deployer.types import VerifiedImage
root = Path(sys.argv[1])
entry = msgspec.json.decode(sys.argv[2], type=VerifiedImage)
for number in range(10):
    entry = msgspec.structs.replace(entry, image_id=f"{sys.argv[3]}-{number}")
    ledger.add_verified(Home(config=root, state=root, lock=root), entry)
"""
    data = msgspec.json.encode(verified).decode()
    writers = [script(code, home.state, data, number) for number in range(4)]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 4
    assert len(ledger.entries(home)) == 40
    assert len({path.name for path in home.ledger.iterdir()}) == 40


def test_a_folder_that_cannot_be_written(open_folder: Path, verified: VerifiedImage, script: Any) -> None:
    (open_folder / "ledger").mkdir(mode=0o555)
    code = """
import sys, msgspec
from pathlib import Path
from deployer.errors import StateError
from deployer import ledger
from deployer.paths import Home
from deployer.types import VerifiedImage
root = Path(sys.argv[1])
try:
    ledger.add_verified(Home(config=root, state=root, lock=root), msgspec.json.decode(sys.argv[2], type=VerifiedImage))
except StateError as error:
    print(error.message)
"""
    data = msgspec.json.encode(verified).decode()
    out, err = script(code, open_folder, data, unprivileged=True).communicate(timeout=120)
    assert f"({open_folder / 'ledger'} belongs to" in out, err


def test_a_file_in_place_of_the_folder(home: Home, verified: VerifiedImage) -> None:
    home.state.mkdir()
    home.ledger.write_text("")
    with pytest.raises(StateError):
        ledger.add_verified(home, verified)
    with pytest.raises(StateError):
        ledger.entries(home)
