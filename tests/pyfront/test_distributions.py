"""Random numbers as programs draw them: the same seed prints the same numbers under lamina and under PyTorch, line by line."""

from __future__ import annotations

import lamina
import pytest
from lamina.dialects import flags

from .test_sharing import outcome

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

LINES = r"""
torch.manual_seed(3); print(torch.bernoulli(torch.full((5,7),0.3)).sum().item(), torch.rand(3))
torch.manual_seed(3); print(torch.bernoulli(torch.full((40,),0.3,dtype=torch.float64)).tolist(), torch.rand(1))
torch.manual_seed(3); print(torch.bernoulli(torch.full((40,),0.3,dtype=torch.half)).tolist(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(50).bernoulli_(0.2).tolist(), torch.empty(20,dtype=torch.int64).bernoulli_(0.7).tolist(), torch.empty(9,dtype=torch.bool).bernoulli_().tolist())
torch.manual_seed(3); print(torch.zeros(10).bernoulli_(torch.rand(10)), torch.rand(1))
torch.manual_seed(3); print(torch.multinomial(torch.tensor([0.1,0.2,0.7]), 10, replacement=True), torch.rand(1))
torch.manual_seed(3); print(torch.multinomial(torch.rand(4,9), 5), torch.rand(1))
torch.manual_seed(3); print(torch.multinomial(torch.rand(4,9), 1), torch.multinomial(torch.rand(9).double(), 20, True), torch.rand(1))
torch.manual_seed(3); print(torch.multinomial(torch.tensor([0.,3.,0.,1.]), 2), torch.rand(1))
torch.manual_seed(3); print(torch.normal(0.0, 1.0, (3,4)), torch.normal(torch.zeros(20), torch.ones(20)*2), torch.normal(torch.arange(5.)), torch.normal(1.0, torch.ones(4)), torch.rand(1))
torch.manual_seed(3); print(torch.normal(torch.arange(20.).double(), 2.0), torch.rand(1))
torch.manual_seed(3); print(torch.randn(5), torch.randn(16), torch.randn(17), torch.randn(3,dtype=torch.float64), torch.randn(40,dtype=torch.float64), torch.rand(1))
torch.manual_seed(3); print(torch.randn(20,dtype=torch.half), torch.randn(20,dtype=torch.bfloat16), torch.rand(5,dtype=torch.half), torch.rand(5,dtype=torch.bfloat16), torch.rand(5,dtype=torch.float64))
torch.manual_seed(3); print(torch.empty(10).exponential_(), torch.empty(10).exponential_(2.5), torch.empty(6,dtype=torch.double).exponential_(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(40).exponential_(), torch.empty(8,dtype=torch.half).exponential_(), torch.empty(8,dtype=torch.bfloat16).exponential_(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(10).geometric_(0.3), torch.empty(10,dtype=torch.int64).geometric_(0.1), torch.empty(20,dtype=torch.double).geometric_(0.5), torch.rand(1))
torch.manual_seed(3); print(torch.empty(10).log_normal_(), torch.empty(20).log_normal_(0.5,0.25), torch.empty(17,dtype=torch.double).log_normal_(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(10).cauchy_(), torch.empty(20).cauchy_(1,2), torch.empty(6,dtype=torch.double).cauchy_(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(10).random_(), torch.empty(10,dtype=torch.int64).random_(), torch.empty(10,dtype=torch.uint8).random_(), torch.empty(5,dtype=torch.int8).random_(), torch.empty(5,dtype=torch.bool).random_())
torch.manual_seed(3); print(torch.empty(10).random_(7), torch.empty(10,dtype=torch.int32).random_(-3,4), torch.empty(5,dtype=torch.int64).random_(0,2**40), torch.empty(5,dtype=torch.half).random_(), torch.rand(1))
torch.manual_seed(3); print(torch.empty(10).uniform_(), torch.empty(10).uniform_(-2,3), torch.empty(6,dtype=torch.double).uniform_(1,5), torch.empty(6,dtype=torch.half).uniform_(1,5), torch.rand(1))
torch.manual_seed(3); print(torch.randint(10,(7,)), torch.randint(-5,5,(3,3)), torch.randint(0,2**35,(4,)), torch.randint(3,(5,),dtype=torch.uint8), torch.randint(10,(3,),dtype=torch.float32), torch.rand(1))
torch.manual_seed(3); print(torch.randperm(10), torch.randperm(1), torch.randperm(0), torch.randperm(5,dtype=torch.int32), torch.randperm(300)[:10], torch.rand(1))
torch.manual_seed(3); print(torch.poisson(torch.full((10,),3.0)), torch.poisson(torch.tensor([0.0,0.5,20.0,100.0,1000.0])), torch.rand(1))
torch.manual_seed(3); print(torch.poisson(torch.full((6,),12.0,dtype=torch.double)), torch.rand(1))
torch.manual_seed(3); print(torch.rand_like(torch.ones(3)), torch.randn_like(torch.ones(3)), torch.randint_like(torch.ones(3),5), torch.randint_like(torch.ones(3),2,5), torch.rand(1))
torch.manual_seed(3); print(torch.nn.functional.dropout(torch.ones(20),0.3), torch.rand(1))
torch.manual_seed(3); print(torch.nn.functional.dropout(torch.ones(4,5),0.5,training=True), torch.nn.functional.dropout2d(torch.ones(2,3,2,2),0.5), torch.nn.functional.alpha_dropout(torch.ones(10),0.2), torch.rand(1))
torch.manual_seed(3); print(torch.nn.functional.feature_alpha_dropout(torch.ones(2,3,2),0.5), torch.nn.functional.rrelu(-torch.ones(6),training=True), torch.nn.functional.gumbel_softmax(torch.ones(2,3)), torch.rand(1))
g=torch.Generator(); g.manual_seed(5); print(torch.rand(3,generator=g), torch.randn(3,generator=g), torch.randperm(4,generator=g), torch.randint(9,(3,),generator=g), torch.empty(3).uniform_(generator=g), torch.bernoulli(torch.full((4,),.5),generator=g), torch.multinomial(torch.ones(4),2,generator=g), torch.normal(0.,1.,(2,),generator=g))
g=torch.Generator(); print(g.initial_seed(), g.device, g.get_state().shape, g.get_state().dtype)
torch.manual_seed(1); s=torch.get_rng_state(); a=torch.rand(3); torch.set_rng_state(s); b=torch.rand(3); print((a==b).all(), s.shape, s.dtype, s.sum())
torch.manual_seed(1); torch.randn(3); s=torch.get_rng_state(); a=torch.randn(3); torch.set_rng_state(s); print(torch.equal(a,torch.randn(3)), s.sum())
torch.manual_seed(2); print(torch.initial_seed()); a=torch.random.initial_seed(); print(a)
torch.manual_seed(2); c=torch.rand(1)
with torch.random.fork_rng(): torch.rand(5)
g=torch.Generator().manual_seed(4); h=g.clone_state(); print(torch.rand(2,generator=g), torch.rand(2,generator=h))
torch.manual_seed(-1); print(torch.rand(1)); torch.manual_seed(2**63); print(torch.rand(1))
torch.manual_seed(2**65)
torch.manual_seed(0); x=torch.empty(3,4).T; x.normal_(); print(x); y=torch.empty(6)[::2].uniform_(); print(y)
torch.manual_seed(0); x=torch.empty(8,9).T; x.normal_(); print(x); print(torch.empty(5,6).T.bernoulli_(.5), torch.empty(5,6).T.exponential_(), torch.randn(4,5).T.random_(5))
torch.manual_seed(0); print(torch.nn.init.xavier_uniform_(torch.empty(3,4)), torch.nn.init.kaiming_normal_(torch.empty(5,6)), torch.nn.init.orthogonal_(torch.empty(3,3)).abs().sum(), torch.nn.init.trunc_normal_(torch.empty(5)), torch.nn.init.sparse_(torch.empty(4,3),0.5))
torch.manual_seed(0); print(torch.utils.data.random_split(range(10),[3,7])[0].indices, list(torch.utils.data.RandomSampler(range(6))))
torch.manual_seed(0); print(torch.binomial(torch.full((5,),10.), torch.full((5,),.5)), torch.rand(1))
torch.bernoulli(torch.tensor([1.5]))
torch.multinomial(torch.tensor([-1.,2.]),1)
torch.normal(0.,-1.,(2,))
torch.empty(3).normal_(0,-1)
torch.randint(5,5,(2,))
torch.empty(2).geometric_(0)
torch.empty(2).uniform_(3,1)
torch.poisson(torch.tensor([-1.0]))
torch.randn(2,dtype=torch.int64)
torch.rand(-1)
torch.randperm(-2)
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_same_numbers(line: str) -> None:
    want = outcome(torch, line)
    with flags.device("numpy"):
        assert outcome(lamina, line) == want


@pytest.mark.parametrize("rate", [0.3, 9.9, 10.0, 40.0, 5000.0])
def test_poisson(rate: float) -> None:
    torch.manual_seed(2)
    lamina.manual_seed(2)
    assert lamina.poisson(lamina.full((60,), rate)).tolist() == torch.poisson(torch.full((60,), rate)).tolist()


@pytest.mark.parametrize(("n", "p"), [(10, 0.5), (10, 0.9), (100, 0.3), (1000, 0.01), (300, 0.5), (20, 0.0), (20, 1.0)])
def test_binomial(n: int, p: float) -> None:
    torch.manual_seed(2)
    lamina.manual_seed(2)
    drawn = [m.binomial(m.full((60,), float(n)), m.full((60,), p)).tolist() for m in (lamina, torch)]
    assert drawn[0] == drawn[1]
