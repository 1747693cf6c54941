"""What llama.cpp is told, and the buffers it then makes, in bytes."""

import functools

import msgspec

from deployer.types import Accelerator, Projector

PADDING = 256

PLANNED_BUILD = 11434
"""The build whose source these rules follow, and what is assumed of a build whose number is unknown."""

FEW_OUTPUTS = 9400
"""From here on, a server reserves logits for one token of every slot (PR 23861), and masks are of 16 bits; before,
for a whole micro-batch and of 32 bits. Logs of 8133, 9272 (before) and 9496, 9849 (after)."""

EMBEDDING_INPUT = 7800
"""From here on, a place for vectors given instead of tokens is always there (PR 18550). Logs of 7780 and 8133."""

CELL_NUMBERS = 5900
"""From here on, cells are written by number (`ggml_set_rows`), and values without flash attention one by one. Logs of
5285 (before) and 7772 (after)."""

MIXED_INPUT = 11147
"""From here on, there is a place for tokens and vectors in one batch too. Logs of 11146 (before) and 11501 (after)."""

LATE_SCALING = 11500
"""From here on, Gemma 4 scales a layer's own embeddings when they are added, in their place. Source of 11434 and a log
of 9849 (before), 11669 (after)."""

LATENT_KEYS = 7830
"""From here on, latent attention keeps no values (PR 19067 of 2026-01-24); before, its rank once more. Models with an
indexer came later."""

PADDED_WINDOW = 7000
"""From here on, a window's cells are padded to 256 instead of 32 (issue 17037)."""


RESERVED_HALVES = 9470
"""From here on, the copies in 16 bits that attention makes of a cache of other types are in the compute buffer of a GPU
(PR 23907 of 2026-05-30); before, they came from a pool that grew at run time. 9400 is before, 11434 after."""

_HALVED = frozenset(("cuda", "rocm", "sycl"))


class Where(msgspec.Struct, frozen=True):
    """What goes where: layers on each GPU, layers whose experts are in main memory, and the code that computes."""

    gpu_layers: tuple[int, ...] = ()
    cpu_moe_layers: int = 0
    accelerator: Accelerator = "cpu"


class LlamaSettings(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """Settings that decide llama.cpp's memory; the defaults are those that this program plans with.

    `gpu_layers`: layers on each GPU in order, the output counted as one and on the last; empty: a build for CPUs.
    `context_total` are the tokens of all slots (`--ctx-size`), `build` llama.cpp's number. `repack`: a CPU lays its
    matrices out anew, so that an embedding that is the output too is there twice. `gpu_reserve_mib`: what is counted as
    taken of each GPU at least, beside all buffers. `projector`: what reads pictures, on the first GPU.
    """

    context_total: int
    slots: int = 1
    unified: bool = False
    micro_batch: int = 512
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    swa_full: bool = False
    gpu_layers: tuple[int, ...] = ()
    cpu_moe_layers: int = 0
    build: int = PLANNED_BUILD
    accelerator: Accelerator = "cpu"
    embedding: bool = False
    draft_tokens: int = 0
    repack: bool = False
    gpu_reserve_mib: int = 0
    projector: Projector | None = None

    @property
    def computed(self) -> "LlamaSettings":
        """The same, without what only says where things are: what a cache and a graph depend on."""
        return _computed(self)

    @property
    def where(self) -> Where:
        """What these settings say of places."""
        return Where(self.gpu_layers, self.cpu_moe_layers, self.accelerator)

    def halves(self, accelerator: Accelerator) -> bool:
        """Whether attention on a GPU copies keys and values to 16 bits first.

        Source: llama.cpp b11434 ggml/src/ggml-cuda/fattn.cu (which HIP shares), ggml/src/ggml-sycl/fattn.cpp,
        `flash_attn_ext_get_alloc_size`: for all kernels but the one for single tokens.
        """
        others = (self.kv_type_k, self.kv_type_v) != ("f16", "f16")
        return others and self.flash_attention and accelerator in _HALVED

    @property
    def cells(self) -> int:
        """Cells of one stream of the cache (src/llama-context.cpp, `n_ctx_seq`)."""
        return padded(self.context_total if self.unified else self.context_total // self.slots)

    @property
    def streams(self) -> int:
        """Separate parts of the cache: one for each slot, or one for all."""
        return 1 if self.unified else self.slots

    @property
    def tokens(self) -> int:
        """Tokens computed at once, rounded up to the same number for every slot (`graph_reserve`)."""
        fitting = min(self.micro_batch, self.cells * self.streams)
        return -(-fitting // self.slots) * self.slots

    @property
    def outputs(self) -> int:
        """Tokens whose logits are computed at once."""
        if self.embedding or self.build < FEW_OUTPUTS:
            return self.tokens
        return min(self.tokens, self.slots * (1 + self.draft_tokens))

    def window_cells(self, window: int) -> int:
        """Cells of one stream of a layer that looks back `window` tokens (src/llama-kv-cache-iswa.cpp)."""
        if self.swa_full or not window:
            return self.cells
        seen = window * (self.slots if self.unified else 1) + self.micro_batch
        padding = PADDING if self.build >= PADDED_WINDOW else 32
        return padded(min(self.cells, seen), padding)


@functools.lru_cache(maxsize=1024)
def _computed(settings: LlamaSettings) -> LlamaSettings:
    return msgspec.structs.replace(
        settings, gpu_layers=(), cpu_moe_layers=0, accelerator="cpu", repack=False, gpu_reserve_mib=0, projector=None
    )


class DeviceBuffers(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one GPU, or of main memory. `overhead` is in no buffer of the log; `projector` is all that one takes."""

    weights: int = 0
    kv: int = 0
    state: int = 0
    compute: int = 0
    output: int = 0
    overhead: int = 0
    projector: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.state + self.compute + self.output + self.overhead + self.projector


class Buffers(msgspec.Struct, frozen=True, kw_only=True):
    """Buffers of each GPU in order, and those in main memory."""

    gpus: tuple[DeviceBuffers, ...]
    host: DeviceBuffers

    @property
    def total(self) -> int:
        """All devices together."""
        return self.host.total + sum(gpu.total for gpu in self.gpus)


def padded(count: int, padding: int = PADDING) -> int:
    """The next multiple of `padding`."""
    return -(-count // padding) * padding
