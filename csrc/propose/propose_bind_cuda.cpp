#include <pybind11/stl.h>

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

// Checks the levels and writes the tight boxes of all their windows: boxes (B, N, 4) in image pixels, not
// clipped, and empty (B, N).
void bind_propose_boxes(const py::list& score_maps, const py::list& objectness,
                        const std::vector<float>& strides, int64_t size, const std::string& cells,
                        double mask_threshold, py::handle boxes, py::handle empty, const py::tuple& stream) {
  std::vector<std::string> names;
  const std::vector<LevelArrays> levels = read_levels(score_maps, objectness, strides, names);
  const auto boxes_out = as_array(boxes, "boxes").view<float, 3>();
  const auto empty_out = as_array(empty, "empty").view<bool, 2>();
  const Stream where = stream_of(stream);
  int64_t first = 0;
  for (const LevelArrays& level : levels) {
    const Cells device_cells = cells_on_device(cells, level.maps, size);
    by_float(level.maps.dtype, mask_threshold, [&]<class E>(E, Foreground<E> foreground) {
      const ProposeBoxesJob<E> job{level.maps.raw_view<const E, 4>(),
                                   device_cells,
                                   foreground,
                                   level.stride,
                                   boxes_out,
                                   empty_out,
                                   first};
      without_gil([&] { propose_boxes_cuda(job, where); });
    });
    first += level.maps.shape[2] * level.maps.shape[3];
  }
}

}  // namespace

void register_propose(py::module_& module) { module.def("propose_boxes", &bind_propose_boxes); }

}  // namespace pyifcn
