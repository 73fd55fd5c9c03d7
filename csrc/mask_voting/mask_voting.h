// Kernels of mask voting: merging the masks of many detections of one object by a vote of their pixels (Dai
// et al. 2016, MNC; Li et al. 2017, FCIS).
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Boxes with a corner that is not finite, or farther than this, overlap nothing.
inline constexpr float kFarthest = 1 << 30;

// Boxes column by column, padded with NaN to whole words of 64; their IoU with anything is NaN. `last` is 1
// where x2 and y2 are of the last pixel inside, else 0.
template <class E>
struct Corners {
  const E *x1, *y1, *x2, *y2, *area;
  int64_t words;
  E last;
};

// Sets bit j of `bits` where the IoU of boxes i and j is more than `threshold`, and clears the others.
template <Target T, class E>
void overlapping(const Corners<E>& boxes, int64_t i, E threshold, uint64_t* bits);

// The two elements about a sample along one axis, and their weights.
struct Tap {
  int32_t low, high;
  float low_weight, high_weight;
};

// How wide the kernels' rows of floats are in memory.
constexpr int64_t padded(int64_t count) { return (count + 63) / 64 * 64; }

// Resamples each row of a mask (side, side) into a row of `width`, `padded(width)` apart. `scratch` has room
// for (side + width) padded(side).
template <Target T>
void widen(const float* mask, int64_t side, const Tap* columns, int64_t width, float* scratch, float* wide);

// Resamples the columns of what `widen` made: one row of `padded(width)` / 64 words for each of the taps, a
// bit set where the value is at least `threshold`.
template <Target T>
void render_bits(const float* wide, int64_t width, const Tap* rows, int64_t height, float threshold,
                 uint64_t* words);

// sums += weight (low_weight low + high_weight high).
template <Target T>
void add_row(const float* low, const float* high, float low_weight, float high_weight, float weight,
             float* sums, int64_t count);

// Rows of pixels that are summed side by side.
constexpr int64_t kStrip = 16;

// Turns the steps of kStrip rows, (width, kStrip), into running sums from left to right that start at
// -`threshold`, in place, modulo 2^32. Bit r of reached[x] is whether the sum in row r is not negative.
template <Target T>
void sum_strip(uint32_t* steps, int64_t width, uint32_t threshold, uint16_t* reached);

}  // namespace pyifcn
