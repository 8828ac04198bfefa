"""torch's compiler is imported when it is needed, not when torchvision or timm are."""

import subprocess
import sys

import pytest

START = "import sys\nimport torch\nfrom ancor.runtime.compiler import without_compiler\n"


def run(program: str) -> str:
    """Run a program in a process that has not imported the compiler; return what it prints."""
    command = [sys.executable, "-c", START + program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("of", ["timm:resnet18", "torchvision:resnet18"])
def test_a_backbone_is_built_and_passed_without_the_compiler(of):
    pytest.importorskip(of.partition(":")[0])
    program = f"""
from ancor.models.libraries import library
from ancor.runtime.lazy import Lazy
Lazy("torchvision.datasets").FakeData
network = library("{of}").build().eval()
assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 512)
print("torch._dynamo" in sys.modules)
compiled = torch.compile(network, backend="eager")
with torch.no_grad():
    print((compiled(torch.ones(1, 3, 32, 32)) == network(torch.ones(1, 3, 32, 32))).all().item())
print(type(sys.modules["torch._dynamo"]).__name__, torch._dynamo.config is not None)
"""
    assert run(program).split() == ["False", "True", "module", "True"]


def test_shapes_are_made_without_start_values_and_without_sympy():
    pytest.importorskip("timm")
    program = """
from ancor.models.libraries import library
from ancor.runtime.devices import shapes_only
made = library("timm:vit_tiny_patch16_224")
print("sympy" in sys.modules)
sizes = {k: v.shape for k, v in made.on_meta.state_dict().items()}
print(sizes == {k: v.shape for k, v in made.build().state_dict().items()})
with shapes_only():
    there = torch.nn.init.normal_(torch.zeros(8, device="cpu"))
    torch.nn.init.constant_(there[:4], 1).add_(1)
print(there[:4].tolist() == [2.0] * 4, there[4:].count_nonzero().item())
"""
    assert run(program).split() == ["False", "True", "True", "4"]


@pytest.mark.slow
def test_what_was_put_off_does_as_ever():
    program = """
with without_compiler():
    from torch._dynamo.utils import is_compile_supported
    @torch.compiler.disable
    def twice(x):
        "Two of it."
        return 2 * x
    print(twice(1), twice.__doc__)
    torch._dynamo.graph_break()
    def stepped():
        weight = torch.nn.Parameter(torch.ones(2))
        optimizer = torch.optim.SGD([weight], 0.5, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            weight.sum().backward()
            optimizer.step()
        return weight.tolist()
    before = stepped()
    print(type(sys.modules["torch._dynamo"]).__name__)
print("torch._dynamo" in sys.modules, is_compile_supported("cpu"), type(torch._dynamo).__name__)
compiled = torch.compile(lambda x: twice(x + 1) + x, backend="eager")
print(compiled(torch.arange(3.0)).tolist(), stepped() == before)
"""
    printed = ["2 Two of it.", "_StandIn", "False True module", "[2.0, 5.0, 8.0] True"]
    assert run(program).split("\n")[:4] == printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("function = torch._dynamo.utils.is_compile_supported", "module"),
        ("is_compile_supported('cpu')", "module"),
        ("from torch._dynamo.utils import counters", "module"),
        ("from torch._dynamo import config", "module"),
        ("import torch._dynamo; torch._dynamo.reset()", "module"),
        ("torch.compiler.disable(torch.nn.Linear(2, 2))", "module"),
        ("torch.compiler.disable(recursive=False)(print)", "module"),
        ("torch.compiler.disable(lambda: 0)()", "_StandIn"),
    ],
)
def test_whatever_else_is_asked_of_it_imports_it_at_once(line, name):
    program = f"""
with without_compiler():
    from torch._dynamo.utils import is_compile_supported
    {line}
    print(type(sys.modules["torch._dynamo"]).__name__)
import torch._dynamo.utils
print(torch._dynamo.utils.counters is not None, torch._dynamo.disable.__module__)
"""
    assert run(program).split("\n")[:2] == [name, "True torch._dynamo.decorators"]


@pytest.mark.slow
def test_one_that_is_there_stays_and_a_failed_import_leaves_nothing():
    program = """
try:
    with without_compiler():
        raise ImportError
except ImportError:
    print("torch._dynamo" in sys.modules, "torch._dynamo.utils" in sys.modules)
import torch._dynamo
there = sys.modules["torch._dynamo"]
with without_compiler():
    print(sys.modules["torch._dynamo"] is there)
print(sys.modules["torch._dynamo"] is there)
"""
    assert run(program).split() == ["False", "False", "True", "True"]
