// A mask is rendered in two passes, as rows first: of its few rows each becomes as wide as the box, and a row
// of pixels is then a mixture of two of them. What limits that pass is arithmetic, five operations and a
// compare for each vector of pixels. Votes are summed from the borders of their runs: a mask costs two
// additions for a run in a row, whatever its width, and the sums over a row are made once for all masks.
// There the rows are the lanes, so that the running sums need no shuffles.
#include "mask_voting/mask_voting.h"

#include "core/simd.h"
#include "core/transpose.h"
#include "mask_voting/overlap.h"

namespace pyifcn {
namespace {

template <class V, class E>
PYIFCN_INLINE void over(const Corners<E>& boxes, int64_t i, E threshold, uint64_t* bits) {
  const VotingBox<V> box{V::all(boxes.x1[i]), V::all(boxes.y1[i]), V::all(boxes.x2[i]), V::all(boxes.y2[i]),
                         V::all(boxes.area[i])};
  const V last = V::all(boxes.last), zero = V::all(0), most = V::all(threshold);
  for (int64_t word = 0; word < boxes.words; ++word) {
    uint64_t found = 0;
    for (int lane = 0; lane < 64; lane += V::lanes) {
      const int64_t j = 64 * word + lane;
      const VotingBox<V> other{V::load(boxes.x1 + j), V::load(boxes.y1 + j), V::load(boxes.x2 + j),
                               V::load(boxes.y2 + j), V::load(boxes.area + j)};
      const V common = intersection(box, other, last, zero);
      found |= uint64_t((iou(box, other, common) > most).bits()) << lane;
    }
    bits[word] = found;
  }
}

PYIFCN_INLINE F32 mix(const float* low, const float* high, F32 low_weight, F32 high_weight) {
  return low_weight * F32::load(low) + high_weight * F32::load(high);
}

}  // namespace

template <>
void overlapping<kTarget, float>(const Corners<float>& boxes, int64_t i, float threshold, uint64_t* bits) {
  over<F32>(boxes, i, threshold, bits);
}

template <>
void overlapping<kTarget, double>(const Corners<double>& boxes, int64_t i, double threshold, uint64_t* bits) {
  over<F64>(boxes, i, threshold, bits);
}

// Columns are mixed as rows of the transposed mask, whole vectors whatever the taps.
template <>
void widen<kTarget>(const float* mask, int64_t side, const Tap* columns, int64_t width, float* scratch,
                    float* wide) {
  const int64_t pitch = padded(side);
  float *turned = scratch, *mixed = scratch + side * pitch;
  transpose(mask, side, side, side, turned, pitch);
  for (int64_t x = 0; x < width; ++x) {
    const Tap tap = columns[x];
    const float *low = turned + tap.low * pitch, *high = turned + tap.high * pitch;
    const F32 low_weight = F32::all(tap.low_weight), high_weight = F32::all(tap.high_weight);
    for (int64_t y = 0; y < side; y += F32::lanes)
      mix(low + y, high + y, low_weight, high_weight).store(mixed + x * pitch + y);
  }
  transpose(mixed, pitch, width, side, wide, padded(width));
}

template <>
void render_bits<kTarget>(const float* wide, int64_t width, const Tap* rows, int64_t height, float threshold,
                          uint64_t* words) {
  const F32 least = F32::all(threshold);
  for (int64_t y = 0; y < height; ++y) {
    const Tap tap = rows[y];
    const float *low = wide + tap.low * padded(width), *high = wide + tap.high * padded(width);
    const F32 low_weight = F32::all(tap.low_weight), high_weight = F32::all(tap.high_weight);
    for (int64_t begin = 0; begin < width; begin += 64) {
      const int64_t count = width - begin < 64 ? width - begin : 64;
      uint64_t word = 0;
      for (int64_t x = 0; x < count; x += F32::lanes) {
        const F32 value = mix(low + begin + x, high + begin + x, low_weight, high_weight);
        word |= uint64_t((value >= least).bits()) << x;
      }
      *words++ = word & ~uint64_t(0) >> (64 - count);
    }
  }
}

template <>
void add_row<kTarget>(const float* low, const float* high, float low_weight, float high_weight, float weight,
                      float* sums, int64_t count) {
  const auto add = [&]<class V>(int64_t x, V) {
    const V value = V::all(low_weight) * V::load(low + x) + V::all(high_weight) * V::load(high + x);
    (V::load(sums + x) + V::all(weight) * value).store(sums + x);
  };
  int64_t x = 0;
  for (; x + F32::lanes <= count; x += F32::lanes) add(x, F32{});
  for (; x < count; ++x) add(x, Scalar<float>{});
}

template <>
void sum_strip<kTarget>(uint32_t* steps, int64_t width, uint32_t threshold, uint16_t* reached) {
  constexpr int kVectors = kStrip / U32::lanes;
  U32 sums[kVectors];
  for (U32& sum : sums) sum = U32::all(0u - threshold);
  for (int64_t x = 0; x < width; ++x) {
    uint32_t negative = 0;
    for (int v = 0; v < kVectors; ++v) {
      uint32_t* step = steps + x * kStrip + v * U32::lanes;
      sums[v] = sums[v] + U32::load(step);
      sums[v].store(step);
      negative |= top_bits(sums[v]) << v * U32::lanes;
    }
    reached[x] = uint16_t(~negative);
  }
}

}  // namespace pyifcn
