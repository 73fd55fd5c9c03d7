#include <algorithm>
#include <cmath>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

// What torchvision takes for the larger of the offsets that keep categories apart: up to this many boxes it
// moves each category away and suppresses once, beyond it suppresses in each category.
constexpr int64_t kMovedBoxes = 1000;
constexpr int64_t kGrain = 1 << 12;  // boxes that are worth a thread

struct Arguments {
  Array boxes, scores;
  View<int64_t, 1> keep;
  int64_t count;
};

Arguments check(py::handle boxes, py::handle scores, double threshold, py::handle keep) {
  const Array b = as_array(boxes, "boxes"), s = as_array(scores, "scores");
  if (b.dtype != Dtype::float32 && b.dtype != Dtype::float64)
    throw type_error(
        sentence("boxes is ", name_of(b.dtype), ", expected float16, bfloat16, float32 or float64"));
  b.check_rank(2);
  s.check(b.dtype, 1);
  const int64_t count = b.shape[0];
  require(b.shape[1] == 4, "boxes has shape (", count, ", ", b.shape[1],
          "), expected (N, 4): x1, y1, x2, y2");
  require(s.shape[0] == count, "scores has ", s.shape[0], " elements, expected one for each of the ", count,
          " boxes");
  require(count <= 1 << 30, "boxes has ", count, " rows, expected at most ", 1 << 30);
  require(!std::isnan(threshold), "iou_threshold is NaN");
  return {b, s, as_array(keep, "keep").view<int64_t, 1>(), count};
}

int64_t write_kept(const std::vector<uint32_t>& order, const std::vector<uint8_t>& keep, int64_t* out) {
  int64_t kept = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    out[kept] = order[i];
    kept += keep[i];
  }
  return kept;
}

template <class E>
int64_t run(const E* boxes, const E* scores, int64_t count, double threshold, int64_t* out) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  std::vector<uint8_t> keep(static_cast<size_t>(count));
  Suppressor<E>(threshold).run(boxes, order.data(), count, keep.data());
  return write_kept(order, keep, out);
}

// Each category moved by its number times the largest coordinate plus one, in E.
template <class E>
int64_t run_moved(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                  int64_t* out) {
  E largest = boxes[0];
  for (int64_t i = 1; i < 4 * count; ++i)
    if (boxes[i] > largest || std::isnan(boxes[i])) largest = boxes[i];
  std::vector<E> moved(boxes, boxes + 4 * count);
  for (int64_t i = 0; i < 4 * count; ++i) moved[size_t(i)] += E(idxs[i / 4]) * (largest + 1);
  return run(moved.data(), scores, count, threshold, out);
}

template <class E>
int64_t run_by_category(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                        int64_t* out, int threads) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  std::vector<Keyed<uint64_t>> items(order.size()), scratch(order.size());
  for (size_t i = 0; i < order.size(); ++i) items[i] = {uint64_t(idxs[order[i]]), uint32_t(i)};
  sort_by_key(items.data(), scratch.data(), count);
  std::vector<uint32_t> grouped(order.size());
  std::vector<int64_t> starts;
  for (size_t i = 0; i < items.size(); ++i) {
    grouped[i] = order[items[i].index];
    if (i == 0 || items[i].key != items[i - 1].key) starts.push_back(int64_t(i));
  }
  starts.push_back(count);
  std::vector<uint8_t> kept(order.size()), keep(order.size());
  const int64_t groups = int64_t(starts.size()) - 1;
  parallel_for(groups, groups * kGrain / count, threads, [&](int64_t begin, int64_t end) {
    Suppressor<E> suppressor(threshold);
    for (int64_t g = begin; g < end; ++g) {
      const int64_t start = starts[size_t(g)];
      suppressor.run(boxes, grouped.data() + start, starts[size_t(g) + 1] - start, kept.data() + start);
    }
  });
  for (size_t i = 0; i < items.size(); ++i) keep[items[i].index] = kept[i];
  return write_kept(order, keep, out);
}

// Calls `work` with the boxes and scores in their type.
template <class Work>
int64_t by_type(const Arguments& a, Work work) {
  if (a.count == 0) return 0;
  if (a.boxes.dtype == Dtype::float32)
    return work(static_cast<const float*>(a.boxes.data), static_cast<const float*>(a.scores.data));
  return work(static_cast<const double*>(a.boxes.data), static_cast<const double*>(a.scores.data));
}

// Each writes the kept indices to the front of `keep`, which has room for all, and returns how many.
int64_t bind_nms(py::handle boxes, py::handle scores, double threshold, py::handle keep, int) {
  const Arguments a = check(boxes, scores, threshold, keep);
  return by_type(a, [&](auto* b, auto* s) {
    return without_gil([&] { return run(b, s, a.count, threshold, a.keep.data); });
  });
}

int64_t bind_batched_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                         py::handle keep, int threads) {
  const Arguments a = check(boxes, scores, threshold, keep);
  const auto categories = as_array(idxs, "idxs").view<const int64_t, 1>();
  require(categories.shape[0] == a.count, "idxs has ", categories.shape[0],
          " elements, expected one for each of the ", a.count, " boxes");
  return by_type(a, [&](auto* b, auto* s) {
    return without_gil([&] {
      if (a.count <= kMovedBoxes) return run_moved(b, s, categories.data, a.count, threshold, a.keep.data);
      return run_by_category(b, s, categories.data, a.count, threshold, a.keep.data, threads);
    });
  });
}

}  // namespace

void register_nms(py::module_& module) {
  module.def("nms", &bind_nms);
  module.def("batched_nms", &bind_batched_nms);
}

}  // namespace pyifcn
