#include <pybind11/numpy.h>

#include <algorithm>
#include <string>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "mask_voting/arguments.h"
#include "mask_voting/elect.h"
#include "mask_voting/tally.h"

namespace pyifcn {
namespace {

template <class Fill>
void in_arithmetic_of(const Convention& convention, Fill fill) {
  if (in_float32(convention))
    fill(float());
  else
    fill(double());
}

template <class Taps>
void fill_taps(const Taps& tap_of, PixelRange range, std::vector<Tap>& taps) {
  taps.resize(size_t(range.size()));
  for (size_t k = 0; k < taps.size(); ++k) taps[k] = tap_of(range.first + int64_t(k));
}

// Reads one mask after the other at the pixels of its box.
class Renderer {
public:
  Renderer(View<const float, 3> masks, View<const float, 2> boxes, const VotingOptions& options)
      : masks_(masks), boxes_(boxes), options_(options) {}

  // Where the value is at least the threshold.
  RunEnds edges(int64_t i) {
    const Region region = widen_mask(i);
    if (region.empty()) return {};
    const int64_t width = region.x2 - region.x1, height = region.y2 - region.y1, across = padded(width) / 64;
    words_.resize(size_t(across * height));
    bits_(wide_.data(), width, rows_.data(), height, options_.foreground(), words_.data());
    return {region, words_.data(), across, region.x1};
  }

  // Adds the values times `weight` to those of `region`, row by row.
  void add(int64_t i, float weight, const Region& region, float* sums) {
    const Region inside = widen_mask(i);
    if (inside.empty()) return;
    const int64_t side = masks_.shape[1], last = side - 1, width = inside.x2 - inside.x1,
                  pitch = padded(width);
    // On the last row or the last column MNC takes the nearest element both ways.
    const float* mask = masks_.data + i * side * side;
    int64_t mixed = 0;
    nearest_.resize(size_t(width));
    for (int64_t x = 0; x < width; ++x) {
      nearest_[size_t(x)] = mask[last * side + columns_[size_t(x)].low];
      mixed += columns_[size_t(x)].low < last;
    }
    for (int64_t y = inside.y1; y < inside.y2; ++y) {
      const Tap tap = rows_[size_t(y - inside.y1)];
      float* to = sums + (y - region.y1) * (region.x2 - region.x1) + inside.x1 - region.x1;
      if (tap.low == last) {
        add_(nearest_.data(), nearest_.data(), 1, 0, weight, to, width);
        continue;
      }
      const float *low = wide_.data() + tap.low * pitch, *high = wide_.data() + tap.high * pitch;
      add_(low, high, tap.low_weight, tap.high_weight, weight, to, mixed);
      add_(low + mixed, low + mixed, 1, 0, weight, to + mixed, width - mixed);
    }
  }

  // The pixels that mask i is read at.
  Region region_of(int64_t i) const {
    const BoxAxes axes(options_, boxes_.data + 4 * i);
    return {axes.x.pixels.first, axes.y.pixels.first, axes.x.pixels.end, axes.y.pixels.end};
  }

private:
  Region widen_mask(int64_t i) {
    const Region region = region_of(i);
    if (region.empty()) return region;
    const int64_t side = masks_.shape[1], width = region.x2 - region.x1;
    const BoxAxes axes(options_, boxes_.data + 4 * i);
    in_arithmetic_of(options_.convention, [&]<class E>(E) {
      fill_taps(RenderTaps<E>(options_.convention, axes.x, side), axes.x.pixels, columns_);
      fill_taps(RenderTaps<E>(options_.convention, axes.y, side), axes.y.pixels, rows_);
    });
    scratch_.resize(std::max(scratch_.size(), size_t((side + width) * padded(side))));
    wide_.resize(std::max(wide_.size(), size_t(side * padded(width))));
    widen_(masks_.data + i * side * side, side, columns_.data(), width, scratch_.data(), wide_.data());
    return region;
  }

  View<const float, 3> masks_;
  View<const float, 2> boxes_;
  const VotingOptions& options_;
  decltype(&widen<Target::scalar>) widen_ = dispatch([]<Target T>() { return &widen<T>; });
  decltype(&render_bits<Target::scalar>) bits_ = dispatch([]<Target T>() { return &render_bits<T>; });
  decltype(&add_row<Target::scalar>) add_ = dispatch([]<Target T>() { return &add_row<T>; });
  std::vector<Tap> columns_, rows_;
  std::vector<float> scratch_, wide_, nearest_;
  std::vector<uint64_t> words_;
};

// Values that were added up over a region.
struct Sums {
  Region region{};
  std::vector<float> values;

  float share(int64_t y, int64_t x) const {
    if (y < region.y1 || y >= region.y2 || x < region.x1 || x >= region.x2) return 0;
    return values[size_t((y - region.y1) * (region.x2 - region.x1) + x - region.x1)];
  }

  // Around the values above the threshold.
  Region box(float threshold) const {
    Region box{};
    const int64_t width = region.x2 - region.x1;
    for (int64_t y = region.y1; y < region.y2; ++y) {
      const float* row = values.data() + (y - region.y1) * width;
      const auto above = [&](float value) { return value > threshold; };
      const float* first = std::find_if(row, row + width, above);
      if (first == row + width) continue;
      const float* end = row + width;
      while (!above(end[-1])) --end;
      box = around(box, {region.x1 + first - row, y, region.x1 + end - row, y + 1});
    }
    return box;
  }
};

// A merged mask: that of the image where the convention says so, else values in a box of whole pixels.
struct Merged {
  bool dropped = true;
  Region box{};
  PackedMask full;
};

class Merger {
public:
  Merger(const VotingOptions& options, int64_t side) : options_(options), side_(side) {}

  Merged merge(const Ballot& ballot, const std::vector<RunEnds>& edges, Renderer& renderer, float* out) {
    const std::vector<uint32_t> weights = weights_of(ballot.scores);
    Merged merged;
    if (weights.empty()) return merged;
    if (!options_.convention.binary) {
      add_values(ballot, renderer);
      return resample(sums_.box(options_.foreground()), sums_, out);
    }
    votes_.clear();
    for (size_t k = 0; k < weights.size(); ++k)
      votes_.push_back({&edges[size_t(ballot.boxes[k])], weights[k]});
    if (!options_.convention.full) {
      tally_.count(votes_, options_.binary_threshold);
      return resample(tally_.box(), tally_, out);
    }
    merged.full = tally_.merge(votes_, options_.binary_threshold);
    merged.dropped = merged.full.words.empty();
    return merged;
  }

private:
  void add_values(const Ballot& ballot, Renderer& renderer) {
    double total = 0;
    sums_.region = {};
    for (size_t k = 0; k < ballot.boxes.size(); ++k) {
      sums_.region = around(sums_.region, renderer.region_of(ballot.boxes[k]));
      total += ballot.scores[k];
    }
    const Region& region = sums_.region;
    sums_.values.assign(
        size_t(checked_count("the region of a vote", {region.y2 - region.y1, region.x2 - region.x1})), 0);
    for (size_t k = 0; k < ballot.boxes.size(); ++k)
      renderer.add(ballot.boxes[k], float(ballot.scores[k]) / float(total), region, sums_.values.data());
  }

  template <class Canvas>
  Merged resample(Region box, const Canvas& canvas, float* out) {
    const Convention& convention = options_.convention;
    Merged merged;
    if (box.empty()) {
      const int64_t x = options_.width / 2, y = options_.height / 2;
      box = {x, y, x + 1, y + 1};
    }
    merged.box = box;
    merged.dropped = convention.drops_thin && (box.x2 - box.x1 == 1 || box.y2 - box.y1 == 1);
    if (merged.dropped) return merged;
    const PixelRange across{box.x1, box.x2}, down{box.y1, box.y2};
    in_arithmetic_of(convention, [&]<class E>(E) {
      fill_taps(ResampleTaps<E>(convention, across, side_, options_.width), {0, side_}, columns_);
      fill_taps(ResampleTaps<E>(convention, down, side_, options_.height), {0, side_}, rows_);
    });
    const bool nearest = in_float32(convention);
    for (const Tap& y : rows_)
      for (const Tap& x : columns_) {
        if (nearest && (x.low == options_.width - 1 || y.low == options_.height - 1)) {
          *out++ = canvas.share(y.low, x.low);
          continue;
        }
        const auto row = [&](int64_t at) {
          return x.low_weight * canvas.share(at, x.low) + x.high_weight * canvas.share(at, x.high);
        };
        *out++ = y.low_weight * row(y.low) + y.high_weight * row(y.high);
      }
    return merged;
  }

  const VotingOptions& options_;
  int64_t side_;
  Tally tally_;
  Sums sums_;
  std::vector<Vote> votes_;
  std::vector<Tap> columns_, rows_;
};

struct Outcome {
  std::vector<Detection> detections;
  std::vector<Merged> merged;
  std::vector<float> masks;  // (K, M, M)
};

Outcome run(const View<const float, 3>& masks, const View<const float, 2>& boxes,
            const View<const float, 2>& scores, const VotingOptions& options, int threads) {
  const Electorate electorate(boxes, scores, options.convention);
  Outcome outcome{electorate.detect(options.suppressing(), options.most, threads), {}, {}};
  const auto count = int64_t(outcome.detections.size()), side = masks.shape[1];
  std::vector<Ballot> ballots{size_t(count)};
  parallel_for(count, 8, threads, [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k)
      ballots[size_t(k)] = electorate.ballot(outcome.detections[size_t(k)], options.merge_threshold);
  });
  std::vector<RunEnds> edges(options.convention.binary ? size_t(boxes.shape[0]) : 0);
  if (options.convention.binary) {
    std::vector<bool> votes(size_t(boxes.shape[0]));
    for (const Ballot& ballot : ballots)
      for (int32_t j : ballot.boxes) votes[size_t(j)] = true;
    parallel_for(boxes.shape[0], 8, threads, [&](int64_t begin, int64_t end) {
      Renderer renderer(masks, boxes, options);
      for (int64_t j = begin; j < end; ++j)
        if (votes[size_t(j)]) edges[size_t(j)] = renderer.edges(j);
    });
  }
  outcome.merged.resize(size_t(count));
  if (!options.convention.full) outcome.masks.resize(size_t(checked_count("masks", {count, side, side})));
  parallel_for(count, 1, threads, [&](int64_t begin, int64_t end) {
    Renderer renderer(masks, boxes, options);
    Merger merger(options, side);
    for (int64_t k = begin; k < end; ++k)
      outcome.merged[size_t(k)] =
          merger.merge(ballots[size_t(k)], edges, renderer,
                       options.convention.full ? nullptr : outcome.masks.data() + k * side * side);
  });
  return outcome;
}

// (boxes, masks, scores, labels) of what was not dropped; the masks are the arrays of a Masks where the
// convention makes those.
py::tuple to_arrays(Outcome& outcome, int64_t side, const Convention& convention) {
  std::vector<py::ssize_t> kept;
  for (size_t k = 0; k < outcome.merged.size(); ++k)
    if (!outcome.merged[k].dropped) kept.push_back(py::ssize_t(k));
  const auto count = py::ssize_t(kept.size());
  py::array_t<float> boxes({count, py::ssize_t(4)}), scores(count);
  py::array_t<float> masks({convention.full ? 0 : count, py::ssize_t(side), py::ssize_t(side)});
  py::array_t<int64_t> labels(count);
  std::vector<PackedMask> full;
  for (py::ssize_t i = 0; i < count; ++i) {
    const auto k = size_t(kept[size_t(i)]);
    Merged& merged = outcome.merged[k];
    float* box = boxes.mutable_data() + 4 * i;
    if (convention.full) {
      std::copy_n(merged.full.box, 4, box);
      full.push_back(std::move(merged.full));
    } else {
      const Region& region = merged.box;
      box[0] = float(region.x1), box[1] = float(region.y1);
      box[2] = float(region.x2 - 1), box[3] = float(region.y2 - 1);
      const float* from = outcome.masks.data() + int64_t(k) * side * side;
      std::copy_n(from, side * side, masks.mutable_data() + i * side * side);
    }
    scores.mutable_data()[i] = outcome.detections[k].score;
    labels.mutable_data()[i] = outcome.detections[k].label;
  }
  if (convention.full) return py::make_tuple(boxes, to_arrays(full), scores, labels);
  return py::make_tuple(boxes, masks, scores, labels);
}

py::tuple bind_mask_voting(py::handle masks, py::handle boxes, py::handle scores, int64_t height,
                           int64_t width, double nms_threshold, double merge_threshold,
                           double binary_threshold, int64_t most, const std::string& convention,
                           int threads) {
  const VotingArguments a = check_mask_voting(masks, boxes, scores, height, width, nms_threshold,
                                              merge_threshold, binary_threshold, most, convention);
  Outcome outcome = without_gil([&] { return run(a.masks, a.boxes, a.scores, a.options, threads); });
  return to_arrays(outcome, a.masks.shape[1], a.options.convention);
}

}  // namespace

void register_mask_voting(py::module_& module) { module.def("mask_voting", &bind_mask_voting); }

}  // namespace pyifcn
