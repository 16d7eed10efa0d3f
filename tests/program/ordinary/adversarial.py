"""Inputs that are optimised: attacks, attributions, pictures."""

from __future__ import annotations

from typing import Any

from .fitting import classifier


def fgsm(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 0)
    out = []
    opt = torch.optim.SGD(m.parameters(), 0.1)
    for _ in range(3):
        x.requires_grad = True
        loss = F.cross_entropy(m(x), y)
        m.zero_grad()
        loss.backward()
        g = x.grad.data
        adv = torch.clamp(x + 0.1 * g.sign(), -2, 2)
        x = x.detach()
        l2 = F.cross_entropy(m(adv.detach()), y)
        opt.zero_grad()
        l2.backward()
        opt.step()
        out += [loss.item(), l2.item(), adv.sum().item()]
    return out


def pgd_trades(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 1)
    out = []
    opt = torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        m.eval()
        adv = x.detach() + 0.001 * torch.randn(x.shape).detach()
        for _ in range(3):
            adv.requires_grad_()
            with torch.enable_grad():
                kl = F.kl_div(F.log_softmax(m(adv), 1), F.softmax(m(x), 1), reduction="sum")
            grad = torch.autograd.grad(kl, [adv])[0]
            adv = adv.detach() + 0.01 * torch.sign(grad.detach())
            adv = torch.min(torch.max(adv, x - 0.03), x + 0.03)
        m.train()
        adv = torch.autograd.Variable(torch.clamp(adv, -3.0, 3.0), requires_grad=False)
        opt.zero_grad()
        logits = m(x)
        nat = F.cross_entropy(logits, y)
        rob = F.kl_div(F.log_softmax(m(adv), 1), F.softmax(logits, 1), reduction="batchmean")
        (nat + 6 * rob).backward()
        opt.step()
        out += [nat.item(), rob.item(), adv.sum().item()]
    return out


def perturbation(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 2)
    out = []
    delta = torch.zeros_like(x, requires_grad=True)
    for _ in range(4):
        loss = F.cross_entropy(m(x + delta), y)
        loss.backward()
        delta.data = (delta + 0.1 * delta.grad.detach().sign()).clamp(-0.3, 0.3)
        delta.grad.zero_()
        out += [loss.item(), delta.sum().item()]
    adv = x.clone().requires_grad_()
    l = ((m(adv) - m(x).detach()) ** 2).sum() + ((adv - x) ** 2).sum() + (adv * x).sum()
    l.backward()
    out += adv.grad.flatten().tolist()
    return out


def saliency(torch: Any) -> list:
    nn, F, m, x, y = classifier(torch, 20)
    base_in = torch.zeros_like(x)
    total = torch.zeros_like(x)
    for a in range(5):
        xi = (base_in + a / 4 * (x - base_in)).requires_grad_()
        g = torch.autograd.grad(m(xi)[range(16), y].sum(), xi)[0]
        total += g
    ig = (x - base_in) * total / 5
    x2 = x.detach().requires_grad_()
    sc = m(x2).max(1).values.sum()
    sc.backward()
    return ig.flatten().tolist()[:20] + x2.grad.abs().flatten().tolist()[:20]


def style(torch: Any) -> list:
    torch.manual_seed(15)
    nn = torch.nn
    F = nn.functional
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1)).eval()
    for p in net.parameters():
        p.requires_grad_(False)
    c = torch.rand(1, 3, 8, 8)
    s = torch.rand(1, 3, 8, 8)
    img = c.clone().requires_grad_(True)
    opt = torch.optim.LBFGS([img], max_iter=4)
    out = []
    gram = lambda f: (lambda a: a @ a.t() / a.numel())(f.view(f.shape[1], -1))
    cf = net(c).detach()
    sg = gram(net(s)).detach()
    for _ in range(2):

        def closure():
            with torch.no_grad():
                img.clamp_(0, 1)
            opt.zero_grad()
            f = net(img)
            l = F.mse_loss(f, cf) + 1000.0 * F.mse_loss(gram(f), sg)
            l.backward()
            out.append(l.item())
            return l

        opt.step(closure)
    return out + [img.detach().sum().item(), F.mse_loss(img, c).item()]


def gradcam(torch: Any) -> list:
    torch.manual_seed(13)
    nn = torch.nn
    F = nn.functional
    m = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    A = {}
    h1 = m[2].register_forward_hook(lambda mod, i, o: A.__setitem__("a", o))
    h2 = m[2].register_full_backward_hook(lambda mod, gi, go: A.__setitem__("g", go[0]))
    x = torch.randn(1, 1, 8, 8)
    o = m(x)
    o[0, o.argmax()].backward()
    w = A["g"].mean((2, 3), keepdim=True)
    cam = F.relu((w * A["a"]).sum(1, keepdim=True))
    cam = F.interpolate(cam, (8, 8), mode="bilinear", align_corners=False)
    cam = (cam - cam.min()) / (cam.max() - cam.min() + 1e-08)
    h1.remove()
    h2.remove()
    return cam.flatten().tolist()
