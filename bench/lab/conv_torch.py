"""The three convolutions of this library beside PyTorch's, float32 NCHW, alternating in one process, medians.

usage: TAUTGRAD_THREADS=1 python3 conv_torch.py LIBRARY shapes.txt [name]
LIBRARY is a shared library that exports tg_lab_backend (bench/lab/README.md says how to link one).
"""
import ctypes
import os
import statistics
import sys
import time

import torch


class Conv(ctypes.Structure):
    NAMES = ('n c_in h w c_out kh kw out_h out_w stride_h stride_w pad_h pad_w dilation_h dilation_w groups').split()
    _fields_ = [(name, ctypes.c_int64) for name in NAMES]


# Pointers of the table before the convolutions, in the order of native/backend.h (after version, which is padded to a pointer).
ENTRIES = ('version name last_error describe alloc release memory_stats trim fill arange cast unary binary compare select copy_strided reduce cumsum '
           'gather scatter_add matmul conv_forward conv_data conv_weights').split()


def table(path):
    library = ctypes.CDLL(path)
    library.tg_lab_backend.restype = ctypes.POINTER(ctypes.c_void_p)
    entries = library.tg_lab_backend()
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.POINTER(Conv), ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return {name: prototype(entries[i]) for i, name in enumerate(ENTRIES) if name.startswith('conv')}


def medians(contestants, rounds=9, least=0.02):
    repeats = []
    for run in contestants:
        run()
        start = time.perf_counter()
        run()
        repeats.append(max(1, int(least / max(1e-6, time.perf_counter() - start))))
    times = [[] for _ in contestants]
    for _ in range(rounds):
        for i, run in enumerate(contestants):
            start = time.perf_counter()
            for _ in range(repeats[i]):
                run()
            times[i].append((time.perf_counter() - start) / repeats[i])
    return [statistics.median(t) for t in times]


def main():
    ours = table(sys.argv[1])
    threads = int(os.environ.get('TAUTGRAD_THREADS', os.cpu_count()))
    torch.set_num_threads(threads)
    print(f'PyTorch {torch.__version__}, {threads} threads; GFLOP/s of the direct algorithm\'s operations')
    print(f'{"shape":16} {"forward":>8} {"torch":>7} {"ratio":>5}  {"data":>8} {"torch":>7} {"ratio":>5}  {"weights":>8} {"torch":>7} {"ratio":>5}  error')
    for line in open(sys.argv[2]):
        if line.startswith('#') or (len(sys.argv) > 3 and sys.argv[3] not in line):
            continue
        name, n, c_in, h, w, c_out, k, stride, pad, groups = [int(v) if i else v for i, v in enumerate(line.split())]
        x, weight = torch.rand(n, c_in, h, w) * 2 - 1, torch.rand(c_out, c_in // groups, k, k) * 2 - 1
        y = torch.nn.functional.conv2d(x, weight, stride=stride, padding=pad, groups=groups)
        dy = torch.rand_like(y) * 2 - 1
        p = Conv(n, c_in, h, w, c_out, k, k, y.shape[2], y.shape[3], stride, stride, pad, pad, 1, 1, groups)
        out = {'y': torch.empty_like(y), 'dx': torch.empty_like(x), 'dw': torch.empty_like(weight)}

        def backward(mask):
            return torch.ops.aten.convolution_backward(dy, x, weight, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, mask)

        pairs = [
            (lambda: ours['conv_forward'](0, p, x.data_ptr(), weight.data_ptr(), out['y'].data_ptr()),
             lambda: torch.nn.functional.conv2d(x, weight, stride=stride, padding=pad, groups=groups), out['y']),
            (lambda: ours['conv_data'](0, p, dy.data_ptr(), weight.data_ptr(), out['dx'].data_ptr()),
             lambda: backward([True, False, False])[0], out['dx']),
            (lambda: ours['conv_weights'](0, p, x.data_ptr(), dy.data_ptr(), out['dw'].data_ptr()),
             lambda: backward([False, True, False])[1], out['dw']),
        ]
        flops = 2 * y.numel() * (c_in // groups) * k * k
        row, error = f'{name:16}', 0
        with torch.no_grad():
            for own, theirs, result in pairs:
                a, b = medians([own, theirs])
                row += f' {flops / a / 1e9:8.1f} {flops / b / 1e9:7.1f} {b / a:5.2f} '
                expected = theirs()
                error = max(error, float((result - expected).abs().max() / expected.abs().max()))
        print(row + f' {error:.1e}', flush=True)


if __name__ == '__main__':
    main()
