#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "rle/rle_cuda.h"
#include "rle/runs.h"

namespace pyifcn {
namespace {

// How many blocks count the runs of each mask, all of images whose pixels can be counted.
int64_t bind_run_blocks(int64_t count, int64_t height, int64_t width) {
  check_size({height, width});
  return rle_blocks_per_mask(count, width);
}

void bind_count_runs(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                     py::handle counts, const py::tuple& stream) {
  const RleJob job{masks_on_device(boxes, offsets, words), height, width};
  const auto to = as_array(counts, "counts").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { count_runs_cuda(job, to, where); });
}

void bind_find_runs(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                    py::handle starts, py::handle ends, const py::tuple& stream) {
  const RleJob job{masks_on_device(boxes, offsets, words), height, width};
  const auto from = as_array(starts, "starts").view<const int64_t, 1>();
  const auto to = as_array(ends, "ends").view<int32_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { find_runs_cuda(job, from, to, where); });
}

}  // namespace

void register_rle(py::module_& module) {
  module.def("rle_blocks", &bind_run_blocks);
  module.def("rle_count", &bind_count_runs);
  module.def("rle_find", &bind_find_runs);
}

}  // namespace pyifcn
