#include <pybind11/stl.h>

#include <limits>
#include <string>
#include <vector>

#include "assemble/cells_on_device.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "propose/levels.h"
#include "propose/propose_cuda.h"

namespace pyifcn {
namespace {

// `strides` may be left out where nobody asks.
CudaPyramid pyramid_of(const py::list& score_maps, const std::vector<float>& strides) {
  require(score_maps.size() <= CudaPyramid::kMost, "score_maps has ", score_maps.size(),
          " levels, expected at most ", CudaPyramid::kMost, " on a GPU");
  CudaPyramid pyramid{};
  int64_t first = 0;
  for (py::handle level : score_maps) {
    const Array maps = as_array(level, "score_maps");
    const size_t l = size_t(pyramid.count++);
    pyramid.levels[l] = {maps.data, first, int32_t(maps.shape[2]), int32_t(maps.shape[3]),
                         strides.empty() ? 0 : strides[l]};
    first += maps.shape[2] * maps.shape[3];
  }
  return pyramid;
}

// Checks the levels and writes the tight boxes of all their windows: boxes (B, N, 4) in image pixels, not
// clipped, and empty (B, N).
void bind_propose_boxes(const py::list& score_maps, const py::list& objectness,
                        const std::vector<float>& strides, int64_t size, const std::string& cells,
                        double mask_threshold, py::handle boxes, py::handle empty, const py::tuple& stream) {
  std::vector<std::string> names;
  const std::vector<LevelArrays> levels = read_levels(score_maps, objectness, strides, names);
  Cells device_cells{};
  for (const LevelArrays& level : levels) device_cells = cells_on_device(cells, level.maps, size);
  const CudaPyramid pyramid = pyramid_of(score_maps, strides);
  const auto boxes_out = as_array(boxes, "boxes").view<float, 3>();
  const auto empty_out = as_array(empty, "empty").view<bool, 2>();
  const Stream where = stream_of(stream);
  by_float(levels.front().maps.dtype, mask_threshold, [&]<class E>(E, Foreground<E> foreground) {
    const ProposeBoxesJob<E> job{pyramid, device_cells, foreground, boxes_out, empty_out};
    without_gil([&] { propose_boxes_cuda(job, where); });
  });
}

// One image's proposals, as ProposedJob has them. What propose_boxes was given has been checked.
void bind_proposed(const py::list& score_maps, py::handle keep, py::handle count, py::handle objectness,
                   py::handle boxes, int64_t height, int64_t width, py::handle windows, py::handle clipped,
                   py::handle scores, const py::tuple& stream) {
  const CudaPyramid pyramid = pyramid_of(score_maps, {});
  const Array logits = as_array(objectness, "objectness");
  const Stream where = stream_of(stream);
  const auto run = [&]<class E>(E) {
    const ProposedJob<E> job{pyramid,
                             as_array(keep, "keep").view<const int64_t, 1>().data,
                             as_array(count, "count").view<const int64_t, 1>().data,
                             logits.view<const E, 1>(),
                             as_array(boxes, "boxes").view<const float, 2>(),
                             height,
                             width,
                             as_array(windows, "windows").view<int64_t, 2>(),
                             as_array(clipped, "clipped").view<float, 2>(),
                             as_array(scores, "scores").view<float, 1>()};
    without_gil([&] { proposed_cuda(job, where); });
  };
  logits.dtype == Dtype::float64 ? run(double()) : run(float());
}

// The logits of one image's windows (N, 3): level, y, x. -inf outside the maps.
void bind_propose_logits(const py::list& score_maps, py::handle windows, int64_t image,
                         const std::string& cells, py::handle out, const py::tuple& stream) {
  const Array maps = as_array(score_maps[0], "score_maps"), result = as_array(out, "out");
  const auto wins = as_array(windows, "windows").view<const int64_t, 2>();
  const Cells device_cells = cells_on_device(cells, maps, result.shape[1]);
  const CudaPyramid pyramid = pyramid_of(score_maps, {});
  const Stream where = stream_of(stream);
  by_element_size(maps.dtype, [&]<class E>(E) {
    const E pad = E(pad_bits(maps.dtype, -std::numeric_limits<double>::infinity()));
    const ProposeLogitsJob<E> job{pyramid, wins, image, device_cells, pad, result.raw_view<E, 3>()};
    without_gil([&] { propose_logits_cuda(job, where); });
  });
}

}  // namespace

void register_propose(py::module_& module) {
  module.def("propose_boxes", &bind_propose_boxes);
  module.def("proposed", &bind_proposed);
  module.def("propose_logits", &bind_propose_logits);
}

}  // namespace pyifcn
