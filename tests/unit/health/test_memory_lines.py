"""Sizes of buffers from engines' own logs, by the patterns of the real profiles."""

import pytest

from deployer import catalog
from deployer.health import by_device, read_parts

LLAMA = """\
0.00.404.020 I load_tensors: offloaded 40/41 layers to GPU
0.00.404.020 I load_tensors:   CPU_Mapped model buffer size =   628.76 MiB
0.00.404.021 I load_tensors:        CUDA0 model buffer size =  7687.06 MiB
0.00.404.022 I load_tensors:        CUDA1 model buffer size =   100.00 MiB
0.00.405.714 I llama_context:  CUDA_Host  output buffer size =     2.00 MiB
0.00.405.811 I llama_kv_cache:        CPU KV buffer size =     8.50 MiB
0.00.405.811 I llama_kv_cache:      CUDA0 KV buffer size =   331.50 MiB
0.00.405.812 I llama_kv_cache:      CUDA0 KV buffer size =    20.50 MiB
0.00.405.813 I llama_memory_recurrent:      CUDA1 RS buffer size =    50.25 MiB
0.00.569.285 I llama_kv_cache: size =  340.00 MiB (  4096 cells,  40 layers,  4/1 seqs), K (q8_0):  170.00 MiB
0.00.580.162 I sched_reserve:      CUDA0 compute buffer size =   300.00 MiB
0.00.580.163 I sched_reserve:      CUDA0 compute buffer size =   309.77 MiB
0.00.580.164 I sched_reserve:  CUDA_Host compute buffer size =    28.01 MiB
0.00.914.847 I reserve_compute_meta:      CUDA0 compute buffer size =   248.10 MiB
0.09.000.000 W ~llama_context: CUDA0 compute buffer size of 679.1215 MiB, does not match expectation of 625.2188 MiB
"""

VLLM = """\
(VllmWorker rank=0 pid=41) INFO 08-07 11:11:50 [gpu_model_runner.py:1892] Model loading took 15.5 GiB and 15.3 seconds
(VllmWorker rank=1 pid=42) INFO 08-07 11:11:50 [gpu_model_runner.py:1892] Model loading took 15.25 GiB and 15.3 seconds
(VllmWorker rank=0 pid=41) INFO 08-07 11:12:30 [gpu_worker.py:255] Available KV cache memory: 52.5 GiB
(VllmWorker rank=1 pid=42) INFO 08-07 11:12:30 [gpu_worker.py:255] Available KV cache memory: 52 GiB
(Worker_TP0 pid=41) INFO 01-15 22:38:41 [gpu_model_runner.py:4587] Graph capturing finished in 5 secs, took 0.625 GiB
"""

SGLANG = """\
[2026-11-20 09:00:00] Load weight end. elapsed=0.11 s, type=LlamaForCausalLM, avail mem=21.01 GB, mem usage=0.25 GB.
[2026-11-20 09:00:00] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 8192, K size: 0.25 GB, V size: 0.5 GB
[2026-11-20 09:00:00] Memory pool end. avail mem=20.77 GB
"""


def parts(engine: str, log: str) -> dict[str, dict[str, float]]:
    return read_parts(log.splitlines(), catalog.load_engine(engine).measures)


def test_buffers_of_llama_cpp_by_device() -> None:
    assert by_device(parts("llama.cpp", LLAMA), ["GPU-a", "GPU-b"]) == {
        "host": {"weights": 629, "output": 2, "kv": 8, "compute": 28},
        "GPU-a": {"weights": 7687, "kv": 352, "compute": 310},
        "GPU-b": {"weights": 100, "state": 50},
    }


def test_of_compute_buffers_the_last_one_counts_and_others_add_up() -> None:
    found = parts("llama.cpp", LLAMA)["CUDA0"]
    assert found == {"weights": 7687.06, "kv": 352.0, "compute": 309.77}


def test_ranks_of_vllm_are_gpus_in_order() -> None:
    assert by_device(parts("vllm", VLLM), ["GPU-a", "GPU-b"]) == {
        "GPU-a": {"weights": 15872, "kv": 53760, "graphs": 640},
        "GPU-b": {"weights": 15616, "kv": 53248},
    }


def test_a_rank_that_speaks_for_all_is_every_gpu() -> None:
    first = "\n".join(line for line in VLLM.splitlines() if "rank=1" not in line)
    found = by_device(parts("vllm", first), ["GPU-a", "GPU-b"])
    assert found["GPU-a"] == found["GPU-b"]


def test_sizes_of_sglang_on_a_processor_are_main_memory() -> None:
    assert by_device(parts("sglang", SGLANG), []) == {"host": {"weights": 256, "kv": 768}}
    assert by_device(parts("sglang", SGLANG), ["GPU-a"]) == {"GPU-a": {"weights": 256, "kv": 768}}


def test_sglang_names_ranks() -> None:
    log = SGLANG.replace("09:00:00]", "09:00:00 TP1]")
    assert set(parts("sglang", log)) == {"1"}


@pytest.mark.parametrize("log", ["", "nothing of interest\n" * 5, "x" * 100_000 + " CPU KV buffer size = 1.00 MiB"])
def test_a_log_without_sizes_says_nothing(log: str) -> None:
    assert parts("llama.cpp", log) == {}
    assert by_device({}, ["GPU-a"]) == {}


def test_a_gpu_that_the_plan_does_not_have_is_left_out() -> None:
    assert by_device(parts("llama.cpp", "load_tensors: CUDA5 model buffer size = 1.00 MiB"), ["GPU-a"]) == {}
