// Fast NMS. The kernels are those of NMS: a box takes others out of the tree whether it was itself taken or
// not.
#include "core/bind.h"
#include "core/operators.h"
#include "fast_nms/arguments.h"
#include "nms/suppress.h"

namespace pyifcn {
namespace {

// Writes the kept indices to the front of `keep`, which has room for all, and returns how many. `idxs` may be
// None.
int64_t bind_fast_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold, py::handle keep,
                      int threads) {
  const FastNmsArguments a = check_fast_nms(boxes, scores, idxs, threshold, keep);
  const Suppression how{threshold, Suppressing::all};
  const SuppressionOut out{a.nms.keep.data, nullptr};
  return by_box_type(a.nms, [&](auto* b, auto* s) {
    return without_gil([&] {
      return a.idxs ? suppress_by_category(b, s, a.idxs, a.nms.count, how, out, threads)
                    : suppress_together(b, s, a.nms.count, how, out);
    });
  });
}

}  // namespace

void register_fast_nms(py::module_& module) { module.def("fast_nms", &bind_fast_nms); }

}  // namespace pyifcn
