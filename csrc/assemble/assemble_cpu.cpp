// A window's row is cut from K maps. Each vector of the output is made by one load for each cell that it
// meets and a blend; the last vector of a row overlaps the one before, so that no store is partial. The plan
// of a row (which loads, which lanes) is the same for all rows of all windows and made once. What limits it
// is writing: size^2 elements a window, read mostly from the first-level cache.
#include "assemble/assemble.h"
#include "core/simd.h"

namespace pyifcn {
namespace {

template <class E>
struct RowPlan {
  static constexpr int kLanes = Narrow<E>::lanes, kMaxVectors = 32, kMaxLoads = 8;
  int vectors = 0, loads = 0;  // loads: of every vector, the most that one needs; 0: no plan, go by elements
  int64_t to[kMaxVectors];
  int64_t from[kMaxVectors][kMaxLoads];
  typename Narrow<E>::Mask before[kMaxVectors][kMaxLoads];  // lanes that later loads leave alone
};

template <class E>
RowPlan<E> plan_row(const int32_t* cells, int64_t size, int64_t map_stride) {
  using Plan = RowPlan<E>;
  Plan plan;
  if (size < Plan::kLanes || size > Plan::kLanes * Plan::kMaxVectors) return plan;
  plan.vectors = int((size + Plan::kLanes - 1) / Plan::kLanes);
  for (int v = 0; v < plan.vectors; ++v) {
    int64_t to = int64_t(v) * Plan::kLanes;
    if (to > size - Plan::kLanes) to = size - Plan::kLanes;
    plan.to[v] = to;
    int loads = 0;
    for (int lane = 0; lane < Plan::kLanes; ++lane) {
      if (lane > 0 && cells[to + lane] == cells[to + lane - 1]) continue;
      if (loads == Plan::kMaxLoads) return Plan{};
      plan.from[v][loads] = cells[to + lane] * map_stride + to;
      plan.before[v][loads] = Narrow<E>::first(lane);
      ++loads;
    }
    for (int unused = loads; unused < Plan::kMaxLoads; ++unused) {
      plan.from[v][unused] = plan.from[v][0];
      plan.before[v][unused] = Narrow<E>::first(Plan::kLanes);
    }
    if (loads > plan.loads) plan.loads = loads;
  }
  return plan;
}

// What all windows of a call share.
template <class E>
struct Geometry {
  const int32_t* cells;
  int64_t grid, size, map_stride, row_stride;
  RowPlan<E> plan;

  Geometry(const int32_t* cells_, int64_t grid_, int64_t size_, int64_t height, int64_t width)
      : cells(cells_),
        grid(grid_),
        size(size_),
        map_stride(height * width),
        row_stride(width),
        plan(plan_row<E>(cells_, size_, map_stride)) {}

  // The window's row i in the first map of its row of cells; `corner` is the window's first pixel in map 0.
  PYIFCN_INLINE const E* row(const E* corner, int64_t i) const {
    return corner + cells[i] * grid * map_stride + i * row_stride;
  }
};

// The rows of a window by plan. The counts are known to the compiler for the usual shapes, so that the plan
// stays in registers; 0 stands for one that is not.
template <class E, int kVectors, int kLoads>
PYIFCN_INLINE void copy_window_by_plan(const Geometry<E>& g, const E* corner, E* out) {
  using V = Narrow<E>;
  const int vectors = kVectors ? kVectors : g.plan.vectors, loads = kLoads ? kLoads : g.plan.loads;
  constexpr int kKept = kVectors && kLoads ? kVectors * kLoads : 1;
  int64_t from[kKept];
  typename V::Mask before[kKept];
  if constexpr (kKept > 1)
    for (int v = 0; v < kVectors; ++v)
      for (int n = 0; n < kLoads; ++n) {
        from[v * kLoads + n] = g.plan.from[v][n];
        before[v * kLoads + n] = g.plan.before[v][n];
      }
  for (int64_t i = 0; i < g.size; ++i, out += g.size) {
    const E* row = g.row(corner, i);
    for (int v = 0; v < vectors; ++v) {
      V pixels = V::load(row + (kKept > 1 ? from[v * kLoads] : g.plan.from[v][0]));
      for (int n = 1; n < loads; ++n) {
        const V next = V::load(row + (kKept > 1 ? from[v * kLoads + n] : g.plan.from[v][n]));
        pixels = select(kKept > 1 ? before[v * kLoads + n] : g.plan.before[v][n], pixels, next);
      }
      pixels.store(out + g.plan.to[v]);
    }
  }
}

template <class E>
PYIFCN_INLINE void copy_window_by_element(const Geometry<E>& g, const E* corner, E* out) {
  for (int64_t i = 0; i < g.size; ++i, out += g.size) {
    const E* row = g.row(corner, i);
    for (int64_t j = 0; j < g.size; ++j) out[j] = row[g.cells[j] * g.map_stride + j];
  }
}

// A window that lies inside the map.
template <class E>
PYIFCN_INLINE void copy_window(const Geometry<E>& g, const E* corner, E* out) {
  const int vectors = g.plan.vectors, loads = g.plan.loads;
  if (loads == 0) return copy_window_by_element(g, corner, out);
  if (vectors == 3 && loads == 2) return copy_window_by_plan<E, 3, 2>(g, corner, out);
  if (vectors == 2 && loads == 3) return copy_window_by_plan<E, 2, 3>(g, corner, out);
  if (loads == 2) return copy_window_by_plan<E, 0, 2>(g, corner, out);
  copy_window_by_plan<E, 0, 0>(g, corner, out);
}

PYIFCN_INLINE int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// Row i of a window of which only the columns [first, last) lie inside the map.
template <class E>
PYIFCN_INLINE void copy_row_clipped(const Geometry<E>& g, const E* row, int64_t first, int64_t last, E pad,
                                    E* out) {
  using V = Narrow<E>;
  if constexpr (requires(typename V::Mask m) { V::load_where(m, row); }) {
    for (int v = 0; v < g.plan.vectors; ++v) {
      const int64_t to = g.plan.to[v];
      const auto inside = V::first(int(last - to)) - V::first(int(first - to));
      V pixels = V::load_where(inside, row + g.plan.from[v][0]);
      for (int n = 1; n < g.plan.loads; ++n)
        pixels = select(g.plan.before[v][n], pixels, V::load_where(inside, row + g.plan.from[v][n]));
      select(inside, pixels, V::all(pad)).store(out + to);
    }
    if (g.plan.loads > 0) return;
  }
  for (int64_t j = 0; j < first; ++j) out[j] = pad;
  for (int64_t j = first; j < last; ++j) out[j] = row[g.cells[j] * g.map_stride + j];
  for (int64_t j = last; j < g.size; ++j) out[j] = pad;
}

// A window whose corner pixel (top, left) or opposite one lies outside the map.
template <class E>
PYIFCN_INLINE void copy_window_clipped(const Geometry<E>& g, const E* maps, int64_t top, int64_t left,
                                       int64_t height, E pad, E* out) {
  const int64_t first = clamp(-left, 0, g.size), last = clamp(g.row_stride - left, 0, g.size);
  const E* corner = maps + top * g.row_stride + left;
  for (int64_t i = 0; i < g.size; ++i, out += g.size) {
    if (top + i >= 0 && top + i < height)
      copy_row_clipped(g, g.row(corner, i), first, last, pad, out);
    else
      for (int64_t j = 0; j < g.size; ++j) out[j] = pad;
  }
}

template <class E>
PYIFCN_INLINE void assemble_windows(const AssembleJob<E>& job, int64_t begin, int64_t end) {
  const int64_t height = job.maps.shape[2], width = job.maps.shape[3], size = job.out.shape[1];
  const Geometry<E> g(job.cells, job.grid, size, height, width);
  for (int64_t n = begin; n < end; ++n) {
    const int64_t* window = job.windows.data + 3 * n;
    const E* maps = job.maps.data + window[0] * job.maps.shape[1] * g.map_stride;
    const int64_t top = window[1] - size / 2, left = window[2] - size / 2;
    E* out = job.out.data + n * size * size;
    if (top >= 0 && left >= 0 && top + size <= height && left + size <= width)
      copy_window(g, maps + top * width + left, out);
    else
      copy_window_clipped(g, maps, top, left, height, job.pad, out);
  }
}

template <class E>
PYIFCN_INLINE void assemble_rows(const AssembleDenseJob<E>& job, int64_t begin, int64_t end) {
  const int64_t width = job.out.shape[1], size = job.out.shape[2];
  const Geometry<E> g(job.cells, job.grid, size, job.maps.shape[1], job.maps.shape[2]);
  for (int64_t y = begin; y < end; ++y)
    for (int64_t x = 0; x < width; ++x)
      copy_window(g, job.maps.data + y * g.row_stride + x, job.out.data + (y * width + x) * size * size);
}

// Cells [first, last) of rows or of columns that belong to one index of the grid.
struct Span {
  int64_t first = 0, last = 0;
  Span(const int32_t* cells, int64_t size, int64_t index) {
    while (first < size && cells[first] < index) ++first;
    last = first;
    while (last < size && cells[last] == index) ++last;
  }
};

template <class E>
PYIFCN_INLINE void add_window(const E* grad, E* map, int64_t y, int64_t x, Span rows, Span columns,
                              int64_t size, int64_t height, int64_t width) {
  const int64_t top = y - size / 2, left = x - size / 2;
  const int64_t i_first = clamp(-top, rows.first, rows.last),
                i_last = clamp(height - top, rows.first, rows.last);
  const int64_t j_first = clamp(-left, columns.first, columns.last);
  const int64_t j_last = clamp(width - left, columns.first, columns.last);
  for (int64_t i = i_first; i < i_last; ++i)
    for (int64_t j = j_first; j < j_last; ++j) map[(top + i) * width + left + j] += grad[i * size + j];
}

template <class E>
PYIFCN_INLINE void add_windows(const AssembleBackwardJob<E>& job, int64_t begin, int64_t end) {
  const int64_t maps = job.grid * job.grid, height = job.grad_maps.shape[2], width = job.grad_maps.shape[3];
  const int64_t size = job.grad_out.shape[1];
  for (int64_t m = begin; m < end; ++m) {
    const int64_t image = m / maps;
    const Span rows(job.cells, size, m % maps / job.grid), columns(job.cells, size, m % job.grid);
    E* map = job.grad_maps.data + m * height * width;
    if (job.windows.data) {
      for (int64_t n = 0; n < job.windows.shape[0]; ++n) {
        const int64_t* window = job.windows.data + 3 * n;
        if (window[0] != image) continue;
        add_window(job.grad_out.data + n * size * size, map, window[1], window[2], rows, columns, size,
                   height, width);
      }
    } else {
      const E* grad = job.grad_out.data + image * height * width * size * size;
      for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x, grad += size * size)
          add_window(grad, map, y, x, rows, columns, size, height, width);
    }
  }
}

}  // namespace

#define PYIFCN_ASSEMBLE(E)                                                                      \
  template <>                                                                                   \
  void assemble<kTarget, E>(const AssembleJob<E>& job, int64_t begin, int64_t end) {            \
    assemble_windows(job, begin, end);                                                          \
  }                                                                                             \
  template <>                                                                                   \
  void assemble_dense<kTarget, E>(const AssembleDenseJob<E>& job, int64_t begin, int64_t end) { \
    assemble_rows(job, begin, end);                                                             \
  }
PYIFCN_ASSEMBLE(uint16_t)
PYIFCN_ASSEMBLE(uint32_t)
PYIFCN_ASSEMBLE(uint64_t)

#define PYIFCN_ASSEMBLE_BACKWARD(E)                                                                   \
  template <>                                                                                         \
  void assemble_backward<kTarget, E>(const AssembleBackwardJob<E>& job, int64_t begin, int64_t end) { \
    add_windows(job, begin, end);                                                                     \
  }
PYIFCN_ASSEMBLE_BACKWARD(float)
PYIFCN_ASSEMBLE_BACKWARD(double)

}  // namespace pyifcn
