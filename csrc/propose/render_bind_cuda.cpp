#include <pybind11/stl.h>

#include <algorithm>
#include <vector>

#include "core/at_most.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "propose/render_arguments.h"
#include "propose/render_cuda.h"

namespace pyifcn {
namespace {

// `levels` are each level's stride, height and width.
RenderCudaJob render_job(py::handle logits, py::handle windows, const std::vector<RenderLevel>& levels,
                         int64_t height, int64_t width, double threshold) {
  require(levels.size() <= CudaPyramid::kMost, "levels has ", levels.size(), " rows, expected at most ",
          CudaPyramid::kMost, " on a GPU");
  RenderCudaJob job{as_array(logits, "logits").view<const float, 3>(),
                    as_array(windows, "windows").view<const int64_t, 2>(),
                    height,
                    width,
                    at_most<float>(threshold),
                    int64_t(levels.size()),
                    {}};
  check_render(job.logits, job.windows, levels, height, width);
  std::transform(levels.begin(), levels.end(), job.levels, [](const RenderLevel& level) {
    return RenderCudaJob::Level{level[0], int32_t(level[1]), int32_t(level[2])};
  });
  return job;
}

// Writes boxes (N, 4) and offsets (N + 1,) of the masks of windows (N, 3): level, y, x.
void bind_render_boxes(py::handle logits, py::handle windows, const std::vector<RenderLevel>& levels,
                       int64_t height, int64_t width, double threshold, py::handle boxes, py::handle offsets,
                       const py::tuple& stream) {
  const RenderCudaJob job = render_job(logits, windows, levels, height, width, threshold);
  const auto corners = as_array(boxes, "boxes").view<int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { render_boxes_cuda(job, corners, starts, where); });
}

void bind_render_words(py::handle logits, py::handle windows, const std::vector<RenderLevel>& levels,
                       int64_t height, int64_t width, double threshold, py::handle boxes, py::handle offsets,
                       py::handle words, const py::tuple& stream) {
  const RenderCudaJob job = render_job(logits, windows, levels, height, width, threshold);
  const auto corners = as_array(boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const auto to = as_array(words, "words").view<uint64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { render_words_cuda(job, corners, starts, to, where); });
}

}  // namespace

void register_render(py::module_& module) {
  module.def("render_boxes", &bind_render_boxes);
  module.def("render_words", &bind_render_words);
}

}  // namespace pyifcn
