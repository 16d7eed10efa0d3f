"""Snippets: small programs that must print the same under lamina and under PyTorch (one per blank-line-separated block)."""

from __future__ import annotations

TENSORS = """
print(torch.arange(end=3), torch.arange(end=torch.tensor(2.5)), torch.arange(start=1, end=3))

torch.manual_seed(0)
x = torch.zeros(3, 4, 5).transpose(0, 2)
print(torch.randn_like(x), torch.randn_like(x[0]), torch.randn_like(x[:, :1].expand(5, 4, 3)).stride(), torch.rand_like(x), torch.rand(1))

print(torch.tensor([1, 2, 3]), torch.tensor([1.5]), torch.tensor(3), torch.tensor(True), torch.tensor([[True, False]]))

print(torch.zeros(2, 3), torch.ones((2,)), torch.full((2, 2), 7), torch.full((2,), 1.5), torch.eye(3), torch.empty(0))

print(torch.arange(5), torch.arange(0, 10, 2), torch.arange(0.0, 1.0, 0.25), torch.arange(5, 0, -2), torch.linspace(0, 1, 5))

print(torch.linspace(-3, 7, 11), torch.linspace(0, 10, 4, dtype=torch.float64), torch.logspace(0, 2, 3))

x = torch.tensor([[1, 2, 3], [4, 5, 6]])
print(x.shape, x.dtype, x.ndim, x.numel(), x.device, x.size(), x.size(1), x.stride(), len(x), x.is_contiguous(), x.t().is_contiguous())

x = torch.tensor([1, 2, 3], dtype=torch.int32)
print(x, x.float(), x.double(), x.half(), x.to(torch.bfloat16), x.bool(), x.to(torch.uint8), x.type(), x.dtype)

print(torch.zeros(2, 0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.bool), torch.tensor([]))

print(torch.tensor([1e-5, 1.0]), torch.tensor([1e9, 1.0]), torch.tensor([1000.0, 0.5]), torch.tensor([0.0001, 0.5]), torch.tensor([float('nan'), float('inf'), -float('inf')]))

print(torch.tensor([float('inf'), 1.0]), torch.tensor([float('nan'), 1.25]), torch.tensor(1e10), torch.tensor(0.1234567), torch.tensor([-0.0, 0.0]))

print(torch.arange(2000))

print(torch.arange(1200.0).reshape(30, 40) / 7)

print(torch.arange(24).reshape(2, 3, 4))

print(torch.arange(1000000).reshape(100, 100, 100)[:, :, :2])

print(torch.arange(30.0) * 1.37)

print(torch.tensor([[0.5, 100.25], [-3.125, 7.0]], dtype=torch.float64), torch.tensor([123456789.0]), torch.tensor([12345678, -1]))

x = torch.tensor([1.0, 2.0], requires_grad=True)
print(x, x * 2, x.sum(), x.mean(), x.exp(), x[0], x[:1], x.view(2, 1), x.reshape(1, 2), x.unsqueeze(0))

x = torch.tensor([[1.0, 2.0]], requires_grad=True)
print(x - 1, 1 - x, x / 3, x ** 2, -x, x.abs(), x.sqrt(), x.t(), x.T, x.relu(), x.sigmoid(), x.tanh(), x.log(), x.clone(), x.squeeze())

x = torch.tensor([[1.0, 2.0]], requires_grad=True)
print(x @ x.t(), x.sum(1), x.mean(1), x.max(), x.max(1).values, x.softmax(1), x.log_softmax(1), torch.cat([x, x]), torch.stack([x, x]))

print(torch.tensor(1.5).item(), torch.tensor([1, 2]).tolist(), float(torch.tensor(2)), int(torch.tensor(2.7)), bool(torch.tensor(0)))

print(f"{torch.tensor(3.14159):.2f} {torch.tensor([1, 2])} {torch.tensor(4)}")

print(torch.Size([2, 3]), torch.zeros(2, 3).shape == (2, 3), torch.zeros(2, 3).shape[0], list(torch.zeros(2, 3).shape))

torch.set_printoptions(precision=2, sci_mode=False)
print(torch.tensor([1.23456, 1e-6]), torch.tensor([1e7]))
torch.set_printoptions(profile="default")
print(torch.tensor([1.23456]))

print(torch.tensor([[1, 2], [3, 4]]).type(), torch.is_tensor(3), torch.finfo(torch.float32).max, torch.iinfo(torch.int8).min, torch.finfo(torch.float16).eps)

print(torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.device("cpu"), torch.device("cuda:0"), repr(torch.device("cpu")))

print(torch.zeros_like(torch.ones(2, dtype=torch.int32)), torch.ones_like(torch.zeros(2)), torch.full_like(torch.zeros(2), 3), torch.zeros(2).new_ones(3), torch.zeros(2).new_tensor([1]))

print(torch.max(torch.tensor([[1, 5], [7, 2]]), 1))

print(torch.Tensor([1, 2]), torch.FloatTensor([1]), torch.LongTensor([1, 2]), torch.Tensor(2, 3).shape, torch.as_tensor([1, 2]))
"""

PROMOTION = """
for f in (torch.add, torch.sub, torch.mul, torch.div, torch.floor_divide):
    print([(y := f(*numbers), y.dtype) for numbers in ((7, 2), (-7, 2), (7.5, 2), (2, 0.5))])
print([torch.div(*n, rounding_mode=m) for m in ("floor", "trunc") for n in ((7, 2), (-7, 2), (7.5, 2))], torch.mul(True, False), torch.add(2 + 1j, 3), torch.add(3, 4, alpha=2))

i, b = torch.tensor([1, 2], dtype=torch.int8), torch.tensor([True, False])
print(torch.add(i, i, alpha=2), torch.add(i, 3, alpha=2), torch.add(b, b, alpha=2), torch.sub(i, i.double(), alpha=0.1), torch.add(torch.ones(2, dtype=torch.float64), i, alpha=0.1))

for a in (torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64):
    for b in (torch.bool, torch.uint8, torch.int8, torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        x, y, z = torch.ones(2, dtype=a), torch.ones(2, dtype=b), torch.ones((), dtype=b)
        print((x + y).dtype, (x * z).dtype, (z + x).dtype, (x / y).dtype, torch.promote_types(a, b), (x == y).dtype, torch.result_type(x, z))

for a in (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64):
    x, s = torch.ones(2, dtype=a), torch.ones((), dtype=a)
    print((x + 1).dtype, (x + 1.5).dtype, (x + True).dtype, (s + 1).dtype, (s + 1.5).dtype, (x / 2).dtype, (2 ** x).dtype, (x // 1).dtype, (x % 2).dtype)

x = torch.tensor([-7, -3, 4, 7])
print(x // 2, x % 3, x / 2, x % -3, x // -2, torch.div(x, 2, rounding_mode="trunc"), torch.fmod(x, 3), x.float() // 2, x.float() % 5, x ** 2)

a, b = torch.tensor([True, True, False]), torch.tensor([True, False, False])
print(a + b, a * b, a & b, a | b, a ^ b, ~a, a.sum(), a.float().mean(), a.all(), a.any(), a == b, a.sum().dtype)

x = torch.tensor([1, 2, 3], dtype=torch.int32)
print(x.sum().dtype, x.prod().dtype, x.cumsum(0).dtype, x.max().dtype, (x > 1).dtype, x.float().sum().dtype, x.exp().dtype, x & 1, x << 2, x >> 1)

x = torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])
print(x.round(), x.floor(), x.ceil(), x.trunc(), x.frac(), x.sign(), x.abs(), x.neg(), x.round(decimals=1))
"""

SHAPES = """
x, t = torch.arange(24.0).reshape(4, 6), torch.tensor(2)
print(x.narrow(0, 0, t), x.narrow(t - 1, t, length=t), [p.shape for p in (*x.split(t), *x.split(t, dim=t - 1), *torch.split(tensor=x, split_size_or_sections=2), *x.chunk(t), *torch.split(x, split_size_or_sections=t))])
print(x.roll(t, 1), torch.topk(x, k=t, dim=t - 1), x.diagonal(t), torch.diag(x[0], t).shape, x.movedim(t - 2, t - 1).shape, torch.linspace(0, 1, t), torch.logspace(0, 1, steps=t), x.index_fill(0, torch.tensor([0]), t))
print(torch.nn.functional.avg_pool2d(x[None], t), torch.nn.functional.max_pool2d(x[None], t, t), torch.nn.functional.conv2d(x[None, None], torch.ones(1, 1, 2, 2), stride=t, padding=t - 1).shape)

x = torch.arange(24).reshape(2, 3, 4)
print(x.view(4, 6), x.view(-1, 2).shape, x.permute(2, 0, 1).shape, x.transpose(0, 2).shape, x.flatten(), x.flatten(1).shape, x.T.shape if x.dim() == 2 else 0)

x = torch.arange(6)
print(x.unsqueeze(0), x.unsqueeze(-1).shape, x.view(1, 6, 1).squeeze().shape, x.view(1, 6, 1).squeeze(0).shape, x.view(2, 3).expand(2, 2, 3))

x = torch.arange(6).view(2, 3)
print(torch.cat([x, x]), torch.cat([x, x], dim=1), torch.stack([x, x]), torch.stack([x, x], -1).shape, torch.vstack([x, x]).shape, torch.hstack([x, x]))

x = torch.arange(10)
print(x.split(3), x.chunk(3), torch.tensor_split(x, 3), x.split([2, 8]), x.unbind()[:2], x.narrow(0, 2, 3), x.unfold(0, 4, 3))

x = torch.arange(6).view(2, 3)
print(x.repeat(2, 2), x.tile(2), x.flip(0), x.flip(0, 1), x.roll(1), x.roll(1, 1), x.rot90(), x.repeat_interleave(2), x.repeat_interleave(2, 1), torch.fliplr(x))

x = torch.arange(12.0).view(3, 4)
print(x.diagonal(), x.diagonal(1), x.diagonal(-1), torch.diag(torch.tensor([1, 2])), x.tril(), x.triu(1), x.trace(), torch.diag_embed(torch.ones(2, 2)).shape, x.movedim(0, 1).shape, x.swapaxes(0, 1).shape)

x = torch.arange(6).view(2, 3)
y = x.t()
print(y.stride(), y.is_contiguous(), y.contiguous().stride(), y.reshape(-1), y.storage_offset(), x[1:, 1:].storage_offset(), x[1:, 1:].stride())

x = torch.zeros(3, 1)
print(x.expand(3, 4).stride(), x.expand(-1, 2).shape, torch.broadcast_to(x, (2, 3, 2)).shape, [t.shape for t in torch.broadcast_tensors(x, torch.zeros(5))])

a, b = torch.meshgrid(torch.tensor([1, 2]), torch.tensor([3, 4, 5]), indexing="ij")
print(a, b, torch.atleast_2d(torch.tensor(1)), torch.unflatten(torch.arange(6), 0, (2, 3)), torch.arange(6).view(2, 3).ravel())

x = torch.arange(4.0)
print(torch.outer(x, x), x.dot(x), torch.einsum("i,j->ij", x, x), torch.einsum("ij,kj->ik", x.view(2, 2), x.view(2, 2)), torch.tensordot(x.view(2, 2), x.view(2, 2), 1), torch.kron(x[:2], x[:2]))

x = torch.arange(8.0).view(2, 2, 2)
print(x @ x, torch.bmm(x, x), x @ torch.ones(2), torch.ones(2) @ x, torch.matmul(x, torch.eye(2)), torch.einsum("bij,bjk->bik", x, x), torch.einsum("bij->bj", x), torch.einsum("ii->i", x[0]), torch.einsum("...ij->...ji", x))

print(torch.addmm(torch.ones(2, 2), torch.eye(2), torch.eye(2)), torch.baddbmm(torch.ones(1, 2, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2)), torch.mv(torch.eye(2), torch.ones(2)), torch.inner(torch.ones(2), torch.ones(2)))

print(torch.cross(torch.tensor([1.0, 0, 0]), torch.tensor([0, 1.0, 0]), dim=0), torch.tril_indices(3, 3), torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])))
"""

INDEXING = """
x = torch.arange(12).reshape(3, 4)
print(x[0], x[-1], x[1, 2], x[:, 1], x[1:], x[:2, -2:], x[::2], x[..., 0], x[None].shape, x[:, None, 1].shape, x[x > 5], x[torch.tensor([0, 2])])

x = torch.arange(12).reshape(3, 4)
print(x[[0, 2]], x[[0, 2], [1, 3]], x[:, [0, 2]], x[torch.tensor([0, 1]), :2], x[torch.tensor([[0, 1], [2, 0]])].shape, x[torch.tensor([True, False, True])], x[-1, torch.tensor([-1, 0])])

x = torch.arange(24).reshape(2, 3, 4)
print(x[:, torch.tensor([0, 2])].shape, x[:, torch.tensor([0, 2]), torch.tensor([1, 3])], x[torch.tensor([0]), :, torch.tensor([1, 2])].shape, x[..., torch.tensor([0, 0])].shape, x[x[..., 0] > 5].shape)

x = torch.zeros(3, 4)
x[0] = 1
x[:, 1] = torch.tensor([5.0, 6.0, 7.0])
x[2, 2:] = -1
x[x == 0] = 9
x[1, 1] += 2
print(x)

x = torch.zeros(5)
x[torch.tensor([0, 2])] = torch.tensor([1.0, 2.0])
x[[3, 4]] = 7
x[x > 5] *= 2
x[-1] = 3
print(x)

x = torch.zeros(3, 3)
x[torch.arange(3), torch.arange(3)] = 1
x[:, 0] += 5
x[1][2] = 8
print(x, x.fill_diagonal_(4))

x = torch.arange(6.0).view(2, 3)
v = x.view(3, 2)
v[0] = 100
x.t()[2] = -1
y = x[:, 1]
y.mul_(10)
print(x, v, y, x._version > 0)

x = torch.arange(4.0)
y = x.clone()
z = x.detach()
w = x.contiguous()
x.add_(1)
print(x, y, z, w is x, x.data, x.view(2, 2)[1])

x = torch.arange(6).view(2, 3)
print(torch.gather(x, 1, torch.tensor([[0, 2], [1, 0]])), x.index_select(1, torch.tensor([2, 0])), torch.take(x, torch.tensor([5, 0])), x.masked_select(x > 2), x.masked_fill(x > 2, 0), torch.where(x > 2, x, -x), torch.where(x > 2, 1.0, 0.0))

x = torch.zeros(2, 4)
print(x.scatter(1, torch.tensor([[1], [3]]), 5.0), x.scatter_add(1, torch.tensor([[0, 0], [1, 2]]), torch.ones(2, 2)), x.index_add(0, torch.tensor([1]), torch.ones(1, 4)), x.scatter(0, torch.tensor([[1, 0, 1, 0]]), torch.ones(1, 4)))

print(torch.nonzero(torch.tensor([[0, 1], [2, 0]])), torch.nonzero(torch.tensor([1, 0, 3]), as_tuple=True), torch.unique(torch.tensor([3, 1, 1, 2])), torch.unique(torch.tensor([3, 1, 1]), return_counts=True), torch.bincount(torch.tensor([0, 2, 2])))

print([r.tolist() for r in torch.arange(4).view(2, 2)], 3 in torch.tensor([1, 3]), [int(i) for i in torch.arange(3)], dict(enumerate(torch.arange(2).tolist())), [10, 20, 30][torch.tensor(1)])

x = torch.arange(10)
x[2:5] = 0
x[::3] = torch.tensor([9, 9, 9, 9])
x[5] = True
print(x, x[None, :, None].shape, x[True].shape, x[1:1].shape, x[:, None].shape)
"""

REDUCTIONS = """
x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
print(x.sum(), x.sum(0), x.sum(1, keepdim=True), x.sum((0, 1)), x.mean(), x.mean(-1), x.std(), x.var(0), x.std(1, unbiased=False), x.prod(), x.prod(1), x.var(dim=1, correction=0))

x = torch.tensor([[1.0, 7.0, 3.0], [4.0, 5.0, 6.0]])
print(x.max(), x.min(), x.max(0), x.min(1), x.argmax(), x.argmax(1), x.argmin(0, keepdim=True), x.amax(1), x.amin((0, 1)), torch.max(x, torch.zeros(3) + 4), torch.aminmax(x))

x = torch.tensor([3.0, 1.0, 2.0])
print(x.sort(), x.sort(descending=True), x.argsort(), x.topk(2), x.median(), x.kthvalue(2), x.cumsum(0), x.cumprod(0), x.cummax(0), x.flip(0), x.quantile(0.5), x.msort())

x = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
print(x.norm(), x.norm(dim=1), x.norm(1), x.norm(float("inf")), x.softmax(0), x.log_softmax(1), x.logsumexp(1), torch.dist(x, x + 1), torch.softmax(x, -1).sum(-1), x.norm(2, 0))

x = torch.tensor([1, 0, 2])
print(x.any(), x.all(), x.count_nonzero(), (x > 0).sum(), (x > 0).sum().item(), x.sum().item() / 3, torch.all(x > -1), x.eq(0), x.ne(0).any(), torch.any(x == 5), x.diff())

x = torch.tensor([1.0, float("nan"), 3.0, float("inf")])
print(x.isnan(), x.isinf(), x.isfinite(), x.nansum(), torch.nan_to_num(x), x.max(), torch.allclose(x, x, equal_nan=True), torch.equal(x, x), torch.isclose(x, x), x.nanmean())

x = torch.tensor([-2.0, -0.5, 0.5, 2.0])
print(x.clamp(-1, 1), x.clamp(min=0), x.clip(max=1), x.relu(), torch.maximum(x, -x), torch.lerp(x, x + 10, 0.25), torch.addcmul(x, x, x, value=2), torch.addcdiv(x, x, x), x.sigmoid().logit(), torch.hypot(x, x), torch.sinc(x), torch.square(x), torch.xlogy(x, x.abs()), torch.atan2(x, x + 1))
"""

IN_PLACE = """
x = torch.ones(3)
x += 1
x *= torch.tensor([1.0, 2.0, 3.0])
x -= 0.5
x /= 2
x.pow_(2).add_(1).neg_()
print(x, x.zero_(), x.fill_(3), x.copy_(torch.arange(3)), x.clamp_(0, 1), x.exp_(), x.sub_(1, alpha=2))

x = torch.zeros(2, 3)
y = x[0]
y += 5
x.t()[1].fill_(7)
print(x, y, x.unsqueeze_(0).shape, x.squeeze_(0).shape)

x = torch.arange(4.0)
a = x.numpy()
x.add_(1)
a[0] = 50
print(x, a)

a = np.arange(6.0).reshape(2, 3)
t = torch.from_numpy(a)
t[0, 0] = 42
a[1, 1] = -7
t.mul_(2)
v = t[1]
a[1, 2] = 0.5
print(a, t, v, t.sum(), t.dtype, t.T.shape)

a = np.zeros(3, dtype=np.int32)
t = torch.from_numpy(a).clone()
a[0] = 9
print(t, torch.tensor(a), torch.as_tensor(a), np.asarray(torch.ones(2)), torch.ones(2).numpy().dtype, np.array(torch.arange(3)) + 1)

out = torch.empty(3)
torch.add(torch.ones(3), torch.ones(3), out=out)
print(out, torch.mul(torch.ones(3), 2, out=out) is out, out)
"""

AUTOGRAD = """
x = torch.tensor(2.0, requires_grad=True)
y = (x + 3) ** 2
y.backward()
print(x.grad, y, y.grad_fn is not None, x.is_leaf, y.is_leaf, y.requires_grad)

x = torch.tensor([2.0, 3.0], requires_grad=True)
y = x + 2
z = y * y * 3
out = z.mean()
print(x, y, z, out)
out.backward()
print(x.grad)

x = torch.tensor([2.0], requires_grad=True)
for _ in range(3):
    (x * x).backward()
    print(x.grad)
x.grad.zero_()
(x * x).backward()
print(x.grad)

x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
y = x.clone()
y[0] = 5
y[:, 1] *= 3
y.sum().backward()
print(x.grad, y)

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
y = x * 2
y.backward(torch.tensor([1.0, 10.0, 100.0]))
print(x.grad)
print(torch.autograd.grad((x ** 3).sum(), x))

x = torch.tensor([1.0, 2.0], requires_grad=True)
g, = torch.autograd.grad((x ** 3).sum(), x, create_graph=True)
print(g.detach())
g.sum().backward()
print(x.grad)

x = torch.tensor([1.0, 2.0], requires_grad=True)
y = x.detach() * x
y.sum().backward()
print(x.grad, x.detach().requires_grad, (x * 1).detach().is_leaf)

x = torch.tensor([1.0, 2.0], requires_grad=True)
with torch.no_grad():
    y = x * 2
    x -= 0.5
    with torch.enable_grad():
        z = x * 2
print(y.requires_grad, z.requires_grad, x, torch.is_grad_enabled())

w = torch.tensor([1.0, 2.0], requires_grad=True)
for i in range(3):
    loss = ((w - 3) ** 2).sum()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad.zero_()
    print(loss.item(), w)

x = torch.tensor([1.0, 2.0], requires_grad=True)
y = x * 2
y.retain_grad()
z = y.pow(2).sum()
z.backward()
print(x.grad, y.grad)

x = torch.tensor([1.0, 2.0], requires_grad=True)
h = x.register_hook(lambda g: g * 10)
(x * 3).sum().backward()
print(x.grad)
h.remove()
(x * 3).sum().backward()
print(x.grad)

x = torch.tensor([1.0, 2.0], requires_grad=True)
y = x * 2
y.register_hook(lambda g: g + 1)
(y * 3).sum().backward()
print(x.grad)

x = torch.tensor([1.0, 2.0], requires_grad=True)
loss = (x ** 2).sum()
print(loss)
loss.backward(retain_graph=True)
loss.backward()
print(x.grad)

x = torch.ones(2, 2, requires_grad=True)
y = (x @ x).relu().softmax(1).log().sum() + x.exp().mean() + x.std() + x.norm() + x.max() + x.prod() + (x / (x + 1)).sum()
y.backward()
print(x.grad)

x = torch.tensor([3.0, 1.0, 2.0], requires_grad=True)
(x.max() + x.sort().values[0] * 2 + x[1:].sum() + x[[0, 0]].sum() + torch.cat([x, x])[4] + x.cumsum(0)[1] + torch.where(x > 1, x, x * 5).sum() + x.clamp(0, 2).sum()).backward()
print(x.grad)

a, b = torch.ones(3, requires_grad=True), torch.ones(1, requires_grad=True)
(a * b + b).sum().backward()
print(a.grad, b.grad)

x = torch.ones(3, requires_grad=True)
y = x * 2
y += 1
y.mul_(3)
y.sum().backward()
print(x.grad, y)

x = torch.ones(3, requires_grad=True)
y = x.view(3, 1).expand(3, 2).t()[0].unsqueeze(0)
y.sum().backward()
print(x.grad, y.shape)

x = torch.ones(2, requires_grad=True)
y = torch.zeros(4)
y[1:3] = x * 3
y.sum().backward()
print(x.grad, y)

x = torch.ones(2, requires_grad=True)
print(torch.autograd.grad(x.sum() * 2, [x], retain_graph=True), x.grad)
u = torch.ones(2, requires_grad=True)
print(torch.autograd.grad(x.sum(), [x, u], allow_unused=True))

x = torch.tensor([1.0], requires_grad=True)
y = x * 2
y2 = y.detach()
y2.requires_grad_()
z = y2 * y2
z.backward()
print(x.grad, y2.grad)
y.backward(y2.grad)
print(x.grad)

x = torch.ones(2, requires_grad=True)
x.data.mul_(5)
x.grad = torch.ones(2)
x.grad += 1
print(x, x.grad, x.requires_grad)
x.requires_grad = False
print(x, (x * 2).requires_grad)

@torch.no_grad()
def f(x):
    return x * 2
print(f(torch.ones(1, requires_grad=True)).requires_grad)
"""

ERRORS = """
torch.arange()

torch._check(False, lambda: "no")

torch._check_index(False)

torch._check_value(1 > 2)

torch._check_type(1)

torch._check_tensor_all_with(ValueError, torch.tensor([True, False]))

torch._check_tensor_all(torch.tensor([1, 2]))

torch._check_is_size(-1)

torch.add(torch.tensor([1]), 2, alpha=2.5)

torch.sub(torch.tensor([1.0]), 2, alpha=True)

torch.add(torch.tensor([1.0]), 2, alpha=2j)

torch.ones(2, 3) @ torch.ones(2, 3)

torch.ones(2, 3) + torch.ones(2, 4)

torch.ones(2, 3).view(4, 2)

torch.ones(2, 3).t().view(6)

torch.ones(3)[5]

torch.ones(3)[0, 0]

torch.ones(3)[torch.tensor([3])]

torch.ones(2)[1.5]

torch.ones(2, 3).sum(2)

torch.arange(3).mean()

torch.ones(2, requires_grad=True).numpy()

torch.ones(2, requires_grad=True).add_(1)

torch.ones(2).sum().backward()

torch.ones(2, requires_grad=True).mul(2).backward()

x = torch.ones(2, requires_grad=True)
y = x.exp()
z = y * 2
y.add_(1)
z.sum().backward()

x = torch.ones(2, requires_grad=True)
y = (x * x).sum()
y.backward()
y.backward()

torch.arange(3, requires_grad=True)

bool(torch.ones(2))

torch.ones(2).item()

int(torch.ones(3))

len(torch.tensor(1))

torch.tensor([[1, 2], [3]])

torch.zeros(2).expand(3, 3)

torch.zeros(1).expand(3).add_(1)

torch.cat([torch.ones(2, 3), torch.ones(2, 4)])

torch.stack([torch.ones(2), torch.ones(3)])

torch.ones(3, dtype=torch.int64).add_(1.5)

torch.ones(3).add_(torch.ones(2, 3))

torch.ones(2) + "a"

torch.tensor(["a"])

torch.ones(2, 2)[:, 3]

-torch.tensor([True])

torch.tensor([True]) - torch.tensor([True])

torch.ones(2).permute(0, 0)

torch.ones(2, 3).reshape(5)

torch.ones(3).squeeze(2)

torch.ones(2).to("nowhere")

torch.ones(2)[::-1]

torch.ones(2, 3).split([1, 2])

torch.gather(torch.ones(2, 2), 1, torch.tensor([[2]]))

torch.no_such_function(3)

torch.ones(2).no_such_method()

x = torch.ones(2, requires_grad=True)
x[0] = 5
"""
