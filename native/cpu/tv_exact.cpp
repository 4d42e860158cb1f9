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

// Whether an edge leaves room from its higher to its lower end, whose values differ by `rise` (up to noise: no).
inline bool misplaced(const FlowEdge &e, double rise, double noise) {
  return ((rise < -noise) & (e.u > -e.w)) | ((rise > noise) & (e.u < e.w));
}
} // namespace

// The grid in blocks of pixels, on the pool: body(block, begin, end).
template <int D> template <class Body> void ExactGrid<D>::each_block(const Body &body) const {
  parallel_for(blocks(), [&](int64_t b) { body(b, b * BLOCK, (b + 1) * BLOCK < n ? (b + 1) * BLOCK : n); });
}

template <int D> bool ExactGrid<D>::allocate(int64_t pixels, const int64_t *strides) {
  n = pixels;
  int64_t margin = 0;
  for (int k = 0; k < D; ++k) {
    stride[k] = strides[k];
    margin = stride[k] > margin ? stride[k] : margin;
  }
  margin = (margin + 15) / 16 * 16;
  const int64_t doubles = padded(8 * n), pixels_behind = padded(8 * (n + margin)), ints = padded(4 * n), bytes = padded(n),
                edges = padded(16 * (n + margin)), labels = padded(4 * (n + 2 * margin)), parts = padded(16 * blocks());
  memory_ = pool_alloc(2 * doubles + pixels_behind + D * edges + labels + 4 * ints + 2 * bytes + parts);
  if (!memory_) return false;
  char *at = static_cast<char *>(memory_);
  const auto take = [&](int64_t size) {
    char *block = at;
    at += size;
    return block;
  };
  x = reinterpret_cast<double *>(take(doubles));
  value = reinterpret_cast<double *>(take(doubles));
  pixel_ = reinterpret_cast<double *>(take(pixels_behind));
  for (int64_t i = n; i < n + margin; ++i) pixel_[i] = 0;
  parts_ = reinterpret_cast<double *>(take(parts));
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
  each_block([&](int64_t block, int64_t begin, int64_t end) {
    double most = 0;
    for (int64_t i = begin; i < end; ++i) {
      most = __builtin_fabs(x[i]) > most ? __builtin_fabs(x[i]) : most;
      for (int k = 0; k < D; ++k) most = __builtin_fabs(edge[k][i].u) > most ? __builtin_fabs(edge[k][i].u) : most;
    }
    parts_[2 * block] = most;
  });
  for (int64_t block = 0; block < blocks(); ++block) largest = parts_[2 * block] > largest ? parts_[2 * block] : largest;
  return 16 * 0x1p-53 * largest;
}

// value = mean of z over each component.
template <int D> void ExactGrid<D>::means() {
  each_block([&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double z = x[i];
      for (int k = 0; k < D; ++k) z += edge[k][i].u - edge[k][i - stride[k]].u;
      pixel_[i] = z;
      value[i] = 0;
      count_[i] = 0;
    }
  });
  for (int64_t i = 0; i < n; ++i) {
    value[label[i]] += pixel_[i];
    ++count_[label[i]];
  }
  for (int64_t i = 0; i < n; ++i)
    if (count_[i]) value[i] /= count_[i];
}

// Joins neighbours whose values stand in the wrong order by more than `noise`: the edge between them has room from the higher to the
// lower. Returns whether there were any.
template <int D> bool ExactGrid<D>::merge(double noise) {
  for (bool any = false;; any = true) {
    each_block([&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pixel_[i] = value[label[i]];
    });
    each_block([&](int64_t block, int64_t begin, int64_t end) {
      bool found = false;
      for (int64_t i = begin; i < end; ++i) {
        bool here = false;
        for (int k = 0; k < D; ++k) here |= misplaced(edge[k][i], pixel_[i + stride[k]] - pixel_[i], noise);
        toward_[i] = here;
        found |= here;
      }
      parts_[2 * block] = found;
    });
    bool found = false;
    for (int64_t block = 0; block < blocks(); ++block) {
      if (parts_[2 * block] == 0) continue;
      found = true;
      for (int64_t i = block * BLOCK; i < n && i < (block + 1) * BLOCK; ++i) {
        if (!toward_[i]) continue;
        for (int k = 0; k < D; ++k) {
          if (edge[k][i].w == 0) continue; // it may lead out of the grid
          const int32_t a = find_root(label, int32_t(i)), b = find_root(label, int32_t(i + stride[k]));
          if (a != b && misplaced(edge[k][i], value[b] - value[a], noise)) unite(a, b);
        }
      }
    }
    if (!found) return any;
    flatten(label, n);
  }
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

// Every changed component, levelled by one task; small ones share tasks. What a task does depends on its component only.
template <int D> void ExactGrid<D>::level_changed() {
  // Places of the changed components in the list, by counting; count_ becomes the next free place.
  int32_t *tasks = queue_, *place = height_;
  int64_t filled = 0, task_count = 0, first = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (label[i] != i || !changed_[i]) continue;
    if (count_[i] == 1) { // its value is its z
      changed_[i] = 0;
      continue;
    }
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
    flow.excess = pixel_;
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

template <int D> int ExactGrid<D>::finish(const int32_t *cancel) {
  flatten(label, n);
  means();
  std::memset(changed_, 1, size_t(n));
  int round = 0;
  for (double rounding = noise(); round < MAX_ROUNDS; ++round) {
    if (cancel && __atomic_load_n(cancel, __ATOMIC_RELAXED)) return 0;
    if (!merge(rounding) && round > 0) break;
    level_changed();
    if (round > 2) rounding = noise(); // flows far larger than those at the start
  }
  // What is left in the wrong order is so by rounding: ties.
  merge(0);
  return round;
}

template <int D> void ExactGrid<D>::certify(double *gap, double *objective) const {
  each_block([&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pixel_[i] = value[label[i]];
  });
  each_block([&](int64_t block, int64_t begin, int64_t end) {
    double slack = 0, primal = 0;
    for (int64_t i = begin; i < end; ++i) {
      const double y = pixel_[i];
      double z = x[i];
      for (int k = 0; k < D; ++k) {
        const FlowEdge e = edge[k][i];
        const double rise = pixel_[i + stride[k]] - y, size = __builtin_fabs(rise); // w = u = 0 where there is no such pixel
        z += e.u - edge[k][i - stride[k]].u;
        slack += (e.w - __builtin_copysign(1.0, rise) * e.u) * size;
        primal += e.w * size;
      }
      slack += 0.5 * (y - z) * (y - z);
      primal += 0.5 * (x[i] - y) * (x[i] - y);
    }
    parts_[2 * block] = slack;
    parts_[2 * block + 1] = primal;
  });
  *gap = *objective = 0;
  for (int64_t block = 0; block < blocks(); ++block) {
    *gap += parts_[2 * block];
    *objective += parts_[2 * block + 1];
  }
}

template struct ExactGrid<2>;

} // namespace tautgrad::cpu
