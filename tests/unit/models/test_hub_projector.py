"""Projectors of the hub: found in the listing, read by range, brought with the model, and done without offline."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from deployer.errors import HubError, VerificationError
from deployer.models import beside, fetch, missing_bytes, repository_name, resolve, without_absent
from deployer.models.gguf_names import projector_for
from deployer.types import CatalogModel, CatalogVariant, ModelSpec, ModelVariant, Projector
from tests.hub.server import COMMIT, Faults, HubServer, Repo
from tests.unit.models.gguf_files import write_llama
from tests.unit.models.projector_files import write_projector

MODEL, SEEING = "Tiny-Q8_0.gguf", "mmproj-Tiny-F16.gguf"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "model": write_llama(folder / "m.gguf", layers=3).read_bytes(),
        "seeing": write_projector(folder / "p.gguf", projection=64).read_bytes(),
        "other": write_projector(folder / "o.gguf", projection=96).read_bytes(),
    }


@pytest.fixture
def server(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    repos = {
        "org/see": Repo({MODEL: files["model"], SEEING: files["seeing"]}),
        "org/other": Repo({MODEL: files["model"], SEEING: files["other"]}),
        "org/broken": Repo({MODEL: files["model"], SEEING: b"GGUF" + bytes(2000)}),
        "org/blind": Repo({MODEL: files["model"]}),
    }
    with HubServer(repos) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN_PATH", "/nonexistent")
        yield running


def variant_of(repo: str, store: Path) -> ModelVariant:
    (found,) = resolve(f"hf:{repo}", (), store).variants
    return found


def ignore(_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("names", "model", "expected"),
    [
        (["mmproj-F32.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf"], "m-Q4_K_M.gguf", "mmproj-F16.gguf"),
        (["mmproj-google_gemma-3-4b-it-bf16.gguf", "mmproj-google_gemma-3-4b-it-f32.gguf"], "m.gguf", 0),
        (["m-Q8_0.gguf", "mmproj-m-Q8_0.gguf", "mmproj-m-f32.gguf"], "m-Q8_0.gguf", "mmproj-m-Q8_0.gguf"),
        (["mmproj-model-f16-4B.gguf", "mmproj.gguf"], "m.gguf", "mmproj-model-f16-4B.gguf"),
        (["mmproj-f16.gguf", "a/mmproj-f32.gguf", "b/mmproj-f16.gguf"], "a/m.gguf", "a/mmproj-f32.gguf"),
        (["mmproj-f16.gguf", "b/mmproj-f16.gguf"], "a/b/m.gguf", "mmproj-f16.gguf"),
        (["ab/mmproj.gguf"], "a/m.gguf", None),
        (["m.gguf", "README.md", "mmproj.json"], "m.gguf", None),
    ],
)
def test_which_of_several_is_taken(names: list[str], model: str, expected: str | int | None) -> None:
    assert projector_for(names, model) == (names[expected] if isinstance(expected, int) else expected)


def test_a_projector_is_known_from_its_header_alone(server: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    found = variant_of("org/see", tmp_path)
    assert found.projector is not None
    assert found.projector.path == str(tmp_path / "hub/org--see" / COMMIT / SEEING)
    assert (found.projector.kind, found.projector.projection, found.projector.layers) == ("qwen3vl_merger", 64, 2)
    assert found.size_bytes == len(files["model"])
    assert all(seen.range is not None for seen in server.file_requests())
    assert not list(tmp_path.rglob("*.gguf"))
    server.seen.clear()
    assert variant_of("org/see", tmp_path) == found
    assert server.seen == []


@pytest.mark.parametrize("repo", ["org/other", "org/broken", "org/blind"])
def test_one_of_another_model_or_that_cannot_be_read_is_left(server: HubServer, repo: str, tmp_path: Path) -> None:
    assert server.url
    assert variant_of(repo, tmp_path).projector is None


def test_it_comes_with_the_model_and_before_it(server: HubServer, files: dict[str, bytes], tmp_path: Path) -> None:
    planned = variant_of("org/see", tmp_path)
    assert missing_bytes(planned, 5000, tmp_path) == 5000
    server.seen.clear()
    path = fetch(planned, tmp_path, ignore)
    assert [seen.path.rpartition("/")[2] for seen in server.file_requests()] == [SEEING, MODEL]
    assert path.read_bytes() == files["model"]
    assert beside(path, SEEING, tmp_path).read_bytes() == files["seeing"]
    assert missing_bytes(planned, 5000, tmp_path) == 0
    after = variant_of("org/see", tmp_path)
    assert (after.present, after.projector) == (True, planned.projector)
    server.seen.clear()
    assert fetch(after, tmp_path, ignore) == path
    assert server.seen == []


def test_a_model_that_is_here_without_it_still_gets_it(server: HubServer, tmp_path: Path) -> None:
    planned = variant_of("org/see", tmp_path)
    fetch(msgspec.structs.replace(planned, projector=None), tmp_path, ignore)
    found = variant_of("org/see", tmp_path)
    assert found.present
    assert found.projector is not None
    assert without_absent(found).projector is None
    path = fetch(found, tmp_path, ignore)
    assert beside(path, SEEING, tmp_path).is_file()
    assert without_absent(found) == found
    assert server.seen


def test_a_model_that_is_here_is_served_without_it_where_the_hub_is_away(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(ModelVariant(format="gguf", quantization="Q8_0", source="hf:org/see", files=(MODEL,)), tmp_path, ignore)
    assert server.seen
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    found = variant_of("org/see", tmp_path)
    assert (found.present, found.projector) == (True, None)


def test_a_hub_that_breaks_while_it_is_read_is_an_error_where_the_network_is_needed(
    server: HubServer, tmp_path: Path
) -> None:
    variant_of("org/see", tmp_path)  # the listing and both headers are kept
    (tmp_path / "hub/org--see/asked").rename(tmp_path / "gone")
    server.state.faults = Faults(status=500, on_files_only=True)
    with pytest.raises(HubError):
        variant_of("org/see", tmp_path)


def test_other_bytes_than_promised_are_refused(server: HubServer, tmp_path: Path) -> None:
    planned = msgspec.structs.replace(variant_of("org/see", tmp_path), sha256=())
    server.state.faults = Faults(wrong_hash=True)
    with pytest.raises(VerificationError, match=SEEING):
        fetch(planned, tmp_path, ignore)
    assert not list(tmp_path.rglob("*.gguf"))


def test_what_came_of_an_interrupted_download_is_counted(server: HubServer, tmp_path: Path) -> None:
    planned = variant_of("org/see", tmp_path)
    partial = tmp_path / "hub/org--see/partial"
    partial.mkdir(parents=True)
    (partial / "x").write_bytes(bytes(1000))
    assert missing_bytes(planned, 5000, tmp_path) == 4000
    assert missing_bytes(msgspec.structs.replace(planned, source="/m.gguf"), 5000, tmp_path) == 0
    assert server.url


def test_names_in_the_repository(tmp_path: Path) -> None:
    place = tmp_path / "hub/org--see" / COMMIT
    assert repository_name(str(place / "sub" / SEEING), tmp_path) == f"sub/{SEEING}"
    assert repository_name("/elsewhere/mmproj.gguf", tmp_path) is None
    assert repository_name(str(place), tmp_path) is None
    assert beside(place / "sub" / MODEL, SEEING, tmp_path) == place / SEEING


# --- the catalog


NUMBERS = Projector(
    path=SEEING, kind="gemma3", weight_bytes=1000, image_size=64, patch_size=16, layers=2, embedding=32,
    feed_forward=128, heads=4, projection=64,
)  # fmt: skip


def catalog(spec: ModelSpec) -> tuple[CatalogModel, ...]:
    variant = CatalogVariant(format="gguf", quantization="Q8_0", source="hf:org/see", files=(MODEL,), projector=NUMBERS)
    return (
        CatalogModel(
            name="tiny", title="Tiny", parameters=1, license="x", architecture=spec.architecture, variants=(variant,),
            sources=("x",),
        ),
    )  # fmt: skip


def test_a_catalog_model_has_its_projector_without_the_network(server: HubServer, tmp_path: Path) -> None:
    known = catalog(resolve("hf:org/blind", (), tmp_path / "elsewhere"))
    server.seen.clear()
    (before,) = resolve("tiny", known, tmp_path).variants
    assert server.seen == []
    assert before.projector == msgspec.structs.replace(NUMBERS, path=str(tmp_path / "hub/org--see/main" / SEEING))
    path = fetch(before, tmp_path, ignore)
    assert path.parent.name == COMMIT
    (after,) = resolve("tiny", known, tmp_path).variants
    assert after.present
    assert after.projector is not None
    assert after.projector.path == str(path.parent / SEEING)
    assert Path(after.projector.path).is_file()


def test_the_first_part_of_a_split_model_stands_for_all(tmp_path: Path, server: HubServer) -> None:
    (known,) = catalog(resolve("hf:org/blind", (), tmp_path / "elsewhere"))
    variant = msgspec.structs.replace(known.variants[0], files=("q/m-00001-of-00003.gguf",), projector=None)
    (found,) = resolve("tiny", (msgspec.structs.replace(known, variants=(variant,)),), tmp_path).variants
    assert found.files == tuple(f"q/m-0000{number}-of-00003.gguf" for number in (1, 2, 3))
    assert server.url


def test_every_projector_of_the_catalog_fits_its_model() -> None:
    from deployer import catalog as packaged

    seeing = [
        (model, variant)
        for model in packaged.load_models()
        for variant in model.variants
        if variant.projector is not None
    ]
    assert len(seeing) >= 15
    for model, variant in seeing:
        assert variant.projector is not None
        assert variant.projector.projection == model.architecture.embedding, model.name
        assert variant.format == "gguf"
        assert projector_for([variant.projector.path], variant.files[0]) == variant.projector.path
