"""Stands in for `sgl_kernel`, which exists for CUDA only: SGLang 0.5.23 imports these names on a CPU.

Without AMX the llama models call none of them; whoever does is told so.
"""

from typing import NoReturn


def _missing(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError("this kernel is not part of the test bed")


assign_req_to_token_pool_cpu = _missing
assign_draft_cache_locs_contiguous_cpu = _missing
assign_extend_cache_locs_cpu = _missing
build_tree_kernel_efficient_cpu = _missing
copy_all_layer_kv_cache_cpu = _missing
fill_accept_out_cache_loc_cpu = _missing
fill_bonus_tokens_cpu = _missing
verify_tree_greedy_cpu = _missing
