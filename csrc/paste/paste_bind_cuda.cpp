#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "core/bind_cuda.h"
#include "core/operators.h"
#include "paste/arguments.h"
#include "paste/paste_cuda.h"

namespace pyifcn {
namespace {

template <class S>
PasteCudaJob<S> paste_job(const Array& masks, const Array& boxes, int64_t height, int64_t width,
                          double threshold, const std::string& convention) {
  const PasteConvention which = paste_convention_of(convention);
  return {masks.raw_view<const S, 3>(),
          boxes.data,
          boxes.dtype == Dtype::float64,
          which,
          height,
          width,
          paste_threshold<Computed<S>>(threshold, which)};
}

// Calls `work` with the job of the masks' type.
template <class Work>
void with_paste_job(py::handle masks, py::handle boxes, int64_t height, int64_t width, double threshold,
                    const std::string& convention, Work work) {
  const Array soft = as_array(masks, "masks"), places = as_array(boxes, "boxes");
  check_paste(soft, places, true);
  switch (soft.dtype) {
    case Dtype::float16:
      return work(paste_job<Float16>(soft, places, height, width, threshold, convention));
    case Dtype::bfloat16:
      return work(paste_job<Bfloat16>(soft, places, height, width, threshold, convention));
    case Dtype::float32:
      return work(paste_job<float>(soft, places, height, width, threshold, convention));
    default:
      return work(paste_job<double>(soft, places, height, width, threshold, convention));
  }
}

// Writes tight_boxes (N, 4) and offsets (N + 1,) of the pasted masks.
void bind_paste_boxes(py::handle masks, py::handle boxes, int64_t height, int64_t width, double threshold,
                      const std::string& convention, py::handle tight_boxes, py::handle offsets,
                      const py::tuple& stream) {
  const auto corners = as_array(tight_boxes, "boxes").view<int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  with_paste_job(masks, boxes, height, width, threshold, convention, [&](const auto& job) {
    without_gil([&] { paste_boxes_cuda(job, corners, starts, where); });
  });
}

void bind_paste_words(py::handle masks, py::handle boxes, int64_t height, int64_t width, double threshold,
                      const std::string& convention, py::handle tight_boxes, py::handle offsets,
                      py::handle words, const py::tuple& stream) {
  const auto corners = as_array(tight_boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const auto to = as_array(words, "words").view<uint64_t, 1>();
  const Stream where = stream_of(stream);
  with_paste_job(masks, boxes, height, width, threshold, convention, [&](const auto& job) {
    without_gil([&] { paste_words_cuda(job, corners, starts, to, where); });
  });
}

// Writes all of `out` (N, H, W). No threshold: the values times 255, into bytes.
void bind_paste_dense(py::handle masks, py::handle boxes, std::optional<double> threshold,
                      const std::string& convention, py::handle out, const py::tuple& stream) {
  const auto images = as_array(out, "out").raw_view<uint8_t, 3>();
  const Stream where = stream_of(stream);
  with_paste_job(masks, boxes, images.shape[1], images.shape[2], threshold.value_or(0), convention,
                 [&](const auto& job) {
                   without_gil([&] {
                     threshold ? paste_bytes_cuda(job, images, where) : paste_soft_cuda(job, images, where);
                   });
                 });
}

// Writes all of `out` (N, H, W), of the masks' type.
void bind_paste_values(py::handle masks, py::handle boxes, const std::string& convention, py::handle out,
                       const py::tuple& stream) {
  const Array soft = as_array(masks, "masks"), places = as_array(boxes, "boxes");
  const Stream where = stream_of(stream);
  check_paste(soft, places, false);
  const auto paste = [&]<class E>(E) {
    const auto images = as_array(out, "out").view<E, 3>();
    const auto job = paste_job<E>(soft, places, images.shape[1], images.shape[2], 0, convention);
    without_gil([&] { paste_values_cuda(job, images, where); });
  };
  soft.dtype == Dtype::float64 ? paste(double()) : paste(float());
}

}  // namespace

void register_paste(py::module_& module) {
  module.def("paste_boxes", &bind_paste_boxes);
  module.def("paste_words", &bind_paste_words);
  module.def("paste_dense", &bind_paste_dense);
  module.def("paste_values", &bind_paste_values);
}

}  // namespace pyifcn
