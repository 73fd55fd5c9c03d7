#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "assemble/assemble.h"
#include "assemble/cells.h"
#include "core/bind.h"
#include "core/dispatch.h"
#include "core/half.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "core/sigmoid.h"
#include "masks/packed.h"
#include "propose/greedy.h"
#include "propose/levels.h"
#include "propose/propose.h"
#include "propose/render_arguments.h"
#include "propose/side.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 16;  // logits that are worth a thread

// One bit a logit, shifted by whole words so that any window can be read.
std::vector<uint64_t> binarize_maps(const Array& maps, const WindowShape& shape, double threshold,
                                    int threads) {
  const int64_t count = maps.shape[0] * maps.shape[1] * maps.shape[2] * maps.shape[3];
  std::vector<uint64_t> words(size_t(shape.words_before() + (count + 63) / 64 + shape.words_after()));
  by_float(maps.dtype, threshold, [&]<class E>(E, Foreground<E> foreground) {
    const auto kernel = dispatch([]<Target T>() { return &binarize<T, E>; });
    parallel_for((count + 63) / 64, kGrain / 64, threads, [&](int64_t begin, int64_t end) {
      kernel(static_cast<const E*>(maps.data) + 64 * begin, std::min(64 * end, count) - 64 * begin,
             foreground, words.data() + shape.words_before() + begin);
    });
  });
  return words;
}

double read_float(const Array& array, int64_t i) {
  switch (array.dtype) {
    case Dtype::float16:
      return from_float16(static_cast<const uint16_t*>(array.data)[i]);
    case Dtype::bfloat16:
      return from_bfloat16(static_cast<const uint16_t*>(array.data)[i]);
    case Dtype::float32:
      return static_cast<const float*>(array.data)[i];
    default:
      return static_cast<const double*>(array.data)[i];
  }
}

// Unsigned numbers in the opposite order of the values.
uint64_t rank_of(double value) {
  const uint64_t bits = std::bit_cast<uint64_t>(value + 0.0);  // no negative zero
  return bits >> 63 ? bits : ~bits & ~(uint64_t(1) << 63);
}

double value_of(uint64_t rank) {
  return std::bit_cast<double>(rank >> 63 ? rank : ~rank & ~(uint64_t(1) << 63));
}

std::vector<Candidate> candidates_of(const std::vector<LevelArrays>& levels, int64_t image) {
  std::vector<Candidate> candidates;
  int64_t window = 0;
  for (const LevelArrays& level : levels) {
    const int64_t count = level.objectness.shape[1] * level.objectness.shape[2];
    candidates.reserve(candidates.size() + size_t(count));
    for (int64_t i = 0; i < count; ++i, ++window) {
      const double objectness = read_float(level.objectness, image * count + i);
      if (objectness == objectness) candidates.push_back({rank_of(objectness), window});
    }
  }
  return candidates;
}

// Fills in the first rows of windows (B, most, 3): level, y, x; boxes (B, most, 4) and scores (B, most), and
// returns how many for each image.
std::vector<int64_t> bind_propose(const py::list& score_maps, const py::list& objectness,
                                  const std::vector<float>& strides, py::handle image_sizes, int64_t size,
                                  const std::string& cells, double mask_threshold, double iou_threshold,
                                  py::handle windows, py::handle boxes, py::handle scores, int threads) {
  std::vector<std::string> names;
  const std::vector<LevelArrays> levels = read_levels(score_maps, objectness, strides, names);
  const auto sizes = as_array(image_sizes, "image_size").view<const int64_t, 2>();
  const auto windows_out = as_array(windows, "windows").view<int64_t, 3>();
  const auto boxes_out = as_array(boxes, "boxes").view<float, 3>();
  const auto scores_out = as_array(scores, "scores").view<float, 2>();
  const int64_t images = windows_out.shape[0], most = windows_out.shape[1];
  const int64_t grid = grid_of(levels.front().maps);
  const WindowShape shape(size, grid, cells_of(cells, grid, size));
  std::vector<int64_t> counts(size_t(images), 0);
  std::vector<std::vector<uint64_t>> bits;  // of each level

  const auto propose_image = [&](int64_t image) {
    std::vector<Level> maps;
    for (size_t l = 0; l < levels.size(); ++l) {
      const int64_t* s = levels[l].maps.shape;
      const int64_t first = 64 * shape.words_before() + image * s[1] * s[2] * s[3];
      maps.push_back({BinaryMaps(bits[l].data(), first, s[2], s[3]), levels[l].stride});
    }
    std::vector<Candidate> candidates = candidates_of(levels, image);
    const std::vector<Proposal> proposals = search(candidates, maps, shape, iou_threshold, most);
    const float height = float(sizes.data[2 * image]), width = float(sizes.data[2 * image + 1]);
    for (size_t n = 0; n < proposals.size(); ++n) {
      const Proposal& proposal = proposals[n];
      const int64_t row = image * most + int64_t(n);
      int64_t* window = windows_out.data + 3 * row;
      window[0] = proposal.level, window[1] = proposal.y, window[2] = proposal.x;
      for (int side = 0; side < 4; ++side)
        boxes_out.data[4 * row + side] = std::clamp(proposal.box[side], 0.0f, side % 2 ? height : width);
      scores_out.data[row] = float(sigmoid(Scalar<double>{value_of(proposal.rank)}).v);
    }
    counts[size_t(image)] = int64_t(proposals.size());
  };

  without_gil([&] {
    for (const LevelArrays& level : levels)
      bits.push_back(binarize_maps(level.maps, shape, mask_threshold, threads));
    parallel_for(images, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) propose_image(image);
    });
  });
  return counts;
}

// The logits of one image's windows (N, 3): level, y, x. -inf outside the maps.
void bind_propose_logits(const py::list& score_maps, py::handle windows, int64_t image,
                         const std::string& cells, py::handle out, int threads) {
  std::vector<Array> maps;
  for (py::handle level : score_maps) maps.push_back(as_array(level, "score_maps"));
  const Array result = as_array(out, "out");
  const auto wins = as_array(windows, "windows").view<const int64_t, 2>();
  const int64_t grid = grid_of(maps.front()), size = result.shape[1];
  const std::vector<int32_t> table = cells_of(cells, grid, size);
  by_element_size(maps.front().dtype, [&]<class E>(E) {
    std::vector<int64_t> centres(wins.data, wins.data + count(wins));
    for (int64_t n = 0; n < wins.shape[0]; ++n) centres[size_t(3 * n)] = image;
    const E pad = E(pad_bits(result.dtype, -std::numeric_limits<double>::infinity()));
    std::vector<AssembleJob<E>> jobs;
    for (const Array& level : maps)
      jobs.push_back({level.raw_view<const E, 4>(),
                      {centres.data(), {wins.shape[0], 3}},
                      result.raw_view<E, 3>(),
                      table.data(),
                      grid,
                      pad});
    const auto kernel = dispatch([]<Target T>() { return &assemble<T, E>; });
    without_gil([&] {
      parallel_for(wins.shape[0], 64, threads, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) kernel(jobs[size_t(wins.data[3 * n])], n, n + 1);
      });
    });
  });
}

// A window along one axis, with the taps of its pixels.
struct Side : WindowSide {
  std::vector<RenderTap> taps;

  template <class... Args>
  explicit Side(Args... args) : WindowSide(args...) {
    taps.reserve(size_t(last - first));
    for (int64_t pixel = first; pixel < last; ++pixel) taps.push_back(tap(pixel));
  }
};

// Read once: another thread may change it meanwhile.
std::array<int64_t, 3> window_inside(const View<const int64_t, 2>& windows, int64_t n,
                                     const std::vector<RenderLevel>& levels) {
  const int64_t* row = windows.data + 3 * n;
  const std::array<int64_t, 3> window{row[0], row[1], row[2]};
  const auto [level, y, x] = window;
  require(level >= 0 && size_t(level) < levels.size(), "windows[", n, "] is of level ", level,
          ", expected one of ", levels.size());
  const auto [stride, height, width] = levels[size_t(level)];
  require(y >= 0 && double(y) < height && x >= 0 && double(x) < width, "windows[", n, "] is at (", y, ", ", x,
          "), expected inside maps of ", height, " x ", width);
  return window;
}

// (boxes, offsets, words) of the masks of windows (N, 3): level, y, x; `levels` are each level's stride,
// height and width.
py::tuple bind_render(py::handle logits, py::handle windows, const std::vector<RenderLevel>& levels,
                      int64_t height, int64_t width, double threshold, int threads) {
  const auto maps = as_array(logits, "logits").view<const float, 3>();
  const auto wins = as_array(windows, "windows").view<const int64_t, 2>();
  check_render(maps, wins, levels, height, width);
  const int64_t size = maps.shape[1];
  const float above = at_most<float>(threshold);
  std::vector<PackedMask> masks(size_t(maps.shape[0]));
  const auto kernel = dispatch([]<Target T>() { return &render<T>; });
  without_gil([&] {
    parallel_for(maps.shape[0], 1, threads, [&](int64_t begin, int64_t end) {
      std::vector<float> scratch;
      std::vector<uint64_t> words;
      for (int64_t n = begin; n < end; ++n) {
        const auto [level, y, x] = window_inside(wins, n, levels);
        const auto [stride, map_height, map_width] = levels[size_t(level)];
        const Side rows(y, size, int64_t(map_height), stride, height);
        const Side columns(x, size, int64_t(map_width), stride, width);
        if (rows.taps.empty() || columns.taps.empty()) continue;
        const int64_t across = words_across(columns.first, columns.last);
        scratch.resize(size_t(size * 64 * across));
        words.resize(size_t((rows.last - rows.first) * across));
        kernel({maps.data + n * size * size, size, rows.taps.data(), columns.taps.data(),
                rows.last - rows.first, columns.last - columns.first, columns.first % 64, above,
                scratch.data(), words.data(), across});
        masks[size_t(n)] =
            tighten(words.data(), rows.last - rows.first, across, rows.first, columns.first / 64);
      }
    });
  });
  return to_arrays(masks);
}

}  // namespace

void register_propose(py::module_& module) {
  module.def("propose", &bind_propose);
  module.def("propose_logits", &bind_propose_logits);
  module.def("render", &bind_render);
}

}  // namespace pyifcn
