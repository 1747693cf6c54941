"""The settings that each model is loaded with."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from scripts.memory_truth.model import Model, Value

KV_LIMIT = 1 << 30
"""Bytes of cache above which a setting gets half the context: the server writes zeros to all of it."""

AUTO_SLOTS = 4
"""llama-server's own number of slots, which share one cache (tools/server/server.cpp)."""


@dataclass(frozen=True)
class Setting:
    """How llama-server is started; the names are those of `deployer.decide.llama.LlamaSettings`."""

    context_total: int
    slots: int = 1
    unified: bool = False
    micro_batch: int = 512
    kv_type_k: str = "f16"
    kv_type_v: str = "f16"
    flash_attention: bool = True
    swa_full: bool = False
    gpu_layers: int = 0
    repack: bool = False

    def flags(self) -> list[str]:
        """Words of the command line. Unified slots are what the server does without `--parallel`."""
        words = ["--ctx-size", str(self.context_total), "--ubatch-size", str(self.micro_batch)]
        words += ["--cache-type-k", self.kv_type_k, "--cache-type-v", self.kv_type_v]
        words += ["--flash-attn", "on" if self.flash_attention else "off", "--gpu-layers", str(self.gpu_layers)]
        words += [] if self.unified else ["--parallel", str(self.slots)]
        words += [] if self.repack else ["--no-repack"]
        return words + (["--swa-full"] if self.swa_full else [])

    @property
    def label(self) -> str:
        """Short and unique: `c8192-np4-u512-f16-fa`."""
        slots = "auto" if self.unified else f"np{self.slots}"
        types = self.kv_type_k if self.kv_type_k == self.kv_type_v else f"{self.kv_type_k}+{self.kv_type_v}"
        attention = "fa" if self.flash_attention else "nofa"
        name = f"c{self.context_total}-{slots}-u{self.micro_batch}-{types}-{attention}"
        return name + "-full" * self.swa_full + "-repack" * self.repack

    def document(self) -> dict[str, object]:
        """As it is stored."""
        return asdict(self)


FULL: tuple[Setting, ...] = (
    Setting(2048),
    Setting(8192, slots=4),
    Setting(8192, slots=AUTO_SLOTS, unified=True),
    Setting(32768, kv_type_k="q8_0", kv_type_v="q8_0"),
    Setting(8192, micro_batch=2048),
    Setting(4096, flash_attention=False),
    Setting(8192, slots=AUTO_SLOTS, unified=True, micro_batch=128, kv_type_k="q8_0", kv_type_v="q4_0"),
    Setting(8192, slots=4, micro_batch=1024, flash_attention=False),
    Setting(4096, repack=True),
)
WINDOWED = Setting(16384, swa_full=True, kv_type_k="q4_0", kv_type_v="q4_0")
QUICK = (FULL[1], FULL[5])

BYTES = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


def settings(model: Model, *, quick: bool = False) -> Iterator[Setting]:
    """The matrix of one model, contexts bounded by `KV_LIMIT`."""
    windowed = "attention.sliding_window" in model.keys
    for setting in QUICK if quick else (*FULL, *([WINDOWED] if windowed else [])):
        context = setting.context_total
        while context * cell_bytes(model, setting) > KV_LIMIT and context > 1024 * setting.slots:
            context //= 2
        # The server refuses keys and values of different types where there are no values: latent attention.
        values = setting.kv_type_k if "attention.key_length_mla" in model.keys else setting.kv_type_v
        yield replace(setting, context_total=context, kv_type_v=values)


def cell_bytes(model: Model, setting: Setting) -> float:
    """Bytes of one token in the cache, as if no layer had a window."""
    kv = model.keys.get("attention.head_count_kv", 0)
    heads = sum(each(kv, model.layers))
    width = _number(model, "attention.key_length") or _number(model, "embedding_length") // max(
        _number(model, "attention.head_count"), 1
    )
    return heads * width * (BYTES[setting.kv_type_k] + BYTES[setting.kv_type_v])


def each(value: Value, layers: int) -> Sequence[int]:
    """A number for every layer."""
    if isinstance(value, str | float):
        raise TypeError(f"no number for every layer: {value}")
    return [value] * layers if isinstance(value, int) else [int(number) for number in value]


def _number(model: Model, key: str) -> int:
    value = model.keys.get(key, 0)
    return value if isinstance(value, int) else 0
