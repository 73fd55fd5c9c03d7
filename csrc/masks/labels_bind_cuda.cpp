#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "masks/labels_cuda.h"

namespace pyifcn {
namespace {

// `kind` is (bytes of a label, whether it is signed): _cuda knows no dtypes of int8, int16.
LabelImage label_image_of(py::handle image, const py::tuple& kind) {
  const auto pixels = as_array(image, "image").raw_view<const uint8_t, 2>();
  return {pixels.data, pixels.shape[0], pixels.shape[1], kind[0].cast<int64_t>(), kind[1].cast<bool>()};
}

void bind_find_corners(py::handle image, const py::tuple& kind, py::handle keys, py::handle found,
                       const py::tuple& stream) {
  const LabelImage from = label_image_of(image, kind);
  const auto to = as_array(keys, "keys").view<int64_t, 1>();
  const auto counter = as_array(found, "found").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { find_corners_cuda(from, to, counter, where); });
}

void bind_box_labels(py::handle image, const py::tuple& kind, py::handle keys, py::handle boxes,
                     py::handle offsets, const py::tuple& stream) {
  const LabelImage from = label_image_of(image, kind);
  const auto labels = as_array(keys, "keys").view<const int64_t, 1>();
  const auto corners = as_array(boxes, "boxes").view<int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { box_labels_cuda(from, labels, corners, starts, where); });
}

void bind_fill_labels(py::handle image, const py::tuple& kind, py::handle keys, py::handle boxes,
                      py::handle offsets, py::handle words, const py::tuple& stream) {
  const LabelImage from = label_image_of(image, kind);
  const auto labels = as_array(keys, "keys").view<const int64_t, 1>();
  const auto corners = as_array(boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const auto to = as_array(words, "words").view<uint64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { fill_labels_cuda(from, labels, corners, starts, to, where); });
}

// Writes `out` (H, W), which is the number of masks everywhere.
void bind_paint_labels(py::handle boxes, py::handle offsets, py::handle words, py::handle values,
                       py::handle out, const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const auto value_of = as_array(values, "values").view<const int32_t, 1>();
  const auto image = as_array(out, "out").view<int32_t, 2>();
  require(masks.count() < INT32_MAX, "there are ", masks.count(), " masks, expected fewer than 2^31 - 1");
  const Stream where = stream_of(stream);
  without_gil([&] { masks_to_labels_cuda(masks, value_of, image, where); });
}

}  // namespace

void register_mask_labels(py::module_& module) {
  module.def("labels_corners", &bind_find_corners);
  module.def("labels_box", &bind_box_labels);
  module.def("labels_fill", &bind_fill_labels);
  module.def("labels_paint", &bind_paint_labels);
}

}  // namespace pyifcn
