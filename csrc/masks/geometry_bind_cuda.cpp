#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "masks/geometry_cuda.h"

namespace pyifcn {
namespace {

void bind_shift(py::handle boxes, py::handle offsets, py::handle words, int64_t dx, int64_t dy,
                int64_t height, int64_t width, py::handle to_boxes, py::handle to_offsets,
                py::handle to_words, const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const MasksInMaking made = masks_in_making(to_boxes, to_offsets, to_words);
  const Stream where = stream_of(stream);
  without_gil([&] { shift_masks_cuda(masks, dx, dy, {height, width}, made, where); });
}

void bind_flip(py::handle boxes, py::handle offsets, py::handle words, bool horizontal, int64_t height,
               int64_t width, py::handle to_boxes, py::handle to_offsets, py::handle to_words,
               const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const MasksInMaking made = masks_in_making(to_boxes, to_offsets, to_words);
  const Stream where = stream_of(stream);
  without_gil([&] { flip_masks_cuda(masks, horizontal, {height, width}, made, where); });
}

// From an image of `height` by `width` to one of `to_height` by `to_width`, all below 2^31.
void bind_resize(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                 int64_t to_height, int64_t to_width, py::handle to_boxes, py::handle to_offsets,
                 py::handle to_words, const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const MasksInMaking made = masks_in_making(to_boxes, to_offsets, to_words);
  const Stream where = stream_of(stream);
  without_gil([&] { resize_masks_cuda(masks, {height, width}, {to_height, to_width}, made, where); });
}

}  // namespace

void register_mask_geometry(py::module_& module) {
  module.def("masks_shift", &bind_shift);
  module.def("masks_flip", &bind_flip);
  module.def("masks_resize", &bind_resize);
}

}  // namespace pyifcn
