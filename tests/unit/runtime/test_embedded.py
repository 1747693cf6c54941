import socket
import subprocess
import sys
from pathlib import Path

import pytest
import xllamacpp

from deployer.runtime.embedded import fill, main, parser, read_keys

MINIMUM = ["--model", "/models/m.gguf", "--port", "8000"]


def filled(*flags: str) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    fill(params, parser().parse_args([*MINIMUM, *flags]), ["k1"])
    return params


def test_a_reranker_pools_by_rank() -> None:
    params = filled("--embeddings", "--reranking")
    assert (params.embedding, int(params.pooling_type)) == (True, 4)
    assert int(filled("--embeddings").pooling_type) == -1


def test_every_setting_reaches_the_engine() -> None:
    params = filled(
        *("--alias", "demo", "--host", "127.0.0.2", "--ctx-size", "4096", "--parallel", "2", "--threads", "3"),
        *("--batch-size", "1024", "--ubatch-size", "256", "--n-gpu-layers", "7", "--cache-type-k", "q8_0"),
        *("--cache-type-v", "q4_0", "--flash-attn", "on", "--metrics", "--offline", "--no-ui", "--cache-ram", "0"),
        *("--mmproj", "/models/mmproj.gguf"),
        *("--fit", "off", "--split-mode", "row", "--tensor-split", "3,1", "--kv-unified", "--no-slots"),
    )
    assert (params.model.path, params.model_alias, params.hostnames, params.port) == (
        "/models/m.gguf",
        {"demo"},
        ["127.0.0.2"],
        8000,
    )
    assert (params.n_ctx, params.n_parallel, params.n_batch, params.n_ubatch) == (4096, 2, 1024, 256)
    assert (params.cpuparams.n_threads, params.cpuparams_batch.n_threads) == (3, 3)
    assert (params.n_gpu_layers, params.cache_ram_mib, params.fit_params, params.kv_unified) == (7, 0, False, True)
    assert (params.cache_type_k.name, params.cache_type_v.name) == ("GGML_TYPE_Q8_0", "GGML_TYPE_Q4_0")
    assert params.flash_attn_type.name == "LLAMA_FLASH_ATTN_TYPE_ENABLED"
    assert params.split_mode.name == "LLAMA_SPLIT_MODE_ROW"
    assert list(params.tensor_split)[:3] == [3.0, 1.0, 0.0]
    assert (params.endpoint_metrics, params.endpoint_slots, params.offline, params.ui) == (True, False, True, False)
    assert params.api_keys == ["k1"]
    assert params.mmproj.path == "/models/mmproj.gguf"


def test_defaults_are_those_of_llama_server() -> None:
    params = filled()
    assert (params.n_ctx, params.n_batch, params.n_ubatch, params.cache_ram_mib) == (0, 2048, 512, 8192)
    assert params.flash_attn_type.name == "LLAMA_FLASH_ATTN_TYPE_AUTO"
    assert filled("-ngl", "all").n_gpu_layers == 999
    assert filled("-ngl", "auto").n_gpu_layers == -1
    assert filled("-ngl", "all", "--device", "none").n_gpu_layers == 0
    assert filled("--log-verbosity", "4").verbosity == 4
    assert params.mmproj.path == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--no-mmap"], "unrecognized arguments: --no-mmap"),
        (["--api-key", "secret"], "unrecognized arguments"),
        (["--device", "CUDA0"], "invalid choice"),
        (["--ctx", "5"], "unrecognized arguments"),
        (["--cache-type-k", "q9"], "invalid choice"),
        (["--ctx-size", "many"], "invalid int"),
    ],
)
def test_an_unknown_flag_is_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([*MINIMUM, *flags])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_keys_are_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\n\n two \n")
    assert read_keys(file) == ["one", "two"]
    assert read_keys(None) == []
    file.write_text("\n")
    with pytest.raises(ValueError, match="no key"):
        read_keys(file)


def test_a_missing_key_file_never_means_an_open_server(tmp_path: Path) -> None:
    script = "import sys; from deployer.runtime.embedded import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", script, *MINIMUM, "--api-key-file", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "key file" in done.stderr


def test_a_model_that_cannot_be_loaded_ends_with_1(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    script = "import sys; from deployer.runtime.embedded import main; sys.exit(main(sys.argv[1:]))"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-c", script, "--model", str(broken), "--port", str(port)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "exiting due to model loading error" in done.stderr
    assert "invalid magic" in done.stderr + done.stdout


def test_main_exists_for_the_module() -> None:
    assert callable(main)
