#include "nms_from_iou/nms_from_iou.h"

#include <vector>

#include "core/at_most.h"
#include "core/bind.h"
#include "core/dispatch.h"
#include "core/half.h"
#include "core/operators.h"
#include "nms/suppressor.h"
#include "nms_from_iou/arguments.h"

namespace pyifcn {
namespace {

// The largest value not above the threshold, as it is compared.
template <class E>
auto compared(double threshold) {
  if constexpr (std::is_floating_point_v<E>) {
    return at_most<E>(threshold);
  } else {
    constexpr bool kFloat16 = std::is_same_v<E, Float16Bits>;
    const float wide = at_most<float>(threshold);
    const uint16_t nearest = kFloat16 ? to_float16(wide) : to_bfloat16(wide);
    const float value = kFloat16 ? from_float16(nearest) : from_bfloat16(nearest);
    return int16_t(rising(nearest) - (value > wide));
  }
}

template <class E>
int64_t run(const IouArguments& a, const std::vector<uint32_t>& order) {
  const auto* matrix = static_cast<const typename MatrixElement<E>::Stored*>(a.iou.data);
  const auto kernel = dispatch([]<Target T>() { return &drop_above<T, E>; });
  std::vector<uint64_t> alive(size_t(a.count + 63) / 64, ~uint64_t(0));
  if (a.count % 64) alive.back() = (uint64_t(1) << a.count % 64) - 1;
  DropJob<E> job{nullptr, a.count, compared<E>(a.threshold), alive.data(), a.groups, 0};
  int64_t kept = 0;
  for (const uint32_t i : order) {
    uint64_t& word = alive[i / 64];
    const uint64_t bit = uint64_t(1) << i % 64;
    if (!(word & bit)) continue;
    word -= bit;
    a.keep[kept++] = a.groups[i] = i;
    job.row = matrix + i * a.count;
    job.owner = i;
    kernel(job);
  }
  return kept;
}

std::vector<uint32_t> order_of(const Array& scores) {
  if (scores.dtype == Dtype::float32)
    return order_by_score(static_cast<const float*>(scores.data), scores.shape[0]);
  return order_by_score(static_cast<const double*>(scores.data), scores.shape[0]);
}

// Writes the kept indices to the front of `keep`, which has room for all, and returns how many. `scores` is
// float32 or float64.
int64_t bind_nms_from_iou(py::handle iou, py::handle scores, double threshold, py::handle keep,
                          py::handle groups, int) {
  const IouArguments a = check_nms_from_iou(iou, scores, threshold, keep, groups);
  const auto work = [&]() -> int64_t (*)(const IouArguments&, const std::vector<uint32_t>&) {
    switch (a.iou.dtype) {
      case Dtype::float16:
        return &run<Float16Bits>;
      case Dtype::bfloat16:
        return &run<Bfloat16Bits>;
      case Dtype::float32:
        return &run<float>;
      default:
        return &run<double>;
    }
  }();
  return without_gil([&] { return work(a, order_of(a.scores)); });
}

}  // namespace

void register_nms_from_iou(py::module_& module) { module.def("nms_from_iou", &bind_nms_from_iou); }

}  // namespace pyifcn
