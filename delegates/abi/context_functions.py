"""The functions of the contexts that native delegates are given.

They are made once and live as long as the process; a context's address tells them whose call it is.
"""

from __future__ import annotations

import weakref
from typing import Any, Protocol

from tflgpu.delegates.abi import structs
from tflgpu.delegates.abi.structs import ERROR


class Called(Protocol):
    """What answers a context's functions, by methods of the names in FUNCTIONS; it keeps what they raise."""

    messages: list[str]
    cause: BaseException | None


CALLED: weakref.WeakValueDictionary[int, Called] = weakref.WeakValueDictionary()
"""Who answers, by the context's address."""


def _function(name: str, method: str) -> Any:
    """A context's function: the method of the graph whose context it is called with."""

    refusal = None if name == "GetExternalContext" else ERROR

    def call(context: int, *arguments: Any) -> Any:
        graph = CALLED.get(context)
        if graph is None:
            return refusal
        try:
            return getattr(graph, method)(*arguments)
        except BaseException as error:  # which must not reach C
            graph.cause = error
            graph.messages.append(f"{name}: {error}")
            return refusal

    def nothing(*arguments: Any) -> None:
        call(*arguments)

    return structs.CALLBACKS[name](nothing if name in ("ReportError", "SetExternalContext") else call)


FUNCTIONS = {
    name: _function(name, method)
    for name, method in (
        ("GetExecutionPlan", "_get_execution_plan"),
        ("ResizeTensor", "_resize_tensor"),
        ("ReportError", "_report_error"),
        ("AddTensors", "_add_tensors"),
        ("GetNodeAndRegistration", "_get_node_and_registration"),
        ("ReplaceNodeSubsetsWithDelegateKernels", "_replace"),
        ("GetExternalContext", "_get_external_context"),
        ("SetExternalContext", "_set_external_context"),
        ("PreviewDelegatePartitioning", "_preview_partitioning"),
        ("GetModelMetadata", "_get_model_metadata"),
        ("AcquireSubgraphContext", "_acquire_subgraph_context"),
        ("ReleaseSubgraphContext", "_release_subgraph_context"),
    )
}
