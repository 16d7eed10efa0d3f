"""Recurrence, attention, decoding."""

from __future__ import annotations

import math
from typing import Any

from .fitting import fit


def truncated_backpropagation(torch: Any) -> list:
    torch.manual_seed(13)
    nn = torch.nn
    F = nn.functional
    rnn = nn.LSTM(3, 5, 2, batch_first=True)
    fc = nn.Linear(5, 3)
    opt = torch.optim.Adam([*rnn.parameters(), *fc.parameters()], 0.01)
    h = None
    out = []
    seq = torch.randn(2, 24, 3)
    for i in range(0, 20, 5):
        o, h = rnn(seq[:, i : i + 5], h)
        h = tuple((t.detach() for t in h))
        l = F.mse_loss(fc(o), seq[:, i + 1 : i + 6])
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out + h[0].flatten().tolist()


def tied_weights(torch: Any) -> list:
    torch.manual_seed(14)
    nn = torch.nn
    F = nn.functional
    emb = nn.Embedding(10, 6)
    dec = nn.Linear(6, 10, bias=False)
    dec.weight = emb.weight
    opt = torch.optim.Adam(set([*emb.parameters(), *dec.parameters()]), 0.01)
    out = []
    ids = torch.randint(0, 10, (4, 5))
    for _ in range(4):
        l = F.cross_entropy(dec(emb(ids[:, :-1]).cumsum(1)).flatten(0, 1), ids[:, 1:].flatten())
        opt.zero_grad()
        l.backward()
        opt.step()
        out.append(l.item())
    return out


def seq2seq_attention(torch: Any) -> list:
    torch.manual_seed(0)
    nn = torch.nn
    F = nn.functional

    class Enc(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Embedding(12, 6)
            s.g = nn.GRU(6, 8, batch_first=True, bidirectional=True)
            s.fc = nn.Linear(16, 8)

        def forward(s, x):
            o, h = s.g(s.e(x))
            return (o, torch.tanh(s.fc(torch.cat((h[-2], h[-1]), 1))))

    class Dec(nn.Module):
        def __init__(s):
            super().__init__()
            s.e = nn.Embedding(12, 6)
            s.att = nn.Linear(24, 8)
            s.v = nn.Parameter(torch.rand(8))
            s.c = nn.GRUCell(22, 8)
            s.o = nn.Linear(30, 12)

        def forward(s, x, h, enc):
            e = s.e(x)
            a = torch.tanh(s.att(torch.cat((h.unsqueeze(1).repeat(1, enc.size(1), 1), enc), 2))) @ s.v
            a = F.softmax(a, 1)
            ctx = torch.bmm(a.unsqueeze(1), enc).squeeze(1)
            h = s.c(torch.cat((e, ctx), 1), h)
            return (s.o(torch.cat((h, ctx, e), 1)), h)

    enc, dec = (Enc(), Dec())
    src = torch.randint(0, 12, (3, 5))
    trg = torch.randint(0, 12, (3, 6))
    import random

    random.seed(0)

    def step():
        o, h = enc(src)
        outs = torch.zeros(6, 3, 12)
        x = trg[:, 0]
        for t in range(1, 6):
            y, h = dec(x, h, o)
            outs[t] = y
            x = trg[:, t] if random.random() < 0.5 else y.argmax(1)
        return F.cross_entropy(outs[1:].reshape(-1, 12), trg.t()[1:].reshape(-1))

    return fit(torch, [*enc.parameters(), *dec.parameters()], step)


def transformer(torch: Any) -> list:
    torch.manual_seed(1)
    nn = torch.nn
    F = nn.functional

    class PE(nn.Module):
        def __init__(s, d, n=20):
            super().__init__()
            pe = torch.zeros(n, d)
            p = torch.arange(0, n, dtype=torch.float).unsqueeze(1)
            div = torch.exp(torch.arange(0, d, 2).float() * (-math.log(10000.0) / d))
            pe[:, 0::2] = torch.sin(p * div)
            pe[:, 1::2] = torch.cos(p * div)
            s.register_buffer("pe", pe.unsqueeze(0).transpose(0, 1))

        def forward(s, x):
            return x + s.pe[: x.size(0), :]

    m = nn.Transformer(8, 2, 1, 1, 16, 0.0)
    e = nn.Embedding(10, 8)
    pe = PE(8)
    fc = nn.Linear(8, 10)
    src = torch.randint(0, 10, (5, 2))
    t = torch.randint(0, 10, (4, 2))
    mask = m.generate_square_subsequent_mask(3)
    pad = torch.zeros(2, 5, dtype=torch.bool)
    pad[0, -1] = True

    def step():
        return F.cross_entropy(fc(m(pe(e(src)), pe(e(t[:-1])), tgt_mask=mask, src_key_padding_mask=pad)).reshape(-1, 10), t[1:].reshape(-1))

    return fit(torch, [*m.parameters(), *e.parameters(), *fc.parameters()], step)


def crf(torch: Any) -> list:
    torch.manual_seed(6)
    T = torch.randn(4, 4, requires_grad=True)
    em = torch.randn(3, 6, 4, requires_grad=True)
    tags = torch.randint(0, 4, (3, 6))
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 4:] = False

    def step():
        s = em[:, 0]
        for i in range(1, 6):
            n = torch.logsumexp(s.unsqueeze(2) + T.unsqueeze(0) + em[:, i].unsqueeze(1), 1)
            s = torch.where(mask[:, i].unsqueeze(1), n, s)
        z = torch.logsumexp(s, 1)
        g = em[torch.arange(3), 0, tags[:, 0]]
        for i in range(1, 6):
            g = g + (T[tags[:, i - 1], tags[:, i]] + em[torch.arange(3), i, tags[:, i]]) * mask[:, i]
        return (z - g).mean()

    out = fit(torch, [T, em], step)
    with torch.no_grad():
        s = em[:, 0]
        hist = []
        for i in range(1, 6):
            v, idx = (s.unsqueeze(2) + T).max(1)
            s = v + em[:, i]
            hist.append(idx)
        best = s.argmax(1)
        path = [best]
        for idx in reversed(hist):
            best = idx.gather(1, best.unsqueeze(1)).squeeze(1)
            path.append(best)
    return out + torch.stack(path[::-1]).flatten().tolist()


def rotary_and_experts(torch: Any) -> list:
    torch.manual_seed(15)
    nn = torch.nn
    F = nn.functional
    x = torch.randn(2, 5, 8)
    inv = 1.0 / 10000 ** (torch.arange(0, 4, 2).float() / 4)
    fr = torch.outer(torch.arange(5).float(), inv)
    emb = torch.cat((fr, fr), -1)
    cos, sin = (emb.cos(), emb.sin())
    rot = lambda z: torch.cat((-z[..., 2:], z[..., :2]), -1)
    q, k, v = (nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4))
    gate = nn.Linear(8, 3, bias=False)
    ex = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
    g = nn.Parameter(torch.ones(8))

    def norm(z):
        return z * torch.rsqrt(z.pow(2).mean(-1, keepdim=True) + 1e-06) * g

    def step():
        h = norm(x)
        Q = q(h).view(2, 5, 2, 4).transpose(1, 2)
        K = k(h).view(2, 5, 1, 4).transpose(1, 2).repeat_interleave(2, 1)
        V = v(h).view(2, 5, 1, 4).transpose(1, 2).expand(2, 2, 5, 4)
        Q = Q * cos + rot(Q) * sin
        K = K * cos + rot(K) * sin
        s = Q @ K.transpose(-2, -1) / 2
        m = torch.full((5, 5), float("-inf")).triu(1)
        a = F.softmax(s + m, -1) @ V
        y = x + a.transpose(1, 2).reshape(2, 5, 8)
        f = norm(y).view(-1, 8)
        w, i = torch.topk(F.softmax(gate(f), -1), 2, -1)
        w = w / w.sum(-1, keepdim=True)
        out = torch.zeros_like(f)
        for e in range(3):
            r, c = torch.where(i == e)
            if r.numel() == 0:
                continue
            out.index_add_(0, r, ex[e](f[r]) * w[r, c, None])
        return (y.view(-1, 8) + out).pow(2).mean()

    return fit(torch, [*q.parameters(), *k.parameters(), *v.parameters(), *gate.parameters(), *ex.parameters(), g], step)


def generate(torch: Any) -> list:
    torch.manual_seed(17)
    nn = torch.nn
    F = nn.functional
    e = nn.Embedding(11, 8)
    a = nn.MultiheadAttention(8, 2, batch_first=True)
    h = nn.Linear(8, 11)
    ids = torch.tensor([[1, 2]])
    with torch.no_grad():
        torch.zeros(1, 0, 8)
        for _ in range(6):
            z = e(ids)
            o, _ = a(z[:, -1:], z, z)
            lo = h(o)[:, -1] / 0.8
            v, _ = torch.topk(lo, 5)
            lo[lo < v[:, [-1]]] = -float("inf")
            p = F.softmax(lo, -1)
            n = torch.multinomial(p, 1)
            ids = torch.cat((ids, n), 1)
        lo = h(e(ids))[0, -1]
        s, i = torch.sort(lo, descending=True)
        cp = torch.cumsum(F.softmax(s, -1), -1)
        rm = cp > 0.6
        rm[1:] = rm[:-1].clone()
        rm[0] = 0
        lo[i[rm]] = -float("inf")
        beams = [(0.0, [1])]
        for _ in range(3):
            new = []
            for sc, seq in beams:
                lp = F.log_softmax(h(e(torch.tensor(seq)).mean(0)), -1)
                v, i = lp.topk(2)
                new += [(sc + v[j].item(), seq + [i[j].item()]) for j in range(2)]
            beams = sorted(new, reverse=True)[:2]
    return ids[0].tolist() + lo.isinf().float().tolist() + beams[0][1]


def ctc_packed(torch: Any) -> list:
    torch.manual_seed(20)
    nn = torch.nn
    F = nn.functional
    r = nn.LSTM(3, 4, bidirectional=True)
    fc = nn.Linear(8, 5)
    x = torch.randn(7, 3, 3)
    ln = torch.tensor([7, 5, 4])
    t = torch.randint(1, 5, (3, 2))
    tl = torch.tensor([2, 2, 1])

    def step():
        p = nn.utils.rnn.pack_padded_sequence(x, ln)
        o, _ = r(p)
        o, l = nn.utils.rnn.pad_packed_sequence(o)
        return F.ctc_loss(fc(o).log_softmax(2), t, l, tl)

    return fit(torch, [*r.parameters(), *fc.parameters()], step)
