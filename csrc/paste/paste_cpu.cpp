// Each row of pixels blends two rows of cells, which have been spread to the two ends of each span when they
// were first met. The first and the last pixel of all spans then follow lane by lane, and only spans in which
// these differ are looked into. What limits it is the blending, some twenty operations for a vector of spans,
// until boxes are so wide that writing the pixels is more.
#include "core/simd.h"
#include "paste/paste.h"

namespace pyifcn {
namespace {

// NaN counts as background, and the difference of two values is no infinity.
PYIFCN_INLINE float finite(float value) {
  constexpr float kMost = 8.5e37f;
  const float low = value > -kMost ? value : -kMost;
  return low < kMost ? low : kMost;
}
PYIFCN_INLINE double finite(double value) {
  constexpr double kMost = 4.4e307;
  const double low = value > -kMost ? value : -kMost;
  return low < kMost ? low : kMost;
}

// The lowest value there is after `finite`: what lanes without a span hold.
template <class E>
PYIFCN_INLINE E background() {
  return finite(-E(__builtin_inf()));
}

template <class V, class E>
PYIFCN_INLINE V blend(V a, V b, E weight) {
  return a + V::all(weight) * (b - a);
}

// The rows of a job, blended one after the other.
template <class E>
struct Rows {
  using V = Vec<E>;

  const PasteJob<E>& job;
  const int64_t pitch = job.spans + kPasteSlack;
  E* const cells = job.scratch;
  E* const spread = cells + job.width + 3;  // of an even and of an odd row of cells: left ends, right ends
  E* const left = spread + 4 * pitch;  // of the row of pixels: left ends, and their distance to the right
  E* const slope = left + pitch;
  int32_t held[2] = {-1, -1};  // which rows of cells `spread` has
  bool passes[2] = {};         // whether one of their values is above

  PYIFCN_INLINE explicit Rows(const PasteJob<E>& of) : job(of) {}

  PYIFCN_INLINE void hold(int32_t row) {
    const int slot = row % 2;
    if (held[slot] == row) return;
    held[slot] = row;
    for (int64_t x = 0; x < job.width + 3; ++x) cells[x] = 0;
    if (1 <= row && row <= job.height)
      for (int64_t x = 0; x < job.width; ++x) cells[x + 1] = finite(job.mask[(row - 1) * job.width + x]);
    E *lefts = spread + 2 * slot * pitch, *rights = lefts + pitch;
    bool any = false;
    for (int64_t s = 0; s < job.spans; ++s) {
      const int32_t cell = job.span_cells[s];
      lefts[s] = cells[cell];
      rights[s] = cells[cell + 1];
      any |= lefts[s] > job.above || rights[s] > job.above;
    }
    passes[slot] = any;
    for (int64_t s = job.spans; s < pitch; ++s) lefts[s] = rights[s] = background<E>();
  }

  // Makes ready row i of pixels; false if none of its pixels can be set.
  PYIFCN_INLINE bool start(int64_t i) {
    const int32_t row = job.row_cells[i], next = row <= job.height ? row + 1 : row;
    hold(row);
    hold(next);
    return passes[row % 2] || passes[next % 2];
  }

  // Blends row i at spans [s, s + lanes): its left ends, and their distance to the right ones.
  PYIFCN_INLINE void blend_spans(int64_t i, int64_t s, V& a, V& d) {
    const int32_t row = job.row_cells[i], next = row <= job.height ? row + 1 : row;
    const E *upper = spread + 2 * (row % 2) * pitch + s, *lower = spread + 2 * (next % 2) * pitch + s;
    const E weight = job.row_weights[i];
    a = blend(V::load(upper), V::load(lower), weight);
    d = blend(V::load(upper + pitch), V::load(lower + pitch), weight) - a;
    a.store(left + s);
    d.store(slope + s);
  }

  // How many pixels of span s are set in the row that was blended.
  PYIFCN_INLINE int64_t count_set(int64_t s) const {
    const V a = V::all(left[s]), d = V::all(slope[s]), above = V::all(job.above);
    const E* weights = job.weights + job.starts[s] - job.starts[0];
    const int64_t count = job.starts[s + 1] - job.starts[s];
    int64_t set = 0;
    for (int64_t x = 0; x < count; x += V::lanes) {
      const uint32_t bits = (a + V::load(weights + x) * d > above).bits();
      set += __builtin_popcount(count - x < V::lanes ? bits & ((1u << (count - x)) - 1) : bits);
    }
    return set;
  }

  // Calls run(begin, end) for each run of pixels of row i that are set.
  template <class Run>
  PYIFCN_INLINE void runs(int64_t i, Run run) {
    const V above = V::all(job.above);
    int64_t begin = 0;
    bool open = false;
    const auto toggle = [&](int64_t x) {
      if (open) run(begin, x);
      begin = x;
      open = !open;
    };
    for (int64_t block = 0; block < job.spans; block += 64) {
      uint64_t firsts = 0, lasts = 0;
      for (int bit = 0; bit < 64 && block + bit < job.spans; bit += V::lanes) {
        V a, d;
        blend_spans(i, block + bit, a, d);
        const V first = a + V::load(job.first_weights + block + bit) * d;
        const V last = a + V::load(job.last_weights + block + bit) * d;
        firsts |= uint64_t((first > above).bits()) << bit;
        lasts |= uint64_t((last > above).bits()) << bit;
      }
      const uint64_t between = firsts ^ (lasts << 1 | uint64_t(open)), inside = firsts ^ lasts;
      for (uint64_t changes = between | inside; changes; changes &= changes - 1) {
        const int bit = __builtin_ctzll(changes);
        const int64_t s = block + bit;
        if (between >> bit & 1) toggle(job.starts[s]);
        if (inside >> bit & 1) toggle(open ? job.starts[s] + count_set(s) : job.starts[s + 1] - count_set(s));
      }
    }
    if (open) run(begin, job.starts[job.spans]);
  }
};

PYIFCN_INLINE void set_bits(uint64_t* words, int64_t begin, int64_t end) {
  if (begin >= end) return;
  const int64_t first = begin / 64, last = (end - 1) / 64;
  const uint64_t head = ~uint64_t(0) << begin % 64, tail = ~uint64_t(0) >> (63 - (end - 1) % 64);
  if (first == last) {
    words[first] |= head & tail;
    return;
  }
  words[first] |= head;
  for (int64_t k = first + 1; k < last; ++k) words[k] = ~uint64_t(0);
  words[last] |= tail;
}

template <class E>
PYIFCN_INLINE Extent extent_of(const PasteJob<E>& job) {
  Rows<E> rows(job);
  int64_t x1 = job.starts[job.spans], x2 = 0, y1 = 0, y2 = 0;
  for (int64_t i = 0; i < job.rows; ++i) {
    if (!rows.start(i)) continue;
    rows.runs(i, [&](int64_t begin, int64_t end) {
      if (y2 == 0) y1 = job.top + i;
      y2 = job.top + i + 1;
      if (begin < x1) x1 = begin;
      if (end > x2) x2 = end;
    });
  }
  if (y2 == 0) return {0, 0, 0, 0};
  return {int32_t(x1), int32_t(y1), int32_t(x2), int32_t(y2)};
}

template <class E>
PYIFCN_INLINE void write_bits(const PasteJob<E>& job, const Extent& extent, uint64_t* words) {
  Rows<E> rows(job);
  const int64_t origin = extent.x1 / 64 * 64, across = (extent.x2 + 63) / 64 - extent.x1 / 64;
  for (int64_t y = extent.y1; y < extent.y2; ++y, words += across) {
    if (!rows.start(y - job.top)) continue;
    rows.runs(y - job.top,
              [&](int64_t begin, int64_t end) { set_bits(words, begin - origin, end - origin); });
  }
}

template <class E>
PYIFCN_INLINE void write_bytes(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {
  Rows<E> rows(job);
  for (int64_t i = 0; i < job.rows; ++i) {
    if (!rows.start(i)) continue;
    uint8_t* row = image + (job.top + i) * pitch;
    rows.runs(i, [&](int64_t begin, int64_t end) {
      for (int64_t x = begin; x < end; ++x) row[x] = 1;
    });
  }
}

template <class E>
PYIFCN_INLINE void write_soft(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {
  Rows<E> rows(job);
  for (int64_t i = 0; i < job.rows; ++i) {
    rows.start(i);
    uint8_t* row = image + (job.top + i) * pitch;
    Vec<E> a, d;
    for (int64_t s = 0; s < job.spans; s += Vec<E>::lanes) rows.blend_spans(i, s, a, d);
    for (int64_t s = 0; s < job.spans; ++s)
      for (int64_t x = job.starts[s]; x < job.starts[s + 1]; ++x) {
        const E value = (rows.left[s] + job.weights[x - job.starts[0]] * rows.slope[s]) * 255;
        row[x] = uint8_t(int32_t(value > 0 ? value < 255 ? value : 255 : 0));
      }
  }
}

}  // namespace

#define PYIFCN_PASTE(E)                                                                        \
  template <>                                                                                  \
  Extent paste_extent<kTarget, E>(const PasteJob<E>& job) {                                    \
    return extent_of(job);                                                                     \
  }                                                                                            \
  template <>                                                                                  \
  void paste_bits<kTarget, E>(const PasteJob<E>& job, const Extent& extent, uint64_t* words) { \
    write_bits(job, extent, words);                                                            \
  }                                                                                            \
  template <>                                                                                  \
  void paste_bytes<kTarget, E>(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {        \
    write_bytes(job, image, pitch);                                                            \
  }                                                                                            \
  template <>                                                                                  \
  void paste_soft<kTarget, E>(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {         \
    write_soft(job, image, pitch);                                                             \
  }
PYIFCN_PASTE(float)
PYIFCN_PASTE(double)

}  // namespace pyifcn
