// Flows on pixel grids that level a component of a total-variation solution, or find where it must be cut.
//
// The dual of min_y 1/2 |y - x|^2 + sum_e w_e |y_b - y_a| moves value along edges: z = x - D^T u, |u_e| <= w_e, and the least |z|^2 is
// the solution. Inside a component the solution is constant, so z has to become its mean: a transport from the pixels above the mean to
// those below it, within the capacities that u leaves. Where no such transport exists, the minimum cut parts the component into level
// sets of the solution (Hochbaum 2001; Chambolle & Darbon 2009), every cut edge being saturated from high to low.
//
// D axes; edge[k][i] joins pixel i and pixel i + stride[k]. Edges that would leave the grid or wrap around have w = u = 0, so that no
// walk needs coordinates. Several threads may level different components at once.
#pragma once

#include "components.h"

namespace tautgrad {

// Moving v from pixel a to pixel b of the edge (a, b) subtracts v from u.
struct FlowEdge {
  double u, w;
};

namespace {

template <int D> class GridFlow {
public:
  int64_t stride[D];
  const double *x;
  FlowEdge *edge[D]; // readable from -stride[k]
  int32_t *label;    // readable from -max stride to n + max stride; -1 outside. A component's label is its smallest pixel.
  // Scratch per pixel.
  double *excess;
  int32_t *height, *queue;
  uint8_t *toward;
  // The pixels of the components, one after the other.
  int32_t *list;

  double z(int32_t i) const {
    double v = x[i];
    for (int k = 0; k < D; ++k) v += edge[k][i].u - edge[k][i - stride[k]].u;
    return v;
  }

  // Levels the component list[begin, end), all of one label. Returns true when z is its mean up to rounding, and *value that mean; false
  // when the component was cut: list[begin, end) then holds the pieces one after the other under labels of their own, at least two.
  bool level(int64_t begin, int64_t end, double *value) {
    if (end - begin == 1) {
      *value = z(list[begin]);
      return true;
    }
    // The mean is known up to rounding only, and so is every flow: a second look finds what they left.
    for (int attempt = 0; attempt < 4; ++attempt) {
      double noise;
      const double worst = measure(begin, end, value, &noise);
      if (worst <= noise) break;
      noise_ = noise;
      route(begin, end);
      int64_t low = end;
      if (!transport(begin, &low)) continue;
      if (cut(begin, low, end)) return false;
    }
    return true;
  }

private:
  enum { DEAD = -2, UNSEEN = -1, LOW = 0, BETWEEN = 1, HIGH = 2 };
  enum : uint8_t { ROOT = 254, NOWHERE = 255 };
  static constexpr int DIRECTIONS = 2 * D;

  // Direction 2k leads to i + stride[k], direction 2k + 1 to i - stride[k].
  int32_t neighbour(int32_t i, int d) const { return int32_t(d & 1 ? i - stride[d >> 1] : i + stride[d >> 1]); }
  FlowEdge &edge_of(int32_t i, int d) const { return edge[d >> 1][d & 1 ? i - stride[d >> 1] : i]; }
  static double outward(const FlowEdge &e, int d) { return d & 1 ? e.w - e.u : e.w + e.u; }
  static double inward(const FlowEdge &e, int d) { return d & 1 ? e.w + e.u : e.w - e.u; }
  // Labels of neighbours may change under other threads, but never to or from this component's.
  int32_t label_of(int32_t i) const { return __atomic_load_n(label + i, __ATOMIC_RELAXED); }

  // Moves up to `amount` from i in direction d. An edge almost full is filled: rounding must not leave capacities behind.
  double push(int32_t i, int d, double amount) {
    FlowEdge &e = edge_of(i, d);
    const double room = outward(e, d);
    if (room - amount <= noise_) {
      e.u = d & 1 ? e.w : -e.w;
      return room;
    }
    e.u += d & 1 ? amount : -amount;
    return amount;
  }

  // excess = z - mean for the component; returns its largest magnitude.
  double measure(int64_t begin, int64_t end, double *value, double *noise) {
    const double base = z(list[begin]), size = double(end - begin);
    double sum = 0, lost = 0, largest = 0;
    for (int64_t q = begin; q < end; ++q) {
      const int32_t i = list[q];
      double v = x[i];
      for (int k = 0; k < D; ++k) {
        const double out = edge[k][i].u;
        v += out - edge[k][i - stride[k]].u;
        largest = absolute(out) > largest ? absolute(out) : largest;
      }
      largest = absolute(v) > largest ? absolute(v) : largest;
      excess[i] = v - base;
      const double term = excess[i] - lost, next = sum + term;
      lost = (next - sum) - term;
      sum = next;
    }
    const double mean = sum / size;
    sum = 0;
    for (int64_t q = begin; q < end; ++q) sum += excess[list[q]] -= mean;
    const double rest = sum / size;
    double worst = 0;
    for (int64_t q = begin; q < end; ++q) {
      const double e = absolute(excess[list[q]] -= rest);
      worst = e > worst ? e : worst;
    }
    *value = base + (mean + rest);
    *noise = 16 * 0x1p-53 * largest;
    return worst;
  }

  // Everything to one pixel along a spanning tree, as far as the capacities reach. Edges with room in both directions come first.
  void route(int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) toward[list[q]] = NOWHERE;
    const int32_t own = label[list[begin]];
    int64_t head = begin, tail = begin, weak = begin;
    toward[list[begin]] = ROOT;
    queue[tail++] = list[begin];
    while (tail < end) {
      while (head < tail) {
        const int32_t i = queue[head++];
        for (int d = 0; d < DIRECTIONS; ++d) {
          const int32_t j = neighbour(i, d);
          const FlowEdge &e = edge_of(i, d);
          if (label_of(j) != own || toward[j] != NOWHERE || !(absolute(e.u) < 0.5 * e.w)) continue;
          toward[j] = uint8_t(d ^ 1);
          queue[tail++] = j;
        }
      }
      const int64_t before = tail;
      for (; weak < before && tail == before; ++weak) {
        const int32_t i = queue[weak];
        for (int d = 0; d < DIRECTIONS; ++d) {
          const int32_t j = neighbour(i, d);
          if (label_of(j) != own || toward[j] != NOWHERE || !(edge_of(i, d).w > 0)) continue;
          toward[j] = uint8_t(d ^ 1);
          queue[tail++] = j;
        }
      }
      if (tail == before) break;
    }
    for (int64_t q = tail; q-- > begin + 1;) {
      const int32_t i = queue[q];
      const int d = toward[i];
      const int32_t j = neighbour(i, d);
      const double e = excess[i];
      if (e > 0) {
        const double room = outward(edge_of(i, d), d), moved = push(i, d, e < room ? e : room);
        excess[i] -= moved;
        excess[j] += moved;
      } else if (e < 0) {
        const double room = inward(edge_of(i, d), d), moved = push(j, d ^ 1, -e < room ? -e : room);
        excess[i] += moved;
        excess[j] -= moved;
      }
    }
  }

  // Transport in waves: distances to the nearest pixels below the mean by a breadth-first search, then every excess moves down along
  // them, the farthest first. What cannot reach any such pixel goes to the end of the list. Returns whether excess was left there;
  // list[begin, *low) is the rest.
  bool transport(int64_t begin, int64_t *low) {
    const int32_t own = label[list[begin]];
    bool stuck = false;
    for (;;) {
      const int64_t end = *low;
      int64_t tail = begin, active = 0;
      for (int64_t q = begin; q < end; ++q) {
        const int32_t i = list[q];
        if (excess[i] < -noise_) {
          height[i] = 0;
          queue[tail++] = i;
        } else {
          height[i] = UNSEEN;
          active += excess[i] > noise_;
        }
      }
      if (active == 0 || tail == begin) return stuck;
      int64_t unreached = active;
      for (int64_t head = begin; head < tail && unreached > 0; ++head) {
        const int32_t i = queue[head];
        const int32_t above = height[i] + 1;
        for (int d = 0; d < DIRECTIONS; ++d) {
          const int32_t j = neighbour(i, d);
          if (label_of(j) != own || height[j] != UNSEEN || !(inward(edge_of(i, d), d) > 0)) continue;
          height[j] = above;
          unreached -= excess[j] > noise_;
          queue[tail++] = j;
        }
      }
      for (int64_t q = tail; q-- > begin;) {
        const int32_t i = queue[q];
        if (!(excess[i] > 0) || height[i] == 0) continue;
        for (int d = 0; d < DIRECTIONS && excess[i] > 0; ++d) {
          const int32_t j = neighbour(i, d);
          if (label_of(j) != own || height[j] != height[i] - 1) continue;
          const double room = outward(edge_of(i, d), d);
          if (!(room > 0)) continue;
          const double moved = push(i, d, excess[i] < room ? excess[i] : room);
          excess[i] -= moved;
          excess[j] += moved;
        }
      }
      if (unreached == 0) continue;
      // The search was exhaustive: what it did not meet stays out of reach for good.
      int64_t kept = begin, parted = end;
      for (int64_t q = begin; q < parted;) {
        const int32_t i = list[q];
        if (height[i] != UNSEEN) {
          list[kept++] = i;
          ++q;
        } else {
          height[i] = DEAD;
          list[q] = list[--parted];
          list[parted] = i;
        }
      }
      *low = parted;
      stuck = true;
    }
  }
  // Parts list[begin, end): what still reaches a pixel below the mean is low, what the stuck excess in list[low, end) reaches is high, the
  // rest lies between. Returns false when there is no more than one side.
  bool cut(int64_t begin, int64_t low, int64_t end) {
    const int32_t own = label[list[begin]];
    int64_t tail = begin;
    for (int64_t q = begin; q < end; ++q) {
      const int32_t i = list[q];
      height[i] = BETWEEN;
      if (q < low && excess[i] < -noise_) {
        height[i] = LOW;
        queue[tail++] = i;
      }
    }
    for (int64_t head = begin; head < tail; ++head) {
      const int32_t i = queue[head];
      for (int d = 0; d < DIRECTIONS; ++d) {
        const int32_t j = neighbour(i, d);
        if (label_of(j) != own || height[j] != BETWEEN || !(inward(edge_of(i, d), d) > 0)) continue;
        height[j] = LOW;
        queue[tail++] = j;
      }
    }
    const int64_t first_high = tail;
    for (int64_t q = low; q < end; ++q) {
      const int32_t i = list[q];
      if (!(excess[i] > noise_) || height[i] != BETWEEN) continue;
      height[i] = HIGH;
      queue[tail++] = i;
    }
    if (first_high == begin || tail == first_high) return false;
    for (int64_t head = first_high; head < tail; ++head) {
      const int32_t i = queue[head];
      for (int d = 0; d < DIRECTIONS; ++d) {
        const int32_t j = neighbour(i, d);
        if (label_of(j) != own || height[j] != BETWEEN || !(outward(edge_of(i, d), d) > 0)) continue;
        height[j] = HIGH;
        queue[tail++] = j;
      }
    }
    // Connected pieces of one side each, by floods that write the new list.
    for (int64_t q = begin; q < end; ++q) toward[list[q]] = NOWHERE;
    tail = begin;
    for (int64_t q = begin; q < end; ++q) {
      if (toward[list[q]] != NOWHERE) continue;
      toward[list[q]] = ROOT;
      queue[tail++] = list[q];
      for (int64_t head = tail - 1; head < tail; ++head) {
        const int32_t i = queue[head];
        for (int d = 0; d < DIRECTIONS; ++d) {
          const int32_t j = neighbour(i, d);
          if (label_of(j) != own || height[j] != height[i] || toward[j] != NOWHERE || !(edge_of(i, d).w > 0)) continue;
          toward[j] = ROOT;
          queue[tail++] = j;
        }
      }
      // The flood above compares labels, so they change only afterwards; the piece's end is marked by a negative entry.
      queue[tail - 1] = ~queue[tail - 1];
    }
    for (int64_t q = begin, piece = begin; q < end; ++q) {
      const bool last = queue[q] < 0;
      list[q] = last ? ~queue[q] : queue[q];
      if (!last) continue;
      int32_t smallest = list[piece];
      for (int64_t r = piece; r <= q; ++r) smallest = list[r] < smallest ? list[r] : smallest;
      for (int64_t r = piece; r <= q; ++r) __atomic_store_n(label + list[r], smallest, __ATOMIC_RELAXED);
      piece = q + 1;
    }
    return true;
  }

  double noise_ = 0;
};

} // namespace
} // namespace tautgrad
