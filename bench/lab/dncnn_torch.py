"""One training step of DnCNN-17 (gray, 64 channels, relu, Adam, batch 8 of 64x64) as a sequence of kernels, beside PyTorch's eager step.

usage: TAUTGRAD_THREADS=1 python3 dncnn_torch.py LIBRARY
The sequence is what a training loop over the fused kernels runs; it bounds from below what a framework on top of them can reach.
"""
import ctypes
import os
import sys

import torch

from conv_torch import ENTRIES, Conv, medians

LAYERS, CHANNELS, BATCH, SIDE = 17, 64, 8, 64


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.tg_lab_backend.restype = ctypes.POINTER(ctypes.c_void_p)
    entries = library.tg_lab_backend()
    i64, p, f64 = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    prototypes = {'conv_forward_bias': [i64, p, p, p, p, i64, p], 'conv_data_masked': [i64, p, p, p, p, p], 'conv_weights_bias': [i64, p, p, p, p, p],
                  'adam': [i64, i64, p, p, p, p, f64, f64, f64, f64, f64, i64, i64]}
    kernel = {name: ctypes.CFUNCTYPE(ctypes.c_int, *types)(entries[ENTRIES.index(name)]) for name, types in prototypes.items()}
    threads = int(os.environ.get('TAUTGRAD_THREADS', os.cpu_count()))
    torch.set_num_threads(threads)
    torch.manual_seed(1)

    layers = []
    for i in range(LAYERS):
        c_in, c_out = (1 if i == 0 else CHANNELS), (1 if i == LAYERS - 1 else CHANNELS)
        layers += [torch.nn.Conv2d(c_in, c_out, 3, padding=1)] + ([torch.nn.ReLU(inplace=True)] if i < LAYERS - 1 else [])
    model = torch.nn.Sequential(*layers)
    x, target = torch.rand(BATCH, 1, SIDE, SIDE), torch.rand(BATCH, 1, SIDE, SIDE)

    convs = [m for m in model if isinstance(m, torch.nn.Conv2d)]
    weights = [(m.weight.detach().clone(), m.bias.detach().clone()) for m in convs]
    gradients = [tuple(torch.empty_like(v) for v in pair) for pair in weights]
    moments = [tuple((torch.zeros_like(v), torch.zeros_like(v)) for v in pair) for pair in weights]
    shapes = [Conv(BATCH, w.shape[1], SIDE, SIDE, w.shape[0], 3, 3, SIDE, SIDE, 1, 1, 1, 1, 1, 1, 1) for w, _ in weights]
    acts = [x] + [torch.empty(BATCH, w.shape[0], SIDE, SIDE) for w, _ in weights]
    flow = [torch.empty(BATCH, CHANNELS, SIDE, SIDE) for _ in range(2)]
    count = 0

    def ours():
        nonlocal count
        count += 1
        for i, (w, b) in enumerate(weights):
            kernel['conv_forward_bias'](0, ctypes.byref(shapes[i]), acts[i].data_ptr(), w.data_ptr(), b.data_ptr(), i < LAYERS - 1, acts[i + 1].data_ptr())
        dy = (acts[-1] - target) * (2 / target.numel())
        for i in reversed(range(LAYERS)):
            dw, db = gradients[i]
            kernel['conv_weights_bias'](0, ctypes.byref(shapes[i]), acts[i].data_ptr(), dy.data_ptr(), dw.data_ptr(), db.data_ptr())
            if i > 0:
                dx = flow[i % 2]
                kernel['conv_data_masked'](0, ctypes.byref(shapes[i]), dy.data_ptr(), weights[i][0].data_ptr(), acts[i].data_ptr(), dx.data_ptr())
                dy = dx
        for pair, gradient, moment in zip(weights, gradients, moments):
            for v, g, (m, u) in zip(pair, gradient, moment):
                kernel['adam'](0, v.numel(), v.data_ptr(), g.data_ptr(), m.data_ptr(), u.data_ptr(), 1e-3, 0.9, 0.999, 1e-8, 0, 0, count)

    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def theirs():
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(model(x), target).backward()
        optimiser.step()

    ours()
    theirs()
    worst = max(float((g - m.weight.grad).abs().max() / m.weight.grad.abs().max()) for (g, _), m in zip(gradients, convs))
    worst_bias = max(float((g - m.bias.grad).abs().max() / m.bias.grad.abs().max()) for (_, g), m in zip(gradients, convs))
    print(f'PyTorch {torch.__version__}, {threads} threads; largest relative difference of the first gradients: weights {worst:.1e}, bias {worst_bias:.1e}')
    a, b = medians([ours, theirs], rounds=7)
    print(f'DnCNN-17 step: {a * 1e3:.0f} ms, PyTorch {b * 1e3:.0f} ms, ratio {b / a:.2f}')


if __name__ == '__main__':
    main()
