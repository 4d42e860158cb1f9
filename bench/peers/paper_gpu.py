"""The CUDA code of Yeh et al. 2022 (the folder of a clone of raymondyeh07/tv_layers_for_cv, named by the first argument) for bench/gpu.mjs.
Its extensions are imported where they are installed, else compiled by PyTorch. Reads one JSON case a line: x (float32 [lines, n]) and the exact
solution (float64) from files, lambda 1; answers with the time of a forward pass and of forward and backward in milliseconds, and the largest
error; or with {"skip": why}."""
import glob, json, os, sys, time


def load(folder):
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("PyTorch sees no GPU")
    if not os.path.isdir(os.path.join(folder, "tv_opt_layers")):
        raise RuntimeError(f"{folder} holds no folder tv_opt_layers")
    sys.path.insert(0, folder)
    sources = os.path.join(folder, "tv_opt_layers", "helpers", "cuda")
    kernels = {
        "dpttr_cuda": ["dpttrf_cuda_kernel", "dpttrs_cuda_kernel"],
        "tv1_backward_cuda": ["check_s_active_kernel", "setup_l_s_kernel", "pad_ltl_diag_kernel", "setup_sign_all_kernel"],
    }
    others = {name for names in kernels.values() for name in names}
    rest = sorted(os.path.basename(p)[:-3] for p in glob.glob(os.path.join(sources, "*.cu")))
    kernels["tv1_op_utils_cuda"] = [name for name in rest if name not in others]
    for name, files in kernels.items():
        try:
            __import__(name)
        except ImportError:
            from torch.utils.cpp_extension import load as compile_extension

            paths = [os.path.join(sources, f"{name}.cpp")] + [os.path.join(sources, f"{f}.cu") for f in files]
            sys.modules[name] = compile_extension(name, paths)
    from tv_opt_layers.ops.proximity_tv_cuda import ProxTV_l1_cuda

    return torch, ProxTV_l1_cuda


def measure(torch, prox, c):
    import numpy

    shape = (c["lines"], c["n"])
    x = torch.from_numpy(numpy.fromfile(c["x"], dtype=numpy.float32).reshape(shape)).cuda()
    exact = torch.from_numpy(numpy.fromfile(c["exact"], dtype=numpy.float64).reshape(shape)).cuda()
    lam = torch.ones(c["lines"], 1, device="cuda", requires_grad=True)

    def forward():
        return prox.apply(x.requires_grad_(), lam)

    def both():
        forward().square().sum().backward()

    def clock(body):
        for _ in range(2):
            body()
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(c["calls"]):
            body()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3 / c["calls"]

    error = (forward().double() - exact).abs().max().item()
    return {"forward": clock(forward), "both": clock(both), "error": error}


state = None
for line in sys.stdin:
    try:
        state = state or load(sys.argv[1])
        answer = measure(*state, json.loads(line))
    except Exception as error:  # old code beside a new PyTorch: the benchmark goes on without it
        answer = {"skip": str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}
    print(json.dumps(answer), flush=True)
