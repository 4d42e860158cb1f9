// Batched tridiagonal solvers on the CPU: systems across SIMD lanes and threads.
#include "isa.h"
#include "parallel.h"

#include "../kernels/tridiagonal.h"
#include "tridiagonal_factors.h"
#include "tridiagonal_lanes.h"
#include "tridiagonal_long.h"
#include "tridiagonal_pivoted.h"

namespace tautgrad::cpu::TG_ISA {
namespace {

// How the systems of [outer, n, inner] meet the lanes: blocks of adjacent systems where inner is wide enough, blocks of rows staged through
// a transpose where inner is 1, single systems for the rest.
template <class T> class Systems {
  using Block = SystemBlock<T>;

public:
  explicit Systems(const tg_lines &g) : n_(g.n), inner_(g.inner), systems_(g.outer * g.inner) {
    const bool rows = inner_ == 1 && n_ * Block::width * int64_t(sizeof(T)) <= (int64_t(8) << 20);
    run_ = rows ? systems_ : inner_; // systems that may share blocks
    blocks_per_run_ = rows || inner_ >= Block::width ? run_ / Block::width : 0;
    rows_ = rows;
    staged_ = rows || inner_ * int64_t(sizeof(T)) % 1024 == 0;
  }
  bool staged() const { return staged_; }
  bool rows() const { return rows_; }
  // Whether the block from this system on may take the short way (SystemBlock).
  bool is_short(int64_t system) const { return rows_ && n_ % 4 == 0 && n_ >= 8 && n_ <= Block::SHORT && system + Block::width < systems_; }

  bool cut() const { return inner_ == 1 && n_ >= LONG_SYSTEM; } // a system outside the blocks is cut into chunks

  // block(offset of the first unknown, of the first off-diagonal, first system), single(the same); both are called from several threads.
  // Systems that are cut come one after the other: they are parallel inside.
  template <class OnBlock, class OnSingle> void each(const OnBlock &on_block, const OnSingle &on_single) const {
    if (n_ <= 0 || systems_ <= 0) return;
    const int64_t runs = systems_ / run_, blocks = runs * blocks_per_run_;
    const int64_t blocks_per_task = tasks_of(n_ * Block::width);
    parallel_for((blocks + blocks_per_task - 1) / blocks_per_task, [&](int64_t task) {
      for (int64_t i = task * blocks_per_task; i < blocks && i < (task + 1) * blocks_per_task; ++i)
        visit(i / blocks_per_run_ * run_ + i % blocks_per_run_ * Block::width, on_block);
    });
    const int64_t rest = run_ - blocks_per_run_ * Block::width, singles = runs * rest, per_task = tasks_of(n_);
    if (rest == 0) return;
    if (cut()) {
      for (int64_t i = 0; i < singles; ++i) visit(i / rest * run_ + blocks_per_run_ * Block::width + i % rest, on_single);
      return;
    }
    parallel_for((singles + per_task - 1) / per_task, [&](int64_t task) {
      for (int64_t i = task * per_task; i < singles && i < (task + 1) * per_task; ++i)
        visit(i / rest * run_ + blocks_per_run_ * Block::width + i % rest, on_single);
    });
  }

private:
  static int64_t tasks_of(int64_t unknowns) { return unknowns >= 16384 ? 1 : 16384 / unknowns; }
  template <class Visit> void visit(int64_t system, const Visit &v) const {
    v(system / inner_ * n_ * inner_ + system % inner_, system / inner_ * (n_ - 1) * inner_ + system % inner_, system);
  }
  int64_t n_, inner_, systems_, run_, blocks_per_run_;
  bool staged_, rows_;
};

// The arrays of one block: where they lie when the systems are adjacent, else transposed copies in scratch memory.
template <class T> class Staged {
  using Block = SystemBlock<T>;

public:
  Staged(bool staged, int64_t n, int64_t inner, int arrays) : staged_(staged), n_(n), inner_(inner) {
    if (staged_) memory_ = next_ = static_cast<T *>(scratch(SCRATCH_STAGED, arrays * n * Block::width * int64_t(sizeof(T))));
  }
  bool ok() const { return !staged_ || memory_; }
  int64_t stride() const { return staged_ ? int64_t(Block::width) : inner_; }
  const T *in(const T *p, int64_t count) {
    if (!staged_) return p;
    T *copy = take();
    if (inner_ == 1)
      Block::interleave(count, count, p, copy);
    else
      Block::gather_columns(count, inner_, p, copy);
    return copy;
  }
  T *out(T *p) { return staged_ ? take() : p; }
  void put(int64_t count, const T *block, T *p) const {
    if (!staged_) return;
    if (inner_ == 1)
      Block::separate(count, count, block, p);
    else
      Block::scatter_columns(count, inner_, block, p);
  }

private:
  T *take() {
    T *at = next_;
    next_ += n_ * Block::width;
    return at;
  }
  bool staged_;
  int64_t n_, inner_;
  T *memory_ = nullptr, *next_ = nullptr;
};

int outcome(const char *kernel, int out_of_memory, int64_t n) {
  return out_of_memory ? fail("%s: out of memory for systems of %lld unknowns", kernel, (long long)n) : int(TG_OK);
}

// Solves again, one by one, the systems of a block whose pivots failed.
template <class Single>
void settle(uint64_t failed, int width, int64_t system, int64_t at, int64_t edge, int64_t n, bool rows, int32_t *status,
            const Single &single) {
  for (int i = 0; i < width; ++i) status[system + i] = 0;
  if (!(failed & ((uint64_t(1) << width) - 1))) return;
  for (int i = 0; i < width; ++i) {
    if (failed >> i & 1) single(at + (rows ? i * n : i), edge + (rows ? i * (n - 1) : i), system + i);
  }
}

template <class T> int pttrf_typed(const tg_lines &g, const T *d, const T *e, T *d_out, T *l_out, int32_t *status) {
  using Block = SystemBlock<T>;
  const Systems<T> systems(g);
  int out_of_memory = 0;
  const auto single = [&](int64_t at, int64_t edge, int64_t s) {
    status[s] = tautgrad::pttrf(g.n, d + at, e + edge, d_out + at, l_out + edge, g.inner);
  };
  const auto alone = [&](int64_t at, int64_t edge, int64_t s) {
    status[s] = 0;
    const Long done = systems.cut() ? LongSystem<T>(g.n, d + at, e + edge, nullptr).factorise(d_out + at, l_out + edge) : Long::refused;
    if (done != Long::solved) single(at, edge, s);
  };
  systems.each(
      [&](int64_t at, int64_t edge, int64_t s) {
        if (systems.is_short(s)) {
          const uint64_t failed = Block::pttrf_short(g.n, d + at, e + edge, d_out + at, l_out + edge);
          return settle(failed, Block::width, s, at, edge, g.n, true, status, single);
        }
        Staged<T> io(systems.staged(), g.n, g.inner, 4);
        if (!io.ok()) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
        const T *bd = io.in(d + at, g.n), *be = io.in(e + edge, g.n - 1);
        T *bd_out = io.out(d_out + at), *bl_out = io.out(l_out + edge);
        const uint64_t failed = Block::pttrf(g.n, bd, be, bd_out, bl_out, io.stride());
        io.put(g.n, bd_out, d_out + at);
        io.put(g.n - 1, bl_out, l_out + edge);
        settle(failed, Block::width, s, at, edge, g.n, systems.rows(), status, single);
      },
      alone);
  return outcome("pttrf", out_of_memory, g.n);
}

template <class T> int pttrs_typed(const tg_lines &g, const T *d, const T *l, const T *b, T *x) {
  using Block = SystemBlock<T>;
  const Systems<T> systems(g);
  int out_of_memory = 0;
  systems.each(
      [&](int64_t at, int64_t edge, int64_t s) {
        if (systems.is_short(s)) return Block::pttrs_short(g.n, d + at, l + edge, b + at, x + at);
        Staged<T> io(systems.staged(), g.n, g.inner, 3);
        if (!io.ok()) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
        const T *bd = io.in(d + at, g.n), *bl = io.in(l + edge, g.n - 1), *bb = io.in(b + at, g.n);
        T *bx = systems.staged() ? const_cast<T *>(bb) : x + at; // a staged right-hand side is ours to overwrite
        Block::pttrs(g.n, bd, bl, bb, bx, io.stride());
        io.put(g.n, bx, x + at);
      },
      [&](int64_t at, int64_t edge, int64_t) {
        if (systems.cut() && LongFactors<T>(g.n, d + at, l + edge, b + at).solve(x + at) == Long::solved) return;
        tautgrad::pttrs(g.n, d + at, l + edge, b + at, x + at, g.inner);
      });
  return outcome("pttrs", out_of_memory, g.n);
}

template <class T> int ptsv_typed(const tg_lines &g, const T *d, const T *e, const T *b, T *x, int32_t *status) {
  using Block = SystemBlock<T>;
  const Systems<T> systems(g);
  int out_of_memory = 0;
  const auto single = [&](int64_t at, int64_t edge, int64_t s) {
    T *f = static_cast<T *>(scratch(SCRATCH_FACTORS, 2 * g.n * int64_t(sizeof(T))));
    if (!f) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    status[s] = tautgrad::ptsv(g.n, d + at, e + edge, b + at, x + at, g.inner, f, f + g.n);
  };
  const auto alone = [&](int64_t at, int64_t edge, int64_t s) {
    status[s] = 0;
    const Long done = systems.cut() ? LongSystem<T>(g.n, d + at, e + edge, b + at).solve(x + at) : Long::refused;
    if (done != Long::solved) single(at, edge, s);
  };
  systems.each(
      [&](int64_t at, int64_t edge, int64_t s) {
        T *f = static_cast<T *>(scratch(SCRATCH_FACTORS, 2 * g.n * Block::width * int64_t(sizeof(T))));
        Staged<T> io(systems.staged(), g.n, g.inner, 4);
        if (!f || !io.ok()) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
        const T *bd = io.in(d + at, g.n), *be = io.in(e + edge, g.n - 1), *bb = io.in(b + at, g.n);
        T *bx = io.out(x + at);
        const uint64_t failed = Block::ptsv(g.n, bd, be, bb, bx, io.stride(), f, f + g.n * Block::width);
        io.put(g.n, bx, x + at);
        settle(failed, Block::width, s, at, edge, g.n, systems.rows(), status, single);
      },
      alone);
  return outcome("ptsv", out_of_memory, g.n);
}

template <class T> int gtsv_typed(const tg_lines &g, const T *dl, const T *d, const T *du, const T *b, T *x, int32_t *status) {
  using Block = SystemBlock<T>;
  const Systems<T> systems(g);
  int out_of_memory = 0;
  const auto single = [&](int64_t at, int64_t edge, int64_t s) {
    T *u = static_cast<T *>(scratch(SCRATCH_FACTORS, 3 * g.n * int64_t(sizeof(T))));
    if (!u) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
    status[s] = tautgrad::gtsv(g.n, dl + edge, d + at, du + edge, b + at, x + at, g.inner, u, u + g.n, u + 2 * g.n);
  };
  const auto alone = [&](int64_t at, int64_t edge, int64_t s) {
    status[s] = 0;
    const Long done = systems.cut() ? LongGeneral<T>(g.n, dl + edge, d + at, du + edge, b + at).solve(x + at) : Long::refused;
    if (done != Long::solved) single(at, edge, s);
  };
  systems.each(
      [&](int64_t at, int64_t edge, int64_t s) {
        const int64_t size = g.n * Block::width;
        T *u = static_cast<T *>(scratch(SCRATCH_FACTORS, 3 * size * int64_t(sizeof(T))));
        Staged<T> io(systems.staged(), g.n, g.inner, 5);
        if (!u || !io.ok()) return __atomic_store_n(&out_of_memory, 1, __ATOMIC_RELAXED);
        const T *bl = io.in(dl + edge, g.n - 1), *bd = io.in(d + at, g.n), *bu = io.in(du + edge, g.n - 1), *bb = io.in(b + at, g.n);
        T *bx = io.out(x + at);
        const uint64_t failed = Block::gtsv(g.n, bl, bd, bu, bb, bx, io.stride(), u, u + size, u + 2 * size);
        io.put(g.n, bx, x + at);
        settle(failed, Block::width, s, at, edge, g.n, systems.rows(), status, single);
      },
      alone);
  return outcome("gtsv", out_of_memory, g.n);
}

template <class T> const T *in(const void *p) { return static_cast<const T *>(p); }
template <class T> T *out(void *p) { return static_cast<T *>(p); }

int pttrf_entry(int64_t dtype, const tg_lines *g, const void *d, const void *e, void *d_out, void *l_out, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return pttrf_typed(*g, in<float>(d), in<float>(e), out<float>(d_out), out<float>(l_out), s);
  return pttrf_typed(*g, in<double>(d), in<double>(e), out<double>(d_out), out<double>(l_out), s);
}

int pttrs_entry(int64_t dtype, const tg_lines *g, const void *d, const void *l, const void *b, void *x) {
  if (dtype == TG_F32) return pttrs_typed(*g, in<float>(d), in<float>(l), in<float>(b), out<float>(x));
  return pttrs_typed(*g, in<double>(d), in<double>(l), in<double>(b), out<double>(x));
}

int ptsv_entry(int64_t dtype, const tg_lines *g, const void *d, const void *e, const void *b, void *x, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return ptsv_typed(*g, in<float>(d), in<float>(e), in<float>(b), out<float>(x), s);
  return ptsv_typed(*g, in<double>(d), in<double>(e), in<double>(b), out<double>(x), s);
}

int gtsv_entry(int64_t dtype, const tg_lines *g, const void *dl, const void *d, const void *du, const void *b, void *x, void *status) {
  int32_t *s = out<int32_t>(status);
  if (dtype == TG_F32) return gtsv_typed(*g, in<float>(dl), in<float>(d), in<float>(du), in<float>(b), out<float>(x), s);
  return gtsv_typed(*g, in<double>(dl), in<double>(d), in<double>(du), in<double>(b), out<double>(x), s);
}
} // namespace

void register_tridiagonal(tg_backend *t) {
  t->pttrf = pttrf_entry;
  t->pttrs = pttrs_entry;
  t->ptsv = ptsv_entry;
  t->gtsv = gtsv_entry;
}
} // namespace tautgrad::cpu::TG_ISA
