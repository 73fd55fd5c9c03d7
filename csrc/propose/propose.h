// Proposals from score maps and objectness (Dai et al. 2016, section 3.3): windows in falling objectness,
// each assembled, binarised and boxed when its turn comes, and greedy NMS on the tight boxes.
//
// The maps are binarised once, into one bit for each logit in the maps' own order. A row of a window's mask
// is then K reads of 64 bits, whatever the maps' dtype was, and nothing of what follows depends on the
// target.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "nms/nms.h"

namespace pyifcn {

// When a logit is foreground. Of float16 and bfloat16 the bits are compared, in the order of their values.
template <class E>
struct Foreground {
  E above;
};
template <>
struct Foreground<uint16_t> {
  int16_t above, most;  // ordered(bits) must be > above and <= most, which is infinity
};

// Bits of two's complement that are ordered as the values are; NaN lies beyond the infinities.
PYIFCN_INLINE int16_t ordered(uint16_t bits) {
  const int16_t value = int16_t(bits);
  return int16_t(value ^ (int16_t(value >> 15) & 0x7fff));
}

template <class E>
PYIFCN_INLINE bool is_foreground(E value, Foreground<E> foreground) {
  return value > foreground.above;
}
PYIFCN_INLINE bool is_foreground(uint16_t value, Foreground<uint16_t> foreground) {
  const int16_t rank = ordered(value);
  return (rank > foreground.above) & (rank <= foreground.most);
}

// Bit i % 64 of words[i / 64] is whether values[i] is foreground, the last word filled up with zeros.
template <Target T, class E>
void binarize(const E* values, int64_t count, Foreground<E> foreground, uint64_t* words);

// Whether the IoU of a box, x1 y1 x2 y2, with one of the blocks' is above the threshold. The box has an area;
// the blocks are filled up with zeros.
template <Target T>
bool is_suppressed(const BoxBlock<float>* blocks, int64_t count, const float* box, float threshold);

// One mask to be rendered at the image's resolution. A tap names two cells and the weight of the second.
struct RenderTap {
  int32_t first, second;
  float weight;
};
struct RenderJob {
  const float* logits;  // (size, size)
  int64_t size;
  const RenderTap *rows, *columns;  // of each pixel row, and of each pixel column from the first on
  int64_t height, width;            // pixels
  int64_t lead;                     // bits of a row's first word that come before its first pixel
  float threshold;                  // a pixel is set where the interpolated logit is above
  float* scratch;                   // (size, 64 across): cell rows, interpolated across
  uint64_t* words;                  // (height, across): all are written
  int64_t across;                   // words a row
};

template <Target T>
void render(const RenderJob& job);

}  // namespace pyifcn
