// The bins of all RoIs, looked up by the kernels of the CPU. A RoI with NaN in it has empty ones.
#pragma once

#include <vector>

#include "ps_roi/bins.h"

namespace pyifcn {

// `Rule` is PoolBins or AssembleBins.
template <class Rule>
class RectangleTable {
public:
  template <class E>
  explicit RectangleTable(const Rois<E>& rois)
      : rows_(size_t(rois.count() * rois.vertical.bins)),
        columns_(size_t(rois.count() * rois.horizontal.bins)) {
    for (int64_t n = 0; n < rois.count(); ++n) {
      if (rois.has_nan(n)) continue;
      fill(Rule(rois.down(n), rois.scale, rois.vertical), rois.vertical, n, rows_);
      fill(Rule(rois.across(n), rois.scale, rois.horizontal), rois.horizontal, n, columns_);
    }
  }

  Rectangles view() const { return {rows_.data(), columns_.data()}; }

private:
  static void fill(const Rule& rule, const Axis& axis, int64_t n, std::vector<Span>& spans) {
    for (int32_t i = 0; i < axis.bins; ++i) spans[size_t(n * axis.bins + i)] = rule.span(axis, i);
  }

  std::vector<Span> rows_, columns_;
};

template <class E>
struct TapTable {
  std::vector<Span> spans;
  std::vector<SampleTap<E>> taps;
  std::vector<int64_t> starts{0};
  Taps<E> view() const { return {taps.data(), starts.data()}; }

  // Appends a RoI; nullptr stands for one without samples.
  void append(const SampledBins<E>* rule, const Axis& axis) {
    for (int32_t i = 0; i < axis.bins; ++i) {
      const SampleRange samples = rule ? rule->samples_at(axis, i) : SampleRange{0, 0};
      for (uint32_t s = samples.first; s < samples.last; ++s) taps.push_back(rule->tap(axis, i, s));
      spans.push_back(rule ? rule->span(axis, i, samples) : Span{0, 0});
      starts.push_back(int64_t(taps.size()));
    }
  }
};

template <class E>
class SampleTable {
public:
  explicit SampleTable(const Rois<E>& rois) {
    for (int64_t n = 0; n < rois.count(); ++n) {
      const SampledBins<E> down(rois.down(n), rois.scale, rois.vertical),
          across(rois.across(n), rois.scale, rois.horizontal);
      const int64_t count = rois.has_nan(n) ? 0 : int64_t(down.samples()) * across.samples();
      rows_.append(count ? &down : nullptr, rois.vertical);
      columns_.append(count ? &across : nullptr, rois.horizontal);
      counts_.push_back(count ? E(count) : E(1));
    }
  }

  Samples<E> view() const {
    return {rows_.spans.data(), columns_.spans.data(), rows_.view(), columns_.view(), counts_.data()};
  }

private:
  TapTable<E> rows_, columns_;
  std::vector<E> counts_;
};

}  // namespace pyifcn
