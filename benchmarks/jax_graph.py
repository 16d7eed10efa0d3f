"""A PyTorch program as a JAX function, from the graph `torch.export` makes of it: what a JAX user would have written, op by op.

Images lie channels last, as convolutions in JAX are written; they are turned where a program takes them apart (`view`, `flatten`).
Statistics of batch norms in training are not updated: that is a little less work than PyTorch and lamina do.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

SPATIAL = (1, 2)


class Image:
    """An array [n, h, w, channels] that PyTorch sees as [n, channels, h, w]."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def turned(self) -> Any:
        return self.array.transpose(0, 3, 1, 2)


def function_of(torch: ModuleType, jax: ModuleType, function: Callable, inputs: tuple, model: Any) -> tuple[Callable, list, list]:
    """(call(weights, inputs, key), weights, inputs): the function of a PyTorch module's parameters, and its arrays.

    key: a JAX random key for dropout and noise, or None. The buffers of the module are constants.
    """

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model if model is not None else torch.nn.Identity()
            self.train(self.model.training)

        def forward(self, *given):
            return function(*given)

    numpy = jax.numpy
    exported = torch.export.export(Whole(), inputs, strict=False)
    signature = exported.graph_signature
    state = {**exported.state_dict, **exported.constants}
    parameters = list(signature.inputs_to_parameters.values())
    held = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    constants = {name: numpy.asarray(state[target].detach().numpy()) for name, target in held.items()}
    nodes = list(exported.graph.nodes)

    def call(weights: list, given: list, key: Any) -> Any:
        ops = _Ops(jax, key)
        taken = iter(given)
        named = dict(zip(parameters, weights, strict=True))
        values: dict[Any, Any] = {}

        def value(x: Any) -> Any:
            if isinstance(x, torch.fx.Node):
                return values[x]
            return type(x)(map(value, x)) if isinstance(x, (list, tuple)) else x

        for node in nodes:
            if node.op == "placeholder":
                if node.name in signature.inputs_to_parameters:
                    values[node] = named[signature.inputs_to_parameters[node.name]]
                else:
                    values[node] = constants[node.name] if node.name in constants else next(taken)
            elif node.op == "call_function":
                operands = [value(a) for a in node.args]
                options = {k: value(v) for k, v in node.kwargs.items()}
                values[node] = ops.run(node.target, operands, options)
            else:
                results = [_plain(v) for v in value(node.args[0])]
        own = [r for r, spec in zip(results, signature.output_specs, strict=True) if spec.kind.name in ("USER_OUTPUT", "LOSS_OUTPUT")]
        return own[0] if len(own) == 1 else tuple(own)

    arrays = [numpy.asarray(state[p].detach().numpy().copy()) for p in parameters]
    return call, arrays, [numpy.asarray(t.numpy()) for t in inputs]


def _plain(x: Any) -> Any:
    return x.turned() if isinstance(x, Image) else x


class _Ops:
    """ATen's ops in jax.numpy. What works element by element keeps the order of an image; the rest sees what PyTorch sees."""

    def __init__(self, jax: ModuleType, key: Any) -> None:
        self.jax, self.numpy, self.key = jax, jax.numpy, key

    def run(self, target: Any, operands: list, options: dict) -> Any:
        """One call of the graph."""
        if target is operator.getitem:
            return operands[0][operands[1]]
        name = target.name().removeprefix("aten::").partition(".")[0].rstrip("_")
        options.pop("dtype", None), options.pop("device", None), options.pop("pin_memory", None), options.pop("layout", None)
        image = getattr(self, f"image_{name}", None)
        if image is not None and len(getattr(operands[0], "shape", (0,) * 4)) in (0, 4):
            return Image(image(*(self._last(x) if i == 0 else x for i, x in enumerate(operands)), **options))
        each = getattr(self, f"each_{name}", None)
        if each is not None:
            images = [x for x in operands if isinstance(x, Image)]
            return Image(each(*map(self._last, operands), **options)) if images else each(*operands, **options)
        if name in ("cat", "adaptive_avg_pool2d", "mean") and isinstance(operands[0][0] if isinstance(operands[0], list) else operands[0], Image):
            return getattr(self, f"of_images_{name}")(*operands, **options)
        return getattr(self, f"of_{name}")(*map(_plain, operands), **options)

    def _last(self, x: Any) -> Any:
        """An operand with channels last."""
        if isinstance(x, Image):
            return x.array
        return x.transpose(0, 2, 3, 1) if len(getattr(x, "shape", ())) == 4 else x

    def _random(self) -> Any:
        self.key, one = self.jax.random.split(self.key)
        return one

    # -- images, channels last

    def image_conv2d(self, x, k, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
        made = self.jax.lax.conv_general_dilated(
            x, k.transpose(2, 3, 1, 0), stride, [(p, p) for p in padding], rhs_dilation=dilation, feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return made if bias is None else made + bias

    def image_conv_transpose2d(self, x, k, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), groups=1, dilation=(1, 1)):
        assert groups == 1 and tuple(dilation) == (1, 1)
        around = [(n - 1 - p, n - 1 - p + o) for n, p, o in zip(k.shape[2:], padding, output_padding, strict=True)]
        made = self.jax.lax.conv_general_dilated(
            x, k[:, :, ::-1, ::-1].transpose(2, 3, 0, 1), (1, 1), around, lhs_dilation=stride, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return made if bias is None else made + bias

    def image_batch_norm(self, x, weight, bias, mean, variance, training, momentum, eps, _):
        if training:
            mean, variance = x.mean((0, *SPATIAL)), x.var((0, *SPATIAL))
        scale = weight / self.numpy.sqrt(variance + eps)
        return x * scale + (bias - mean * scale)

    def image_max_pool2d(self, x, size, stride=(), padding=(0, 0)):
        stride = stride or size
        window, steps = (1, *size, 1), (1, *stride, 1)
        around = [(0, 0), *((p, p) for p in padding), (0, 0)]
        return self.jax.lax.reduce_window(x, -self.numpy.inf, self.jax.lax.max, window, steps, around)

    def of_images_adaptive_avg_pool2d(self, x, size):
        assert tuple(size) == (1, 1)
        return Image(x.array.mean(SPATIAL, keepdims=True))

    def of_images_mean(self, x, dims, keepdim=False):
        assert sorted(d % 4 for d in dims) == [2, 3]
        return Image(x.array.mean(SPATIAL, keepdims=True)) if keepdim else x.array.mean(SPATIAL)

    def of_images_cat(self, xs, dim=0):
        return Image(self.numpy.concatenate([x.array for x in xs], (0, 3, 1, 2)[dim]))

    # -- element by element

    def each_add(self, a, b):
        return a + b

    def each_sub(self, a, b):
        return a - b

    def each_mul(self, a, b):
        return a * b

    def each_pow(self, a, b):
        return a**b

    def each_relu(self, x):
        return self.jax.nn.relu(x)

    def each_hardtanh(self, x, low=-1.0, high=1.0):
        return self.numpy.clip(x, low, high)

    def each_sigmoid(self, x):
        return self.jax.nn.sigmoid(x)

    def each_tanh(self, x):
        return self.numpy.tanh(x)

    def each_exp(self, x):
        return self.numpy.exp(x)

    def each_gelu(self, x, approximate="none"):
        return self.jax.nn.gelu(x, approximate=approximate == "tanh")

    def each_dropout(self, x, p, train):
        return self.numpy.where(self.jax.random.bernoulli(self._random(), 1 - p, x.shape), x / (1 - p), 0) if train else x

    def each_randn_like(self, x, **_):
        return self.jax.random.normal(self._random(), x.shape)

    def each_zeros_like(self, x, **_):
        return self.numpy.zeros_like(x)

    # -- the rest

    def of_zeros(self, shape):
        return self.numpy.zeros(shape)

    def of_arange(self, *ends):
        return self.numpy.arange(*ends)

    def of_linear(self, x, w, bias=None):
        made = x @ w.T
        return made if bias is None else made + bias

    def of_matmul(self, a, b):
        return a @ b

    def of_embedding(self, table, places, *_):
        return table[places]

    def of_embedding_bag(self, table, places, offsets, _scale, mode, *_):
        bags = places.reshape(offsets.shape[0], -1)  # the rows' bags are equally long
        rows = table[bags]
        return ((rows.sum, rows.mean, rows.max)[mode](1), None, None, None)

    def of_layer_norm(self, x, shape, weight=None, bias=None, eps=1e-5, _=True):
        axes = tuple(range(-len(shape), 0))
        mean = x.mean(axes, keepdims=True)
        made = (x - mean) * self.jax.lax.rsqrt(x.var(axes, keepdims=True) + eps)
        made = made if weight is None else made * weight
        return made if bias is None else made + bias

    def of_softmax(self, x, dim):
        return self.jax.nn.softmax(x, dim)

    def of_scaled_dot_product_attention(self, q, k, v, mask=None, dropout=0.0, is_causal=False):
        assert mask is None and dropout == 0
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
        return self.jax.nn.dot_product_attention(q, k, v, is_causal=is_causal).transpose(0, 2, 1, 3)

    def of_lstm(self, x, state, weights, has_bias, layers, _dropout, _train, bidirectional, batch_first):
        assert has_bias and not bidirectional
        x = x.transpose(1, 0, 2) if batch_first else x
        last = []
        for layer in range(layers):
            w, u, b, c = weights[4 * layer : 4 * layer + 4]
            first = state[0][layer], state[1][layer]

            def step(carried, gates, u=u):
                h, cell = carried
                i, f, g, o = self.numpy.split(gates + h @ u.T, 4, -1)
                cell = self.jax.nn.sigmoid(f) * cell + self.jax.nn.sigmoid(i) * self.numpy.tanh(g)
                h = self.jax.nn.sigmoid(o) * self.numpy.tanh(cell)
                return (h, cell), h

            end, x = self.jax.lax.scan(step, first, x @ w.T + b + c)
            last.append(end)
        states = [self.numpy.stack(s) for s in zip(*last, strict=True)]
        return (x.transpose(1, 0, 2) if batch_first else x, *states)

    def of_split(self, x, size, dim=0):
        return self.numpy.split(x, x.shape[dim] // size, dim)

    def of_view(self, x, shape):
        return x.reshape(shape)

    of_reshape = of_view

    def of_flatten(self, x, start=0, end=-1):
        end %= x.ndim
        return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])

    def of_transpose(self, x, a, b):
        return self.numpy.swapaxes(x, a, b)

    def of_select(self, x, dim, at):
        return self.numpy.take(x, at, dim)

    def of_squeeze(self, x, dim):
        return x.squeeze(dim)

    def of_cat(self, xs, dim=0):
        return self.numpy.concatenate(xs, dim)

    def of_stack(self, xs, dim=0):
        return self.numpy.stack(xs, dim)

    def of_broadcast_tensors(self, xs):
        return xs if any(isinstance(x, Image) for x in xs) else self.numpy.broadcast_arrays(*xs)

    def of_sum(self, x):
        return x.sum()

    def of_mean(self, x, *where):
        return x.mean(*where)

    def of_mse_loss(self, a, b):
        return self.numpy.square(a - b).mean()

    def of_cross_entropy_loss(self, x, y):
        return -self.numpy.take_along_axis(self.jax.nn.log_softmax(x), y[:, None], 1).mean()

    def of_binary_cross_entropy(self, p, y, _=None, reduction=1):
        each = -(y * self.numpy.maximum(self.numpy.log(p), -100) + (1 - y) * self.numpy.maximum(self.numpy.log1p(-p), -100))
        return each.mean() if reduction == 1 else each.sum()

    def of_binary_cross_entropy_with_logits(self, x, y):
        return (self.numpy.maximum(x, 0) - x * y + self.numpy.log1p(self.numpy.exp(-self.numpy.abs(x)))).mean()
