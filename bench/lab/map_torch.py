"""Elementwise maps, reductions, copies and matrix products beside PyTorch's, float32, alternating in one process, medians.

usage: TAUTGRAD_THREADS=1 python3 map_torch.py LIBRARY [name]
"""
import ctypes
import os
import sys

import torch

from conv_torch import ENTRIES, medians


class Dims(ctypes.Structure):
    _fields_ = [('rank', ctypes.c_int64), ('d', ctypes.c_int64 * 8)]


class Lines(ctypes.Structure):
    _fields_ = [('outer', ctypes.c_int64), ('n', ctypes.c_int64), ('inner', ctypes.c_int64)]


def dims(*values):
    return Dims(len(values), (ctypes.c_int64 * 8)(*values))


UNARY = 'neg exp log log1p expm1 sqrt rsqrt square reciprocal tanh sigmoid softplus relu abs sign sin cos floor round isnan'.split()


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.tg_lab_backend.restype = ctypes.POINTER(ctypes.c_void_p)
    entries = library.tg_lab_backend()
    i64, p, f64 = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    prototypes = {
        'unary': [i64, i64, i64, p, p], 'binary': [i64, i64, p, p, p, p, p, p], 'reduce': [i64, i64, p, p, p],
        'copy_strided': [i64, p, p, i64, p, p, i64, p], 'matmul': [i64] * 7 + [p, i64, p, i64, p], 'cumsum': [i64, p, i64, p, p],
        'compare': [i64, i64, p, p, p, p, p, p], 'random_normal': [i64, i64, i64, i64, p],
    }
    prototypes['adam'] = [i64, i64, p, p, p, p, f64, f64, f64, f64, f64, i64, i64]
    kernel = {name: ctypes.CFUNCTYPE(ctypes.c_int, *types)(entries[ENTRIES.index(name)]) for name, types in prototypes.items()}
    threads = int(os.environ.get('TAUTGRAD_THREADS', os.cpu_count()))
    torch.set_num_threads(threads)
    wanted = sys.argv[2] if len(sys.argv) > 2 else ''
    print(f'PyTorch {torch.__version__}, {threads} threads')

    def contest(name, unit, amount, ours, theirs):
        if wanted in name:
            a, b = medians([ours, theirs])
            print(f'{name:28} {amount / a / 1e9:8.2f} {amount / b / 1e9:8.2f} {unit:8} ratio {b / a:5.2f}', flush=True)

    for n in (1 << 13, 1 << 21):
        x, y, u = torch.rand(n) * 4 - 2, torch.empty(n), torch.rand(n) + 0.5
        shape, one, zero = dims(n), dims(1), dims(0)
        for name in ('exp', 'log', 'log1p', 'tanh', 'sigmoid', 'softplus', 'relu', 'sqrt', 'sin', 'neg'):
            source = u if name in ('log', 'log1p', 'sqrt') else x
            f = torch.nn.functional.softplus if name == 'softplus' else getattr(torch, name)
            contest(f'{name} {n}', 'Gelem/s', n, lambda: kernel['unary'](UNARY.index(name), 0, n, source.data_ptr(), y.data_ptr()), lambda: f(source))
        contest(f'add {n}', 'Gelem/s', n, lambda: kernel['binary'](0, 0, ctypes.byref(shape), x.data_ptr(), ctypes.byref(one), u.data_ptr(), ctypes.byref(one), y.data_ptr()),
                lambda: torch.add(x, u, out=y))
        contest(f'mul scalar {n}', 'Gelem/s', n, lambda: kernel['binary'](2, 0, ctypes.byref(shape), x.data_ptr(), ctypes.byref(one), u.data_ptr(), ctypes.byref(zero), y.data_ptr()),
                lambda: torch.mul(x, 1.5, out=y))
        out = torch.empty(1)
        contest(f'sum {n}', 'Gelem/s', n, lambda: kernel['reduce'](0, 0, ctypes.byref(Lines(1, n, 1)), x.data_ptr(), out.data_ptr()), lambda: x.sum())
        contest(f'max {n}', 'Gelem/s', n, lambda: kernel['reduce'](3, 0, ctypes.byref(Lines(1, n, 1)), x.data_ptr(), out.data_ptr()), lambda: x.max())
        contest(f'normal {n}', 'Gelem/s', n, lambda: kernel['random_normal'](0, n, 1, 0, y.data_ptr()), lambda: y.normal_())
        m, v = torch.zeros(n), torch.zeros(n)
        parameter = torch.nn.Parameter(x.clone())
        parameter.grad = u.clone()
        adam = torch.optim.Adam([parameter])
        contest(f'adam {n}', 'Gelem/s', n, lambda: kernel['adam'](0, n, y.data_ptr(), u.data_ptr(), m.data_ptr(), v.data_ptr(), 1e-3, 0.9, 0.999, 1e-8, 0, 0, 3),
                adam.step)

    x, b, y = torch.rand(8, 64, 64, 64), torch.rand(64), torch.empty(8, 64, 64, 64)
    n = x.numel()
    contest('bias 8x64x64x64', 'Gelem/s', n, lambda: kernel['binary'](0, 0, ctypes.byref(dims(8, 64, 64, 64)), x.data_ptr(), ctypes.byref(dims(64 * 4096, 4096, 64, 1)),
            b.data_ptr(), ctypes.byref(dims(0, 1, 0, 0)), y.data_ptr()), lambda: torch.add(x, b.view(64, 1, 1), out=y))
    contest('sum [512, 4096, 1]', 'Gelem/s', n, lambda: kernel['reduce'](0, 0, ctypes.byref(Lines(512, 4096, 1)), x.data_ptr(), y.data_ptr()), lambda: x.sum((2, 3)))
    contest('sum [1, 32768, 64]', 'Gelem/s', n, lambda: kernel['reduce'](0, 0, ctypes.byref(Lines(1, 32768, 64)), x.data_ptr(), y.data_ptr()), lambda: x.view(32768, 64).sum(0))
    contest('max [8, 64, 4096]', 'Gelem/s', n, lambda: kernel['reduce'](3, 0, ctypes.byref(Lines(8, 64, 4096)), x.data_ptr(), y.data_ptr()), lambda: x.amax(1))
    contest('cumsum [512, 64, 64]', 'Gelem/s', n, lambda: kernel['cumsum'](0, ctypes.byref(Lines(512, 64, 64)), 0, x.data_ptr(), y.data_ptr()), lambda: x.cumsum(2))
    contest('cumsum [32768, 64, 1]', 'Gelem/s', n, lambda: kernel['cumsum'](0, ctypes.byref(Lines(32768, 64, 1)), 0, x.data_ptr(), y.data_ptr()), lambda: x.cumsum(3))
    z = torch.empty(64, 64, 64, 8)
    contest('transpose 1448x1448', 'Gelem/s', 1448 * 1448, lambda: kernel['copy_strided'](0, ctypes.byref(dims(1448, 1448)), x.data_ptr(), 0, ctypes.byref(dims(1, 1448)), y.data_ptr(), 0,
            ctypes.byref(dims(1448, 1))), lambda: x.view(-1)[:1448 * 1448].view(1448, 1448).t().contiguous())
    contest('NCHW to NHWC', 'Gelem/s', n, lambda: kernel['copy_strided'](0, ctypes.byref(dims(8, 4096, 64)), x.data_ptr(), 0, ctypes.byref(dims(64 * 4096, 1, 4096)), y.data_ptr(), 0,
            ctypes.byref(dims(64 * 4096, 64, 1))), lambda: x.permute(0, 2, 3, 1).contiguous())
    padded = torch.empty(8, 64, 66, 66)
    contest('pad 64 to 66', 'Gelem/s', n, lambda: kernel['copy_strided'](0, ctypes.byref(dims(512, 64, 64)), x.data_ptr(), 0, ctypes.byref(dims(4096, 64, 1)), padded.data_ptr(), 67,
            ctypes.byref(dims(4356, 66, 1))), lambda: torch.nn.functional.pad(x, (1, 1, 1, 1)))
    for m, n, k in ((512, 512, 512), (64, 4096, 576), (64, 576, 4096), (128, 10, 784), (1, 1024, 1024), (1024, 1024, 1024)):
        for ta, tb in ((0, 0), (1, 0), (0, 1)):
            a, b, c = torch.rand(m, k), torch.rand(k, n), torch.empty(m, n)
            aa, bb = (a.t().contiguous() if ta else a), (b.t().contiguous() if tb else b)
            contest(f'matmul {m}x{n}x{k} {"t" if ta else "n"}{"t" if tb else "n"}', 'GFLOP/s', 2.0 * m * n * k, lambda: kernel['matmul'](0, 1, m, n, k, ta, tb, aa.data_ptr(), 0, bb.data_ptr(), 0, c.data_ptr()),
                    lambda: torch.matmul(aa.t() if ta else aa, bb.t() if tb else bb, out=c))


if __name__ == '__main__':
    main()
