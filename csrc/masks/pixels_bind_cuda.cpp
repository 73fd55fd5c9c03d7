#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "masks/pixels_cuda.h"

namespace pyifcn {
namespace {

DenseMasks dense_of(py::handle array) { return as_array(array, "array").raw_view<const uint8_t, 3>(); }

// Writes boxes (N, 4) and offsets (N + 1,) of `array` (N, H, W), bool or uint8.
void bind_box_dense(py::handle array, py::handle boxes, py::handle offsets, const py::tuple& stream) {
  const DenseMasks dense = dense_of(array);
  const auto corners = as_array(boxes, "boxes").view<int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { box_dense_cuda(dense, corners, starts, where); });
}

void bind_fill_dense(py::handle array, py::handle boxes, py::handle offsets, py::handle words,
                     const py::tuple& stream) {
  const DenseMasks dense = dense_of(array);
  const auto corners = as_array(boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const auto to = as_array(words, "words").view<uint64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { fill_dense_cuda(dense, corners, starts, to, where); });
}

// Writes all of `out` (N, H, W).
void bind_to_dense(py::handle boxes, py::handle offsets, py::handle words, py::handle out,
                   const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const auto dense = as_array(out, "out").raw_view<uint8_t, 3>();
  const Stream where = stream_of(stream);
  without_gil([&] { masks_to_dense_cuda(masks, dense, where); });
}

void bind_area(py::handle boxes, py::handle offsets, py::handle words, py::handle out,
               const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const auto area = as_array(out, "out").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { masks_area_cuda(masks, area, where); });
}

}  // namespace

void register_mask_pixels(py::module_& module) {
  module.attr("MOST_MASK_WORDS") = kMostMaskWords;
  module.def("masks_box_dense", &bind_box_dense);
  module.def("masks_fill_dense", &bind_fill_dense);
  module.def("masks_to_dense", &bind_to_dense);
  module.def("masks_area", &bind_area);
}

}  // namespace pyifcn
