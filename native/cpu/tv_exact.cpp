// The combinatorial finish (kernels/grid_flow.h holds the flows inside a component). The partition and the dual improve together: merging
// across an edge with room from the higher to the lower value, and levelling after it, lowers |x - D^T u|^2; cutting at a minimum cut keeps
// it. There are finitely many partitions, so it ends, and it ends at the solution.
#include "tv_exact.h"
#include "memory.h"
#include "parallel.h"

#include <cstring>

namespace tautgrad::cpu {
namespace {
constexpr int64_t TASK_PIXELS = 4096; // components smaller than this share a task
constexpr int MAX_ROUNDS = 200;

int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }
} // namespace

template <int D> bool ExactGrid<D>::allocate(int64_t pixels, const int64_t *strides) {
  n = pixels;
  int64_t margin = 0;
  for (int k = 0; k < D; ++k) {
    stride[k] = strides[k];
    margin = stride[k] > margin ? stride[k] : margin;
  }
  margin = (margin + 15) / 16 * 16;
  const int64_t doubles = padded(8 * n), ints = padded(4 * n), bytes = padded(n), edges = padded(16 * (n + margin)),
                labels = padded(4 * (n + 2 * margin));
  memory_ = pool_alloc(3 * doubles + D * edges + labels + 4 * ints + 2 * bytes);
  if (!memory_) return false;
  char *at = static_cast<char *>(memory_);
  const auto take = [&](int64_t size) {
    char *block = at;
    at += size;
    return block;
  };
  x = reinterpret_cast<double *>(take(doubles));
  value = reinterpret_cast<double *>(take(doubles));
  excess_ = reinterpret_cast<double *>(take(doubles));
  for (int k = 0; k < D; ++k) {
    char *block = take(edges);
    std::memset(block, 0, size_t(edges));
    edge[k] = reinterpret_cast<FlowEdge *>(block) + margin;
  }
  char *block = take(labels);
  std::memset(block, -1, size_t(labels));
  label = reinterpret_cast<int32_t *>(block) + margin;
  count_ = reinterpret_cast<int32_t *>(take(ints));
  height_ = reinterpret_cast<int32_t *>(take(ints));
  queue_ = reinterpret_cast<int32_t *>(take(ints));
  list_ = reinterpret_cast<int32_t *>(take(ints));
  toward_ = reinterpret_cast<uint8_t *>(take(bytes));
  changed_ = reinterpret_cast<uint8_t *>(take(bytes));
  return true;
}

template <int D> void ExactGrid<D>::release() { pool_release(memory_); }

// Rounding of z: some units in the last place of the largest number in its sums.
template <int D> double ExactGrid<D>::noise() const {
  double largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    largest = absolute(x[i]) > largest ? absolute(x[i]) : largest;
    for (int k = 0; k < D; ++k) largest = absolute(edge[k][i].u) > largest ? absolute(edge[k][i].u) : largest;
  }
  return 16 * 0x1p-53 * largest;
}

// value = mean of z over each component.
template <int D> void ExactGrid<D>::means() {
  for (int64_t i = 0; i < n; ++i) {
    value[i] = 0;
    count_[i] = 0;
  }
  for (int64_t i = 0; i < n; ++i) {
    double z = x[i];
    for (int k = 0; k < D; ++k) z += edge[k][i].u - edge[k][i - stride[k]].u;
    value[label[i]] += z;
    ++count_[label[i]];
  }
  for (int64_t i = 0; i < n; ++i)
    if (count_[i]) value[i] /= count_[i];
}

template <int D> bool ExactGrid<D>::merge(double noise) {
  bool any = false;
  for (bool again = true; again;) {
    again = false;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t own = label[i];
      for (int k = 0; k < D; ++k) {
        const FlowEdge e = edge[k][i];
        const int64_t j = i + stride[k];
        if (e.w == 0 || label[j] == own) continue;
        const int32_t a = find_root(label, own), b = find_root(label, label[j]);
        if (a == b) continue;
        const double rise = value[b] - value[a];
        if (rise < -noise ? e.u == -e.w : !(rise > noise) || e.u == e.w) continue;
        unite(a, b);
        again = any = true;
      }
    }
  }
  if (any) flatten(label, n);
  return any;
}

// Every changed component, levelled by one task; small ones share tasks. What a task does depends on its component only.
template <int D> void ExactGrid<D>::level_changed() {
  // Places of the changed components in the list, by counting; count_ becomes the next free place.
  int32_t *tasks = queue_, *place = height_;
  int64_t filled = 0, task_count = 0, first = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (label[i] != i || !changed_[i]) continue;
    if (filled - first >= TASK_PIXELS || (filled > first && count_[i] >= TASK_PIXELS)) {
      tasks[task_count++] = int32_t(first);
      first = filled;
    }
    place[i] = int32_t(filled);
    filled += count_[i];
  }
  if (filled == 0) return;
  tasks[task_count++] = int32_t(first);
  // The queue's own room serves the tasks: keep the cuts elsewhere.
  int32_t *cuts = static_cast<int32_t *>(pool_alloc((task_count + 1) * 4));
  if (!cuts) return;
  std::memcpy(cuts, tasks, size_t(task_count) * 4);
  cuts[task_count] = int32_t(filled);
  for (int64_t i = 0; i < n; ++i)
    if (changed_[label[i]]) list_[place[label[i]]++] = int32_t(i);
  parallel_for(task_count, [&](int64_t t) {
    GridFlow<D> flow{};
    for (int k = 0; k < D; ++k) {
      flow.stride[k] = stride[k];
      flow.edge[k] = edge[k];
    }
    flow.x = x;
    flow.label = label;
    flow.excess = excess_;
    flow.height = height_;
    flow.queue = queue_;
    flow.toward = toward_;
    flow.list = list_;
    for (int64_t begin = cuts[t]; begin < cuts[t + 1];) {
      const int32_t own = label[list_[begin]];
      int64_t end = begin + 1;
      while (end < cuts[t + 1] && label[list_[end]] == own) ++end;
      double mean;
      if (!flow.level(begin, end, &mean)) continue; // cut: its pieces follow
      value[own] = mean;
      count_[own] = int32_t(end - begin);
      changed_[own] = 0;
      begin = end;
    }
  });
  pool_release(cuts);
}

// Neighbours whose values are equal up to rounding get one value, so that no rounding stands in the wrong order.
template <int D> bool ExactGrid<D>::pool_ties(double noise) {
  bool any = false;
  for (int64_t i = 0; i < n; ++i)
    for (int k = 0; k < D; ++k) {
      const FlowEdge e = edge[k][i];
      const int64_t j = i + stride[k];
      if (e.w == 0 || label[j] == label[i]) continue;
      const int32_t a = find_root(label, label[i]), b = find_root(label, label[j]);
      const double rise = value[b] - value[a];
      if (a == b || rise == 0 || absolute(rise) > 4 * noise || (rise < 0 ? e.u == -e.w : e.u == e.w)) continue;
      unite(a, b);
      any = true;
    }
  if (any) flatten(label, n);
  return any;
}

// Joins two roots under their common mean.
template <int D> void ExactGrid<D>::unite(int32_t a, int32_t b) {
  const double total = double(count_[a]) + double(count_[b]), mean = value[a] + (value[b] - value[a]) * (double(count_[b]) / total);
  const int32_t root = a < b ? a : b;
  label[a < b ? b : a] = root;
  value[root] = mean;
  count_[root] = count_[a] + count_[b];
  changed_[root] = 1;
}

template <int D> int ExactGrid<D>::finish(const int32_t *cancel) {
  flatten(label, n);
  means();
  std::memset(changed_, 1, size_t(n));
  int round = 0;
  for (; round < MAX_ROUNDS; ++round) {
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return 0;
    if (!merge(noise()) && round > 0) break;
    level_changed();
  }
  // Each pass may bring a tie with the next neighbour.
  while (pool_ties(noise())) {}
  return round;
}

template <int D> void ExactGrid<D>::certify(double *gap, double *objective) const {
  constexpr int64_t BLOCK = 1 << 14;
  const int64_t blocks = (n + BLOCK - 1) / BLOCK;
  double *parts = excess_; // two a block; at least two pixels a block but in images of one pixel
  if (n == 1) {
    *gap = *objective = 0.5 * (x[0] - value[0]) * (x[0] - value[0]);
    return;
  }
  parallel_for(blocks, [&](int64_t b) {
    double slack = 0, primal = 0;
    for (int64_t i = b * BLOCK; i < n && i < (b + 1) * BLOCK; ++i) {
      const double y = value[label[i]];
      double z = x[i];
      for (int k = 0; k < D; ++k) {
        const FlowEdge e = edge[k][i];
        z += e.u - edge[k][i - stride[k]].u;
        if (e.w == 0) continue;
        const double rise = value[label[i + stride[k]]] - y;
        slack += rise > 0 ? (e.w - e.u) * rise : (e.w + e.u) * -rise;
        primal += e.w * absolute(rise);
      }
      slack += 0.5 * (y - z) * (y - z);
      primal += 0.5 * (x[i] - y) * (x[i] - y);
    }
    parts[2 * b] = slack;
    parts[2 * b + 1] = primal;
  });
  *gap = *objective = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    *gap += parts[2 * b];
    *objective += parts[2 * b + 1];
  }
}

template struct ExactGrid<2>;

} // namespace tautgrad::cpu
