// NMS in inclusive coordinates, where a box from x1 to x2 is x2 - x1 + 1 wide, as detectors before 2018 have
// it. The kernel is that of mask voting: a kept box is compared with all others, 64 to a word.
#include <cmath>
#include <limits>
#include <vector>

#include "core/at_most.h"
#include "core/bind.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "mask_voting/mask_voting.h"
#include "nms/arguments.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kLanes = 64;

// Boxes column by column in the order in which they are taken.
template <class E>
class Columns {
public:
  Columns(const E* boxes, const std::vector<uint32_t>& order) {
    const size_t room = (order.size() + kLanes - 1) / kLanes * kLanes;
    columns_.assign(5 * room, std::numeric_limits<E>::quiet_NaN());
    E* x1 = columns_.data();
    E *y1 = x1 + room, *x2 = y1 + room, *y2 = x2 + room, *area = y2 + room;
    for (size_t i = 0; i < order.size(); ++i) {
      const E* box = boxes + 4 * int64_t(order[i]);
      x1[i] = box[0], y1[i] = box[1], x2[i] = box[2], y2[i] = box[3];
      area[i] = (box[2] - box[0] + E(1)) * (box[3] - box[1] + E(1));
    }
    corners = {x1, y1, x2, y2, area, int64_t(room) / kLanes, E(1)};
  }

  Corners<E> corners;

private:
  std::vector<E> columns_;
};

template <class E>
int64_t run(const E* boxes, const E* scores, int64_t count, double threshold, int64_t* keep) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  const Columns<E> columns(boxes, order);
  const auto kernel = dispatch([]<Target T>() { return &overlapping<T, E>; });
  std::vector<uint64_t> gone(size_t(columns.corners.words)), found(gone.size());
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (gone[size_t(i / kLanes)] >> i % kLanes & 1) continue;
    keep[kept++] = order[size_t(i)];
    kernel(columns.corners, i, at_most<E>(threshold), found.data());
    for (size_t k = size_t(i / kLanes); k < gone.size(); ++k) gone[k] |= found[k];
  }
  return kept;
}

// Writes the kept indices to the front of `keep`, which has room for all, and returns how many.
int64_t bind_nms_inclusive(py::handle boxes, py::handle scores, double threshold, py::handle keep) {
  const NmsArguments a = check_nms(boxes, scores, threshold, keep);
  const auto work = [&](auto* b, auto* s) {
    return without_gil([&] { return run(b, s, a.count, threshold, a.keep.data); });
  };
  if (a.boxes.dtype == Dtype::float32)
    return work(static_cast<const float*>(a.boxes.data), static_cast<const float*>(a.scores.data));
  return work(static_cast<const double*>(a.boxes.data), static_cast<const double*>(a.scores.data));
}

}  // namespace

void register_nms_inclusive(py::module_& module) { module.def("nms_inclusive", &bind_nms_inclusive); }

}  // namespace pyifcn
