"""python3 convert.py FILE.gguf FOLDER: the same model as safetensors in bfloat16, as transformers reads it."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
where = {"gguf_file": source.name, "local_files_only": True}
model = AutoModelForCausalLM.from_pretrained(
    source.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **where
)
model.save_pretrained(folder)
AutoTokenizer.from_pretrained(source.parent, **where).save_pretrained(folder)
for file in folder.iterdir():
    file.chmod(0o644)  # a server's user reads it too
