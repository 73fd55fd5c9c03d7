// Where the bins of RoIs lie, for the CPU and for CUDA. Each operation on coordinates is rounded once, in the
// maps' type, in the order that the operator's source has.
//
// A rule knows a RoI along one axis: span(axis, i) are the pixels that its bin i reads.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/target.h"
#include "core/view.h"
#include "ps_roi/ps_roi.h"

namespace pyifcn {

// How RoIs are cut along one axis of the maps.
struct Axis {
  int64_t bins;     // of a RoI
  int64_t size;     // of a map, in pixels: bins end there
  int64_t samples;  // of a bin, for SampledBins; 0 or less: as many as it has pixels
};

// A RoI along one axis, in pixels of the image.
template <class E>
struct Interval {
  E low, high;
};

// Beyond this many pixels all coordinates are alike, so that they, and their differences, can be integers.
template <class E>
PYIFCN_INLINE E bounded(E coordinate) {
  constexpr E kFar = 1 << 30;
  return coordinate < -kFar ? -kFar : coordinate > kFar ? kFar : coordinate;
}

PYIFCN_INLINE int32_t clipped(int64_t pixel, int64_t limit) {
  return int32_t(pixel < 0 ? 0 : pixel > limit ? limit : pixel);
}

// torchvision's ps_roi_pool.
template <class E>
class PoolBins {
public:
  PoolBins() = default;
  PYIFCN_INLINE PoolBins(Interval<E> roi, E scale, const Axis& axis)
      : start_(int32_t(std::round(bounded(roi.low * scale)))) {
    const int64_t length = int64_t(std::round(bounded(roi.high * scale))) - start_;
    bin_ = E(length > 1 ? length : 1) / E(axis.bins);
  }

  PYIFCN_INLINE Span span(const Axis& axis, int32_t bin) const {
    return {clipped(int64_t(std::floor(E(bin) * bin_)) + start_, axis.size),
            clipped(int64_t(std::ceil(E(bin + 1) * bin_)) + start_, axis.size)};
  }

private:
  int32_t start_;
  E bin_;
};

// FCIS's PSROIPooling.
template <class E>
class AssembleBins {
public:
  AssembleBins() = default;
  PYIFCN_INLINE AssembleBins(Interval<E> roi, E scale, const Axis& axis)
      : start_(bounded(std::round(roi.low) * scale)) {
    const E length = bounded((std::round(roi.high) + 1) * scale) - start_;
    bin_ = (length < E(0.1) ? E(0.1) : length) / E(axis.bins);
  }

  PYIFCN_INLINE Span span(const Axis& axis, int32_t bin) const {
    return {clipped(int64_t(std::floor(E(bin) * bin_ + start_)), axis.size),
            clipped(int64_t(std::ceil(E(bin + 1) * bin_ + start_)), axis.size)};
  }

private:
  E start_, bin_;
};

// Samples [first, last) of a bin.
struct SampleRange {
  uint32_t first, last;
};

// torchvision's ps_roi_align: samples, each interpolated between two pixels. Those more than a pixel outside
// the map read nothing. Along a bin positions rise, or fall where the RoI's corners are exchanged, so that
// samples are found by bisection: a vast RoI costs no more than another.
template <class E>
class SampledBins {
public:
  SampledBins() = default;
  PYIFCN_INLINE SampledBins(Interval<E> roi, E scale, const Axis& axis)
      : start_(bounded(roi.low * scale - E(0.5))) {
    const E length = bounded(roi.high * scale - E(0.5)) - start_;
    bin_ = length / E(axis.bins);
    samples_ = axis.samples > 0 ? uint32_t(axis.samples) : bin_ > 0 ? uint32_t(std::ceil(bin_)) : 0;
  }

  // Of each bin, also those that read nothing.
  PYIFCN_INLINE uint32_t samples() const { return samples_; }

  // The samples whose tap has its low pixel in `pixels`.
  PYIFCN_INLINE SampleRange samples_at(const Axis& axis, int32_t bin, Span pixels) const {
    const bool rising = bin_ >= 0;
    const auto before = [&](uint32_t i) {
      const E at = position(bin, i);
      return at < E(-1) || (at <= E(axis.size) && low_pixel(axis, at) < pixels.first);
    };
    const auto beyond = [&](uint32_t i) {
      const E at = position(bin, i);
      return at > E(axis.size) || (at >= E(-1) && low_pixel(axis, at) >= pixels.last);
    };
    return {bisect([&](uint32_t i) { return rising ? before(i) : beyond(i); }),
            bisect([&](uint32_t i) { return rising ? !beyond(i) : !before(i); })};
  }

  // All that read something.
  PYIFCN_INLINE SampleRange samples_at(const Axis& axis, int32_t bin) const {
    return samples_at(axis, bin, {0, int32_t(axis.size)});
  }

  PYIFCN_INLINE SampleTap<E> tap(const Axis& axis, int32_t bin, uint32_t sample) const {
    const E at = position(bin, sample), inside = at < 0 ? E(0) : at;
    const int32_t low = low_pixel(axis, at);
    if (low == axis.size - 1) return {low, low, E(1), E(0)};
    const E high_weight = inside - E(low);
    return {low, low + 1, E(1) - high_weight, high_weight};
  }

  PYIFCN_INLINE Span span(const Axis& axis, int32_t bin) const {
    return span(axis, bin, samples_at(axis, bin));
  }

  // The pixels that some of its samples read.
  PYIFCN_INLINE Span span(const Axis& axis, int32_t bin, SampleRange range) const {
    if (range.first >= range.last) return {0, 0};
    const SampleTap<E> one = tap(axis, bin, range.first), other = tap(axis, bin, range.last - 1);
    return one.low < other.low ? Span{one.low, other.high + 1} : Span{other.low, one.high + 1};
  }

private:
  PYIFCN_INLINE E position(int32_t bin, uint32_t sample) const {
    const E begin = E(bin) * bin_ + start_;
    return begin + E(float(sample) + 0.5f) * bin_ / E(samples_);
  }

  PYIFCN_INLINE static int32_t low_pixel(const Axis& axis, E at) {
    const int32_t last = int32_t(axis.size - 1), low = at < 0 ? 0 : int32_t(at);
    return low < last ? low : last;
  }

  // How many samples come before the first for which `before` is false.
  template <class Before>
  PYIFCN_INLINE uint32_t bisect(Before before) const {
    uint32_t low = 0, high = samples_;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (before(middle))
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  E start_, bin_;
  uint32_t samples_;
};

// What is known of all RoIs of a call.
template <class E>
struct Rois {
  View<const E, 2> rows;  // (N, 5): image, x1, y1, x2, y2
  E scale;
  Axis vertical, horizontal;

  PYIFCN_INLINE int64_t count() const { return rows.shape[0]; }
  PYIFCN_INLINE Interval<E> across(int64_t n) const { return {rows.data[5 * n + 1], rows.data[5 * n + 3]}; }
  PYIFCN_INLINE Interval<E> down(int64_t n) const { return {rows.data[5 * n + 2], rows.data[5 * n + 4]}; }
  PYIFCN_INLINE bool has_nan(int64_t n) const {
    const E* box = rows.data + 5 * n + 1;
    return box[0] != box[0] || box[1] != box[1] || box[2] != box[2] || box[3] != box[3];
  }
  // Whether the row names one of `images` images.
  PYIFCN_INLINE bool has_image(int64_t n, int64_t images) const {
    const E named = rows.data[5 * n];
    return named >= 0 && named < E(images) && named == std::floor(named);
  }
};

}  // namespace pyifcn
