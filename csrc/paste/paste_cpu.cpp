// Each row of pixels blends two rows of cells, which have been spread to the two ends of each span when they
// were first met. The first and the last pixel of all spans then follow lane by lane, and only spans in which
// these differ are looked into. What limits it is the blending, some twenty operations for a vector of spans,
// until boxes are so wide that writing the pixels is more.
#include "core/blend.h"
#include "core/simd.h"
#include "paste/byte_of.h"
#include "paste/paste.h"

namespace pyifcn {
namespace {

// What lanes without a span hold: blends of it are not above.
template <class E>
PYIFCN_INLINE E background(E above) {
  return above < 0 ? above : 0;
}

// Bit s of `first` is whether the first pixel of a block's span s is set.
struct Ends {
  uint64_t first, last;
};

// The rows of a job, blended one after the other; where `kAsTheyAre` is set, NaN and infinities with them.
template <class E, bool kAsTheyAre = false>
class Rows {
public:
  PYIFCN_INLINE explicit Rows(const PasteJob<E>& job)
      : job_(job),
        pitch_(job.spans + kPasteSlack),
        cells_(job.scratch),
        spread_(cells_ + job.width + 3),
        left_(spread_ + 4 * pitch_),
        slope_(left_ + pitch_) {}

  // Makes ready row i of pixels; false if none of them can be set.
  PYIFCN_INLINE bool start(int64_t i) {
    const int32_t row = job_.row_cells[i], next = row <= job_.height ? row + 1 : row;
    hold(row);
    hold(next);
    upper_ = spread_ + 2 * (row % 2) * pitch_;
    lower_ = spread_ + 2 * (next % 2) * pitch_;
    weight_ = job_.row_weights[i];
    return passes_[row % 2] || passes_[next % 2];
  }

  // Calls run(begin, end) for each run of the row's pixels that are set.
  template <class Run>
  PYIFCN_INLINE void runs(Run run) const {
    int64_t begin = 0;
    bool open = false;
    const auto toggle = [&](int64_t x) {
      if (open) run(begin, x);
      begin = x;
      open = !open;
    };
    for (int64_t block = 0; block < job_.spans; block += 64) {
      const Ends ends = blend_block(block);
      const uint64_t between = ends.first ^ (ends.last << 1 | uint64_t(open)),
                     inside = ends.first ^ ends.last;
      for (uint64_t changes = between | inside; changes; changes &= changes - 1) {
        const int bit = __builtin_ctzll(changes);
        if (between >> bit & 1) toggle(job_.starts[block + bit]);
        if (inside >> bit & 1) toggle(open ? end_inside(block + bit) : begin_inside(block + bit));
      }
    }
    if (open) run(begin, job_.starts[job_.spans]);
  }

  // Widens x1 and x2 to the first and the last of the row's pixels that are set; false if there is none.
  PYIFCN_INLINE bool widen(int64_t& x1, int64_t& x2) const {
    bool any = false;
    for (int64_t block = 0; block < job_.spans; block += 64) {
      const Ends ends = blend_block(block);
      const uint64_t some = ends.first | ends.last;
      if (!some) continue;
      any = true;
      const int low = __builtin_ctzll(some), high = 63 - __builtin_clzll(some);
      if (job_.starts[block + low] < x1) {
        const int64_t x = ends.first >> low & 1 ? job_.starts[block + low] : begin_inside(block + low);
        x1 = x < x1 ? x : x1;
      }
      if (job_.starts[block + high + 1] > x2) {
        const int64_t x = ends.last >> high & 1 ? job_.starts[block + high + 1] : end_inside(block + high);
        x2 = x > x2 ? x : x2;
      }
    }
    return any;
  }

  // Calls pixel(x, value) for each of the row's pixels.
  template <class Pixel>
  PYIFCN_INLINE void values(Pixel pixel) const {
    for (int64_t block = 0; block < job_.spans; block += 64) blend_block(block);
    for (int64_t s = 0; s < job_.spans; ++s)
      for (int64_t x = job_.starts[s]; x < job_.starts[s + 1]; ++x)
        pixel(x, left_[s] + job_.weights[x - job_.starts[0]] * slope_[s]);
  }

  // Writes the row's values. A vector may reach into the next span, which is written after it.
  PYIFCN_INLINE void store(E* row) const {
    for (int64_t block = 0; block < job_.spans; block += 64) blend_block(block);
    const int64_t end = job_.starts[job_.spans];
    for (int64_t s = 0; s < job_.spans; ++s) {
      const V left = V::all(left_[s]), slope = V::all(slope_[s]);
      for (int64_t x = job_.starts[s]; x < job_.starts[s + 1]; x += V::lanes) {
        const V value = left + V::load(job_.weights + x - job_.starts[0]) * slope;
        if (x + V::lanes <= end)
          value.store(row + x);
        else
          value.store_first(row + x, int(end - x));
      }
    }
  }

private:
  using V = Vec<E>;

  // Spreads a row of cells, unless it is held.
  PYIFCN_INLINE void hold(int32_t row) {
    const int slot = row % 2;
    if (held_[slot] == row) return;
    held_[slot] = row;
    for (int64_t x = 0; x < job_.width + 3; ++x) cells_[x] = 0;
    if (1 <= row && row <= job_.height)
      for (int64_t x = 0; x < job_.width; ++x) {
        const E cell = job_.mask[(row - 1) * job_.width + x];
        cells_[x + 1] = kAsTheyAre ? cell : finite(cell);
      }
    E *lefts = spread_ + 2 * slot * pitch_, *rights = lefts + pitch_;
    for (int64_t s = 0; s < job_.spans; ++s) {
      lefts[s] = cells_[job_.span_cells[s]];
      rights[s] = cells_[job_.span_cells[s] + 1];
    }
    for (int64_t s = job_.spans; s < pitch_; ++s) lefts[s] = rights[s] = background(job_.above);
    V most = V::all(0), least = V::all(0);
    for (int64_t s = 0; s < job_.spans; s += V::lanes) {
      const V left = V::load(lefts + s), right = V::load(rights + s);
      most = max(most, max(left, right));
      least = min(least, min(left, right));
    }
    const V enough = V::all(job_.above > 0 ? job_.above / 2 : job_.above);
    passes_[slot] = (max(most, V::all(0) - least) > enough).any();
  }

  // Blends the row at spans [block, block + 64): left ends, and their distance to the right ones.
  PYIFCN_INLINE Ends blend_block(int64_t block) const {
    const V above = V::all(job_.above), weight = V::all(weight_);
    const int64_t count = job_.spans - block < 64 ? job_.spans - block : 64;
    const E *upper = upper_ + block, *lower = lower_ + block;
    const E *first = job_.first_weights + block, *last = job_.last_weights + block;
    Ends ends = {0, 0};
    for (int64_t s = 0; s < count; s += V::lanes) {
      const V a = blend(V::load(upper + s), V::load(lower + s), weight);
      const V d = blend(V::load(upper + pitch_ + s), V::load(lower + pitch_ + s), weight) - a;
      a.store(left_ + block + s);
      d.store(slope_ + block + s);
      ends.first |= uint64_t((a + V::load(first + s) * d > above).bits()) << s;
      ends.last |= uint64_t((a + V::load(last + s) * d > above).bits()) << s;
    }
    return ends;
  }

  // Where the set pixels of a span begin that rises, and where those of one end that falls.
  PYIFCN_INLINE int64_t begin_inside(int64_t s) const { return job_.starts[s + 1] - count_set(s); }
  PYIFCN_INLINE int64_t end_inside(int64_t s) const { return job_.starts[s] + count_set(s); }

  PYIFCN_INLINE int64_t count_set(int64_t s) const {
    const V a = V::all(left_[s]), d = V::all(slope_[s]), above = V::all(job_.above);
    const E* weights = job_.weights + job_.starts[s] - job_.starts[0];
    const int64_t count = job_.starts[s + 1] - job_.starts[s];
    int64_t set = 0;
    for (int64_t x = 0; x < count; x += kPasteSlack) {  // in steps of one length: most spans take one
      uint32_t bits = 0;
      for (int k = 0; k < kPasteSlack; k += V::lanes)
        bits |= (a + V::load(weights + x + k) * d > above).bits() << k;
      if (count - x < kPasteSlack) bits &= (1u << (count - x)) - 1;
      set += __builtin_popcount(bits);
    }
    return set;
  }

  const PasteJob<E>& job_;
  const int64_t pitch_;
  E* const cells_;   // a row of cells
  E* const spread_;  // of an even and of an odd row of cells: left ends of all spans, right ends
  E *const left_, *const slope_;
  int32_t held_[2] = {-1, -1};  // which rows of cells are spread
  bool passes_[2] = {};         // whether blends of them may be above: those that round up too
  const E *upper_ = nullptr, *lower_ = nullptr;
  E weight_ = 0;
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
PYIFCN_INLINE PastedBox extent_of(const PasteJob<E>& job) {
  Rows<E> rows(job);
  int64_t x1 = job.starts[job.spans], x2 = 0, y1 = 0, y2 = 0;
  for (int64_t i = 0; i < job.rows; ++i) {
    if (!rows.start(i) || !rows.widen(x1, x2)) continue;
    if (y2 == 0) y1 = job.top + i;
    y2 = job.top + i + 1;
  }
  if (y2 == 0) return {0, 0, 0, 0};
  return {int32_t(x1), int32_t(y1), int32_t(x2), int32_t(y2)};
}

template <class E>
PYIFCN_INLINE void write_bits(const PasteJob<E>& job, const PastedBox& extent, uint64_t* words) {
  Rows<E> rows(job);
  const int64_t origin = extent.x1 / 64 * 64, across = (extent.x2 + 63) / 64 - extent.x1 / 64;
  for (int64_t y = extent.y1; y < extent.y2; ++y, words += across)
    if (rows.start(y - job.top))
      rows.runs([&](int64_t begin, int64_t end) { set_bits(words, begin - origin, end - origin); });
}

template <class E>
PYIFCN_INLINE void write_bytes(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {
  Rows<E> rows(job);
  for (int64_t i = 0; i < job.rows; ++i) {
    uint8_t* row = image + (job.top + i) * pitch;
    if (rows.start(i))
      rows.runs([&](int64_t begin, int64_t end) {
        for (int64_t x = begin; x < end; ++x) row[x] = 1;
      });
  }
}

template <class E>
PYIFCN_INLINE void write_soft(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {
  Rows<E> rows(job);
  for (int64_t i = 0; i < job.rows; ++i) {
    uint8_t* row = image + (job.top + i) * pitch;
    rows.start(i);
    rows.values([&](int64_t x, E value) { row[x] = byte_of(value); });
  }
}

template <class E>
PYIFCN_INLINE void write_values(const PasteJob<E>& job, E* image, int64_t pitch) {
  Rows<E, true> rows(job);
  for (int64_t i = 0; i < job.rows; ++i) {
    rows.start(i);
    rows.store(image + (job.top + i) * pitch);
  }
}

}  // namespace

#define PYIFCN_PASTE(E)                                                                           \
  template <>                                                                                     \
  PastedBox paste_extent<kTarget, E>(const PasteJob<E>& job) {                                    \
    return extent_of(job);                                                                        \
  }                                                                                               \
  template <>                                                                                     \
  void paste_bits<kTarget, E>(const PasteJob<E>& job, const PastedBox& extent, uint64_t* words) { \
    write_bits(job, extent, words);                                                               \
  }                                                                                               \
  template <>                                                                                     \
  void paste_bytes<kTarget, E>(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {           \
    write_bytes(job, image, pitch);                                                               \
  }                                                                                               \
  template <>                                                                                     \
  void paste_soft<kTarget, E>(const PasteJob<E>& job, uint8_t* image, int64_t pitch) {            \
    write_soft(job, image, pitch);                                                                \
  }                                                                                               \
  template <>                                                                                     \
  void paste_values<kTarget, E>(const PasteJob<E>& job, E* image, int64_t pitch) {                \
    write_values(job, image, pitch);                                                              \
  }
PYIFCN_PASTE(float)
PYIFCN_PASTE(double)

}  // namespace pyifcn
