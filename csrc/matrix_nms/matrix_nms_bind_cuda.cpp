#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "matrix_nms/decay.h"
#include "matrix_nms/matrix_nms_cuda.h"

namespace pyifcn {
namespace {

// Fills in `lowered` (N,). `most` and `worst` are those of MatrixNmsJob.
void bind_matrix_nms(py::handle boxes, py::handle offsets, py::handle words, py::handle areas,
                     py::handle order, py::handle scores, py::handle labels, const std::string& kernel,
                     double sigma, py::handle most, py::handle worst, py::handle lowered,
                     const py::tuple& stream) {
  const MatrixNmsJob job{masks_on_device(boxes, offsets, words),
                         as_array(areas, "areas").view<const int64_t, 1>(),
                         as_array(order, "order").view<const int64_t, 1>(),
                         as_array(scores, "scores").view<const double, 1>(),
                         as_array(labels, "labels").view<const int64_t, 1>(),
                         is_gaussian(kernel, sigma),
                         sigma,
                         as_array(most, "most").view<double, 1>(),
                         as_array(worst, "worst").view<double, 1>(),
                         as_array(lowered, "lowered").view<double, 1>()};
  const Stream where = stream_of(stream);
  without_gil([&] { matrix_nms_cuda(job, where); });
}

}  // namespace

void register_matrix_nms(py::module_& module) { module.def("matrix_nms", &bind_matrix_nms); }

}  // namespace pyifcn
