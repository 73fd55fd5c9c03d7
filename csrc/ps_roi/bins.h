// Where the bins of RoIs lie. Each operation on coordinates is rounded once, in the maps' type, in the order
// that the operator's source has.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "ps_roi/ps_roi.h"

namespace pyifcn {

// How RoIs are cut along one axis of the maps.
struct Axis {
  int64_t bins;  // of a RoI
  int64_t size;  // of a map, in pixels
};

// A RoI along one axis, in pixels of the image.
template <class E>
struct Extent {
  E low, high;
};

// Beyond this many pixels all coordinates are alike, so that they can be integers.
template <class E>
E bounded(E coordinate) {
  constexpr E kFar = 1 << 30;
  return std::clamp(coordinate, -kFar, kFar);
}

inline int32_t clipped(int64_t pixel, int64_t limit) { return int32_t(std::clamp<int64_t>(pixel, 0, limit)); }

// torchvision's ps_roi_pool, with bins clipped at `limit`.
template <class E>
void pool_spans(Extent<E> roi, E scale, Axis axis, int64_t limit, Span* spans) {
  const int64_t start = int64_t(std::round(bounded(roi.low * scale))),
                end = int64_t(std::round(bounded(roi.high * scale)));
  const E bin = E(std::max<int64_t>(end - start, 1)) / E(axis.bins);
  for (int64_t i = 0; i < axis.bins; ++i)
    spans[i] = {clipped(int64_t(std::floor(E(i) * bin)) + start, limit),
                clipped(int64_t(std::ceil(E(i + 1) * bin)) + start, limit)};
}

// FCIS's PSROIPooling.
template <class E>
void assemble_spans(Extent<E> roi, E scale, Axis axis, Span* spans) {
  const E start = bounded(std::round(roi.low) * scale), end = bounded((std::round(roi.high) + 1) * scale);
  const E bin = std::max(end - start, E(0.1)) / E(axis.bins);
  for (int64_t i = 0; i < axis.bins; ++i)
    spans[i] = {clipped(int64_t(std::floor(E(i) * bin + start)), axis.size),
                clipped(int64_t(std::ceil(E(i + 1) * bin + start)), axis.size)};
}

// torchvision's ps_roi_align: taps and what they read, of one RoI along one axis. Samples outside the map
// have none; those of a vast RoI are passed over without being looked at one by one.
template <class E>
class Sampler {
public:
  Sampler(Extent<E> roi, E scale, Axis axis, int64_t ratio)
      : start_(bounded(roi.low * scale - E(0.5))), axis_(axis), adaptive_(ratio <= 0) {
    const E length = bounded(roi.high * scale - E(0.5)) - start_;
    bin_ = length / E(axis.bins);
    samples_ = adaptive_ ? std::max<int64_t>(int64_t(std::ceil(bin_)), 0) : ratio;
  }

  int64_t samples() const { return samples_; }

  void append(int64_t bin, std::vector<Tap<E>>& taps, Span& reach) const {
    int64_t first = 0, last = samples_;
    if (adaptive_) {  // then positions never fall
      first = partition(last, [&](int64_t i) { return position(bin, i) < E(-1); });
      last = partition(last, [&](int64_t i) { return position(bin, i) <= E(axis_.size); });
    }
    reach = {0, 0};
    for (int64_t i = first; i < last; ++i) {
      const E at = position(bin, i);
      if (!(at >= E(-1) && at <= E(axis_.size))) continue;
      const Tap<E> tap = tap_at(at);
      reach = reach.last == 0 ? Span{tap.low, tap.high + 1}
                              : Span{std::min(reach.first, tap.low), std::max(reach.last, tap.high + 1)};
      taps.push_back(tap);
    }
  }

private:
  E position(int64_t bin, int64_t sample) const {
    const E begin = E(bin) * bin_ + start_;
    return begin + E(float(sample) + 0.5f) * bin_ / E(samples_);
  }

  // How many of [0, count) come before the first for which `before` is false.
  template <class Before>
  static int64_t partition(int64_t count, Before before) {
    int64_t low = 0;
    while (low < count) {
      const int64_t middle = low + (count - low) / 2;
      if (before(middle))
        low = middle + 1;
      else
        count = middle;
    }
    return low;
  }

  Tap<E> tap_at(E at) const {
    at = std::max(at, E(0));
    const int32_t low = int32_t(at), end = int32_t(axis_.size - 1);
    if (low >= end) return {end, end, E(1), E(0)};
    const E high_weight = at - E(low);
    return {low, low + 1, E(1) - high_weight, high_weight};
  }

  E start_, bin_;
  Axis axis_;
  bool adaptive_;
  int64_t samples_;
};

// What is known of all RoIs of a call.
template <class E>
struct Rois {
  View<const E, 2> rows;  // (N, 5): image, x1, y1, x2, y2
  E scale;
  Axis vertical, horizontal;

  int64_t count() const { return rows.shape[0]; }
  Extent<E> across(int64_t n) const { return {rows.data[5 * n + 1], rows.data[5 * n + 3]}; }
  Extent<E> down(int64_t n) const { return {rows.data[5 * n + 2], rows.data[5 * n + 4]}; }
  bool has_nan(int64_t n) const {
    return std::any_of(rows.data + 5 * n + 1, rows.data + 5 * n + 5, [](E x) { return std::isnan(x); });
  }
};

// Spans of all RoIs; a RoI with NaN in it has empty ones.
struct RectangleTable {
  std::vector<Span> rows, columns;
  Rectangles view() const { return {rows.data(), columns.data()}; }

  // `spans` is pool_spans or assemble_spans with its limits bound.
  template <class E, class Spans>
  RectangleTable(const Rois<E>& rois, Spans spans)
      : rows(size_t(rois.count() * rois.vertical.bins)),
        columns(size_t(rois.count() * rois.horizontal.bins)) {
    for (int64_t n = 0; n < rois.count(); ++n) {
      if (rois.has_nan(n)) continue;
      spans(rois.down(n), rois.vertical, rows.data() + n * rois.vertical.bins);
      spans(rois.across(n), rois.horizontal, columns.data() + n * rois.horizontal.bins);
    }
  }
};

template <class E>
struct TapTable {
  std::vector<Span> spans;
  std::vector<Tap<E>> taps;
  std::vector<int64_t> starts{0};
  Taps<E> view() const { return {taps.data(), starts.data()}; }

  // Appends a RoI; nullptr stands for one without samples.
  void append(const Sampler<E>* sampler, int64_t bins) {
    for (int64_t i = 0; i < bins; ++i) {
      Span reach{0, 0};
      if (sampler) sampler->append(i, taps, reach);
      spans.push_back(reach);
      starts.push_back(int64_t(taps.size()));
    }
  }
};

template <class E>
struct SampleTable {
  TapTable<E> rows, columns;
  std::vector<E> counts;
  Samples<E> view() const {
    return {rows.spans.data(), columns.spans.data(), rows.view(), columns.view(), counts.data()};
  }

  SampleTable(const Rois<E>& rois, int64_t ratio) {
    for (int64_t n = 0; n < rois.count(); ++n) {
      if (rois.has_nan(n)) {
        append(nullptr, nullptr, rois);
        continue;
      }
      const Sampler<E> down(rois.down(n), rois.scale, rois.vertical, ratio),
          across(rois.across(n), rois.scale, rois.horizontal, ratio);
      const bool empty = down.samples() == 0 || across.samples() == 0;
      append(empty ? nullptr : &down, empty ? nullptr : &across, rois);
    }
  }

private:
  void append(const Sampler<E>* down, const Sampler<E>* across, const Rois<E>& rois) {
    rows.append(down, rois.vertical.bins);
    columns.append(across, rois.horizontal.bins);
    counts.push_back(down ? E(down->samples() * across->samples()) : E(1));
  }
};

}  // namespace pyifcn
