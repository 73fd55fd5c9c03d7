// Binarising reads each logit once and is limited by that. Rendering interpolates each of the window's few
// rows across the image's columns first; a row of pixels is then a blend of two of those, compared, lanes to
// bits.
#include "core/blend.h"
#include "core/simd.h"
#include "masks/pack.h"
#include "nms/iou.h"
#include "propose/propose.h"

namespace pyifcn {
namespace {

template <class E>
PYIFCN_INLINE void binarize_all(const E* values, int64_t count, Foreground<E> foreground, uint64_t* words) {
  uint8_t flags[64];
  int64_t i = 0;
  for (; i + 64 <= count; i += 64) {
    for (int bit = 0; bit < 64; ++bit) flags[bit] = is_foreground(values[i + bit], foreground);
    *words++ = pack64(flags);
  }
  if (i == count) return;
  for (int bit = 0; bit < 64; ++bit)
    flags[bit] = i + bit < count && is_foreground(values[i + bit], foreground);
  *words = pack64(flags);
}

PYIFCN_INLINE bool overlaps(const BoxBlock<float>* blocks, int64_t count, const float* box, float threshold) {
  const F32 x1 = F32::all(box[0]), y1 = F32::all(box[1]), x2 = F32::all(box[2]), y2 = F32::all(box[3]);
  const Boxes<F32> other{x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
  const F32 zero = F32::all(0), above = F32::all(threshold);
  for (int64_t n = 0; n < count; ++n) {
    const BoxBlock<float>& block = blocks[n];
    for (int lane = 0; lane < BoxBlock<float>::kSize; lane += F32::lanes) {
      const Boxes<F32> kept{F32::load(block.x1 + lane), F32::load(block.y1 + lane),
                            F32::load(block.x2 + lane), F32::load(block.y2 + lane),
                            F32::load(block.area + lane)};
      if ((iou(kept, other, zero) > above).any()) return true;
    }
  }
  return false;
}

PYIFCN_INLINE void interpolate_rows(const RenderJob& job) {
  const float nowhere = -__builtin_inff();  // lies above no threshold, and neither does a blend of it
  const int64_t pitch = 64 * job.across, last = job.lead + job.width;
  for (int64_t i = 0; i < job.size; ++i) {
    const float* row = job.logits + i * job.size;
    float* out = job.scratch + i * pitch;
    for (int64_t x = 0; x < job.lead; ++x) out[x] = nowhere;
    for (int64_t x = 0; x < job.width; ++x) {
      const RenderTap tap = job.columns[x];
      out[job.lead + x] = blend(finite(row[tap.first]), finite(row[tap.second]), tap.weight);
    }
    for (int64_t x = last; x < pitch; ++x) out[x] = nowhere;
  }
}

PYIFCN_INLINE void render_mask(const RenderJob& job) {
  interpolate_rows(job);
  const int64_t pitch = 64 * job.across;
  const F32 threshold = F32::all(job.threshold);
  for (int64_t y = 0; y < job.height; ++y) {
    const float *first = job.scratch + job.rows[y].first * pitch,
                *second = job.scratch + job.rows[y].second * pitch;
    const F32 weight = F32::all(job.rows[y].weight);
    for (int64_t k = 0; k < job.across; ++k) {
      uint64_t word = 0;
      for (int bit = 0; bit < 64; bit += F32::lanes) {
        const F32 a = F32::load(first + 64 * k + bit), b = F32::load(second + 64 * k + bit);
        word |= uint64_t((blend(a, b, weight) > threshold).bits()) << bit;
      }
      job.words[y * job.across + k] = word;
    }
  }
}

}  // namespace

#define PYIFCN_BINARIZE(E)                                                                               \
  template <>                                                                                            \
  void binarize<kTarget, E>(const E* values, int64_t count, Foreground<E> foreground, uint64_t* words) { \
    binarize_all(values, count, foreground, words);                                                      \
  }
PYIFCN_BINARIZE(uint16_t)
PYIFCN_BINARIZE(float)
PYIFCN_BINARIZE(double)

template <>
bool is_suppressed<kTarget>(const BoxBlock<float>* blocks, int64_t count, const float* box, float threshold) {
  return overlaps(blocks, count, box, threshold);
}

template <>
void render<kTarget>(const RenderJob& job) {
  render_mask(job);
}

}  // namespace pyifcn
