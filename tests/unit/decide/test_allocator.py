"""The allocator on graphs that nobody drew: tensors of no bytes, views, and operations that write over a source."""

from hypothesis import given
from hypothesis import strategies as st

from deployer.decide.llama.allocator import ALIGNMENT, Tensor, buffer_bytes

KINDS = ("new", "inplace", "view")
STEPS = st.lists(
    st.tuples(st.sampled_from(KINDS), st.sampled_from((0, 128, 256, 4096)), st.integers(0, 9), st.integers(0, 9)),
    max_size=24,
)


def drawn(sizes: list[int], steps: list[tuple[str, int, int, int]]) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs of these sizes, and operations that each read one or two of what came before."""
    inputs = [Tensor(size, (size,)) for size in sizes]
    nodes: list[Tensor] = []
    for kind, size, one, other in steps:
        known = [*inputs, *nodes]
        first, second = known[-1 - one % len(known)], known[-1 - other % len(known)]
        if kind == "view":
            nodes.append(Tensor(0, first.layout, (first,), view_of=first.view_of or first))
        elif kind == "inplace":
            nodes.append(Tensor(first.layout[0], first.layout, (first, second), overwrites=True))
        else:
            nodes.append(Tensor(size, (size,), (first, second)))
    return inputs, nodes


@given(sizes=st.lists(st.sampled_from((0, 128, 1024)), min_size=1, max_size=4), steps=STEPS)
def test_any_graph_fits_between_its_largest_tensor_and_all_of_them(
    sizes: list[int], steps: list[tuple[str, int, int, int]]
) -> None:
    inputs, nodes = drawn(sizes, steps)
    made = [tensor.size for tensor in (*inputs, *nodes)]
    found = buffer_bytes(inputs, nodes)
    assert max(*made, sum(tensor.size for tensor in inputs)) <= found <= sum(made)
    assert found % ALIGNMENT == 0


@given(sizes=st.lists(st.sampled_from((0, 128, 1024)), min_size=1, max_size=4), steps=STEPS)
def test_a_tensor_of_no_bytes_changes_nothing(sizes: list[int], steps: list[tuple[str, int, int, int]]) -> None:
    inputs, nodes = drawn(sizes, steps)
    without = buffer_bytes(inputs, nodes)
    inputs, nodes = drawn(sizes, steps)
    assert buffer_bytes([*inputs, Tensor(0, ())], [*nodes, Tensor(0, (), (nodes or inputs)[-1:])]) == without
