"""The networks of the benchmarks in PyTorch, and a training step of one of them."""
import torch


class UNet(torch.nn.Module):
    """Three scales of 17, 34 and 68 channels, as in bench/engine.ts."""

    def __init__(self, widths=(17, 34, 68)):
        super().__init__()
        a, b, c = widths
        conv = lambda i, o, s=1: torch.nn.Conv2d(i, o, 3, stride=s, padding=1)
        up = lambda i, o: torch.nn.ConvTranspose2d(i, o, 3, stride=2, padding=1, output_padding=1)
        self.e1, self.d1, self.e2, self.d2, self.m = conv(1, a), conv(a, b, 2), conv(b, b), conv(b, c, 2), conv(c, c)
        self.u2, self.f2, self.u1, self.f1, self.out = up(c, b), conv(2 * b, b), up(b, a), conv(2 * a, a), conv(a, 1)

    def forward(self, x):
        r = torch.relu
        a = r(self.e1(x))
        b = r(self.e2(r(self.d1(a))))
        m = r(self.m(r(self.d2(b))))
        b = r(self.f2(torch.cat([r(self.u2(m)), b], 1)))
        a = r(self.f1(torch.cat([r(self.u1(b)), a], 1)))
        return self.out(a) + x


class DnCNN(torch.nn.Module):
    """Convolutions with ReLU, and batch norm where it is asked for, between them that predict the noise."""

    def __init__(self, depth=17, features=64, norm=False):
        super().__init__()
        layers = [torch.nn.Conv2d(1, features, 3, padding=1), torch.nn.ReLU()]
        for _ in range(depth - 2):
            layers += [torch.nn.Conv2d(features, features, 3, padding=1, bias=not norm)]
            layers += [torch.nn.BatchNorm2d(features)] * norm + [torch.nn.ReLU()]
        self.net = torch.nn.Sequential(*layers, torch.nn.Conv2d(features, 1, 3, padding=1))

    def forward(self, x):
        return x - self.net(x)


class Training:
    """A network (unet, dncnn or dncnn-bn), Adam and one batch. mode: eager, graph (one CUDA graph, replayed; eager on the CPU) or bf16 (autocast)."""

    def __init__(self, name, batch, side, device="cpu", mode="eager", depth=17, features=64):
        self.net = (UNet() if name == "unet" else DnCNN(depth, features, name == "dncnn-bn")).to(device)
        self.mode, self.device = mode, device
        shape = (batch, 1, side, side)
        self.x, self.target = torch.randn(shape, device=device), torch.randn(shape, device=device)
        captured = mode == "graph" and device == "cuda"
        self.adam = torch.optim.Adam(self.net.parameters(), capturable=True) if captured else torch.optim.Adam(self.net.parameters())
        self.graph = self.capture() if captured else None

    def step(self):
        if self.graph is not None:
            self.graph.replay()
            return
        self.adam.zero_grad(set_to_none=True)
        self.update()

    def update(self):
        if self.mode == "bf16":
            with torch.autocast(self.device, dtype=torch.bfloat16):
                y = self.net(self.x)
        else:
            y = self.net(self.x)
        (y.float() - self.target).square().mean().backward()
        self.adam.step()

    def capture(self):
        # As PyTorch's notes on CUDA graphs ask: a few steps on a stream of their own first, gradients made inside the graph.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.adam.zero_grad(set_to_none=True)
                self.update()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        self.adam.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.update()
        return graph
