"""The direction in which modules may import one another, read from their sources."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Lowest first: a module may import those of its own line and of the lines above it. A folder is one module.
LAYERS = [
    {"optional", "cgroups", "hints"},
    {"debug"},
    {"model"},
    {"arithmetic"},
    {"memory"},
    {"limits"},
    {"ops"},
    {"rewrites"},
    {"shapes"},
    {"delegation"},
    {"runtime"},
    {"values", "arguments", "tensor_buffer", "metadata", "bundle"},
    {"quantized"},
    {"images"},
    {"details", "tensor_access"},
    {"signature_runner", "interpreter_wrapper"},
    {"interpreter"},
    {"edit"},
    {"accelerators", "compiled_model", "custom_ops_interpreter"},
    {"serving"},
    {"__init__"},
    {"exec"},
    {"cli", "comparison", "conformance", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """Full names of what a source imports, modules and names of theirs, at any depth and for type checking too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def core_modules() -> list[Path]:
    return sorted((ROOT / "tflgpu").rglob("*.py"))


def layer_of(path: Path) -> str:
    names = path.relative_to(ROOT / "tflgpu").parts
    return names[0].removesuffix(".py")


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_point_down(path):
    own = layer_of(path)
    assert own in LEVEL, f"{own} has no layer: give it one"
    for name in imported(path):
        names = name.split(".")
        if names[0] != "tflgpu" or len(names) == 1 or names[1] not in LEVEL:
            continue
        assert LEVEL[names[1]] <= LEVEL[own], f"{path.name} imports {name}, which is above it"


@pytest.mark.parametrize("path", core_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_core_never_imports_delegates(path):
    assert not any(name.startswith(("tflgpu.delegates", "delegates")) for name in imported(path))


def declared_members() -> set[str]:
    """What the Protocols of delegates and devices declare."""
    sources = [ROOT / name for name in ("tflgpu/memory.py", "tflgpu/delegation/delegate.py", "delegates/device.py")]
    classes = [c for path in sources for c in ast.parse(path.read_text()).body if isinstance(c, ast.ClassDef)]
    protocols = [c for c in classes if "Protocol" in map(ast.unparse, c.bases)]
    methods = {m.name for c in protocols for m in c.body if isinstance(m, ast.FunctionDef)}
    return methods | {ast.unparse(m.target) for c in protocols for m in c.body if isinstance(m, ast.AnnAssign)}


@pytest.mark.parametrize("folder", ["tflgpu", "delegates"])
def test_optional_members_are_asked_for_through_their_protocols(folder):
    members = declared_members()
    assert {"claim", "static_only", "external", "seconds_of"} <= members
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
                name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
                assert name not in members, f"{path.name}, line {node.lineno}: see tflgpu/optional.py"


@pytest.mark.parametrize("binding, only", [("cupy", "cuda"), ("pyopencl", "opencl")])
def test_one_folder_imports_each_binding(binding, only):
    users = {
        path.parent.name
        for folder in ("tflgpu", "delegates")
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] == binding for name in imported(path))
    }
    assert users <= {only}


def test_import_touches_no_driver_and_no_extra():
    script = (
        "import sys, tflgpu; "
        "print(sorted(m for m in ('cupy', 'pyopencl', 'rich', 'typer', 'tflgpu.delegates') if m in sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def module_of(path: Path) -> str:
    folder, *inner = path.relative_to(ROOT).with_suffix("").parts
    names = [*(("tflgpu", "delegates") if folder == "delegates" else (folder,)), *inner]
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def import_graph() -> dict[str, set[str]]:
    """For each module of tflgpu/ and delegates/ the modules that it imports, or takes something of."""
    sources = {module_of(path): path for top in ("tflgpu", "delegates") for path in (ROOT / top).rglob("*.py")}
    graph = {}
    for module, path in sources.items():
        names = imported(path) & sources.keys()
        # Of `from package import module`, the package is no more than the way to the module.
        ways = {name.rpartition(".")[0] for name in names}
        graph[module] = {name for name in names if name not in ways or sources[name].name != "__init__.py"} - {module}
    return graph


def test_no_modules_import_one_another_in_a_cycle():
    TopologicalSorter(import_graph()).prepare()  # raises CycleError, with the cycle


# The same of the modules and folders of delegates/; but those of one line do not import one another.
DELEGATES = [
    {"kernels"},
    {"launch", "expression", "cache", "device_memory"},
    {"ir", "program"},
    {"device"},
    {"lowering", "process_end"},
    {"render"},
    {"autotune", "megakernel"},
    {"fusion"},
    {"passes", "buffers", "launch_nodes"},
    {"control_flow", "compiler"},
    {"compilation"},
    {"gpu"},
    {"opencl", "emulator"},
    {"cuda"},
    {"abi"},
]
HEIGHT = {name: level for level, names in enumerate(DELEGATES) for name in names}


@pytest.mark.parametrize("path", sorted((ROOT / "delegates").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_of_delegates_point_down(path):
    own = path.relative_to(ROOT / "delegates").parts[0].removesuffix(".py")
    assert own in {"__init__", *HEIGHT}, f"{own} has no layer: give it one"
    for name in imported(path):
        names = name.split(".")
        if names[:2] == ["tflgpu", "delegates"] and len(names) > 2 and names[2] in HEIGHT:
            below = HEIGHT[names[2]] < HEIGHT.get(own, 0)
            assert below or names[2] == own, f"{path.name} imports {name}, which is not below it"
