#include <cmath>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "nms/arguments.h"
#include "nms/suppress.h"

namespace pyifcn {
namespace {

// Each category moved by its number times the largest coordinate plus one, in E.
template <class E>
int64_t run_moved(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                  const SuppressionOut& out) {
  E largest = boxes[0];
  for (int64_t i = 1; i < 4 * count; ++i)
    if (boxes[i] > largest || std::isnan(boxes[i])) largest = boxes[i];
  std::vector<E> moved(boxes, boxes + 4 * count);
  for (int64_t i = 0; i < 4 * count; ++i) moved[size_t(i)] += E(idxs[i / 4]) * (largest + 1);
  return suppress_together(moved.data(), scores, count, {threshold}, out);
}

int64_t run_nms(const NmsArguments& a, double threshold, int64_t* groups) {
  return by_box_type(a, [&](auto* b, auto* s) {
    return without_gil([&] { return suppress_together(b, s, a.count, {threshold}, {a.keep.data, groups}); });
  });
}

int64_t run_batched_nms(const NmsArguments& a, py::handle idxs, double threshold, int64_t* groups,
                        int threads) {
  const int64_t* categories = check_idxs(idxs, a.count).data;
  const SuppressionOut out{a.keep.data, groups};
  return by_box_type(a, [&](auto* b, auto* s) {
    return without_gil([&] {
      if (a.count <= kMovedBoxes) return run_moved(b, s, categories, a.count, threshold, out);
      return suppress_by_category(b, s, categories, a.count, {threshold}, out, threads);
    });
  });
}

// Each writes the kept indices to the front of `keep`, which has room for all, and returns how many.
int64_t bind_nms(py::handle boxes, py::handle scores, double threshold, py::handle keep, int) {
  return run_nms(check_nms(boxes, scores, threshold, keep), threshold, nullptr);
}

int64_t bind_nms_groups(py::handle boxes, py::handle scores, double threshold, py::handle keep,
                        py::handle groups, int) {
  const auto into = as_array(groups, "groups").view<int64_t, 1>();
  return run_nms(check_nms(boxes, scores, threshold, keep), threshold, into.data);
}

int64_t bind_batched_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                         py::handle keep, int threads) {
  return run_batched_nms(check_nms(boxes, scores, threshold, keep), idxs, threshold, nullptr, threads);
}

int64_t bind_batched_nms_groups(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                                py::handle keep, py::handle groups, int threads) {
  const auto into = as_array(groups, "groups").view<int64_t, 1>();
  return run_batched_nms(check_nms(boxes, scores, threshold, keep), idxs, threshold, into.data, threads);
}

}  // namespace

void register_nms(py::module_& module) {
  module.def("nms", &bind_nms);
  module.def("nms_groups", &bind_nms_groups);
  module.def("batched_nms", &bind_batched_nms);
  module.def("batched_nms_groups", &bind_batched_nms_groups);
}

}  // namespace pyifcn
