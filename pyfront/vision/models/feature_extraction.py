"""Feature extraction: a model that gives what its inner layers compute, by the names of their places."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ...fx import Graph, GraphModule, Node, Tracer
from ...fx.graph_module import _take_over
from ...nn.module import Module
from .. import ops

__all__ = ["create_feature_extractor", "get_graph_node_names"]

_LAYERS = [each for each in vars(ops).values() if isinstance(each, type) and issubclass(each, Module)]
"""What torchvision.ops has is one step, as PyTorch's own layers are."""


class NodePathTracer(Tracer):
    """Notes for every Node where in the model it was recorded: ``layer1.0.add``, ``layer1.0.relu_1``.

    leaf_modules: kinds of modules that are one step.
    """

    def __init__(self, *args: Any, leaf_modules: list[type] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leaf_modules = tuple(leaf_modules or ())
        self.current_module_qualname = ""
        self.node_to_qualname: dict[Node, str] = {}

    def is_leaf_module(self, m: Module, module_qualname: str) -> bool:
        """Layers, and the kinds that were named."""
        return isinstance(m, self.leaf_modules) or super().is_leaf_module(m, module_qualname)

    def call_module(self, m: Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """As any Tracer does, within the module's name."""
        before = self.current_module_qualname
        try:
            self.current_module_qualname = self.path_of_module(m)
            return super().call_module(m, forward, args, kwargs)
        finally:
            self.current_module_qualname = before

    def create_proxy(self, kind: str, target: Any, args: tuple, kwargs: dict, *rest: Any, **options: Any) -> Any:
        """As any Tracer does, and noted."""
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **options)
        self.node_to_qualname[proxy.node] = self._place(self.current_module_qualname, proxy.node)
        return proxy

    def _place(self, module: str, node: Node) -> str:
        if node.op == "call_module":
            name = module
        elif node.op == "placeholder" or not module:
            name = re.sub(r"_\d+$", "", node.name)
        else:
            name = f"{module}.{re.sub(r'_[0-9]+$', '', node.name)}"
        last = [known for known in reversed(self.node_to_qualname.values()) if re.fullmatch(rf"{re.escape(name)}(_[0-9]+)?", known)]
        if not last:
            return name
        number = re.search(r"_(\d+)$", last[0][len(name) :])
        return f"{name}_{int(number[1]) + 1 if number else 1}"


def _traced(model: Module, tracer_kwargs: dict | None, concrete_args: dict | None, training: bool) -> tuple[NodePathTracer, Graph]:
    before = {m: m.training for m in model.modules()}
    try:
        model.train(training)
        tracer = NodePathTracer(**{"autowrap_modules": (ops,), "leaf_modules": _LAYERS, **(tracer_kwargs or {})})
        return tracer, tracer.trace(model, concrete_args=concrete_args)
    finally:
        for module, was in before.items():
            module.training = was


def _names(tracer: NodePathTracer) -> list[str]:
    return list(tracer.node_to_qualname.values())


def _warn(train: NodePathTracer, evaluation: NodePathTracer) -> None:
    a, b = _names(train), _names(evaluation)
    if a == b:
        return
    what = "are in the same order but with different names" if sorted(a) == sorted(b) else "differ"
    warnings.warn(
        f"NOTE: The nodes obtained by tracing the model in eval mode and in train mode {what}. When choosing nodes for feature extraction, you may "
        "need to specify output nodes for train and eval mode separately.",
        stacklevel=3,
    )


def get_graph_node_names(
    model: Module, tracer_kwargs: dict[str, Any] | None = None, suppress_diff_warning: bool = False, concrete_args: dict[str, Any] | None = None
) -> tuple[list[str], list[str]]:  # fmt: skip
    """The places of a model's values in the order of computation, in train and in eval mode."""
    train, _ = _traced(model, tracer_kwargs, concrete_args, True)
    evaluation, _ = _traced(model, tracer_kwargs, concrete_args, False)
    if not suppress_diff_warning:
        _warn(train, evaluation)
    return _names(train), _names(evaluation)


class DualGraphModule(GraphModule):
    """A GraphModule with one graph for training and one for evaluation: ``train(mode)`` changes between them."""

    def __init__(self, root: Module, train_graph: Graph, eval_graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__(root, train_graph, class_name)
        for node in eval_graph.nodes:
            if node.op in ("get_attr", "call_module"):
                _take_over(root, self, node.target)
        self.train_graph, self.eval_graph = train_graph, eval_graph
        self.train(root.training)

    def train(self, mode: bool = True) -> DualGraphModule:
        """Training, with its graph, or evaluation, with the other."""
        if "eval_graph" in self.__dict__ and mode != self.training or self.graph is not (self.train_graph if mode else self.eval_graph):
            self.graph = self.train_graph if mode else self.eval_graph
        return super().train(mode)

    def _like(self, held: Module, graph: Graph) -> DualGraphModule:
        return DualGraphModule(held, deepcopy(self.train_graph), deepcopy(self.eval_graph), type(self).__name__)


def _wanted(nodes: list[str] | dict[str, str]) -> dict[str, str]:
    return {name: name for name in nodes} if isinstance(nodes, list) else {str(k): str(v) for k, v in nodes.items()}


def create_feature_extractor(
    model: Module, return_nodes: list[str] | dict[str, str] | None = None, train_return_nodes: list[str] | dict[str, str] | None = None,
    eval_return_nodes: list[str] | dict[str, str] | None = None, tracer_kwargs: dict[str, Any] | None = None,
    suppress_diff_warning: bool = False, concrete_args: dict[str, Any] | None = None,
) -> GraphModule:  # fmt: skip
    """A model that returns a dict of inner values. return_nodes: their places (a module's is that of its last value), with the keys to use.

    ValueError for a place that is not there, and where it is not said which nodes are wanted.
    """
    if all(nodes is None for nodes in (return_nodes, train_return_nodes, eval_return_nodes)):
        raise ValueError("Either `return_nodes` or `train_return_nodes` and `eval_return_nodes` together, should be specified")
    if (train_return_nodes is None) != (eval_return_nodes is None):
        raise ValueError("If `train_return_nodes` and `eval_return_nodes` are specified, then both should be specified")
    if return_nodes is not None and train_return_nodes is not None:
        raise ValueError("If `train_return_nodes` and `eval_return_nodes` are specified, then both should be specified")
    training = model.training
    made: dict[bool, tuple[NodePathTracer, Graph]] = {}
    for mode, own in ((True, train_return_nodes), (False, eval_return_nodes)):
        tracer, graph = made[mode] = _traced(model, tracer_kwargs, concrete_args, mode)
        _cut(tracer, graph, _wanted(own if return_nodes is None else return_nodes))
    if not suppress_diff_warning:
        _warn(made[True][0], made[False][0])
    return DualGraphModule(model, made[True][1], made[False][1], type(model).__name__).train(training)


def _cut(tracer: NodePathTracer, graph: Graph, wanted: dict[str, str]) -> None:
    """The graph's output becomes a dict of the wanted values; what only others need goes."""
    places = tracer.node_to_qualname
    for name in wanted:
        if not any(re.match(rf"^{re.escape(name)}(\.|$)", place) for place in places.values()):
            raise ValueError(
                f"node: '{name}' is not present in model. Hint: use `get_graph_node_names` to make sure the `return_nodes` you specified are present. "
                "It may even be that you need to specify `train_return_nodes` and `eval_return_nodes` separately."
            )
    graph.erase_node(graph.output_node())
    found: dict[str, Node] = {}
    left = dict(wanted)
    for node in reversed(list(graph.nodes)):
        place = places.get(node)
        if place is None or node.op == "placeholder" and place not in left:
            continue
        for name in list(left):
            if re.match(rf"^{re.escape(name)}(\.|$)", place):
                found[left.pop(name)] = node
                break
    graph.output({key: found[key] for key in wanted.values()})
    graph.eliminate_dead_code()
