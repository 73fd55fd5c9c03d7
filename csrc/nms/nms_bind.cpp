#include <algorithm>
#include <cmath>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "nms/arguments.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 12;  // boxes that are worth a thread

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
  Suppressor<E>(threshold, count).run(boxes, order.data(), count, keep.data());
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

// The boxes by category, those of each by falling score, and where each category starts and the last ends.
struct Groups {
  std::vector<Keyed<uint64_t>> places;  // key: the category; index: a place in the order by score
  std::vector<int64_t> starts;

  Groups(const int64_t* idxs, const std::vector<uint32_t>& order) : places(order.size()) {
    std::vector<Keyed<uint64_t>> scratch(order.size());
    for (size_t i = 0; i < order.size(); ++i) places[i] = {uint64_t(idxs[order[i]]), uint32_t(i)};
    sort_by_key(places.data(), scratch.data(), int64_t(order.size()));
    for (size_t i = 0; i < order.size(); ++i)
      if (i == 0 || places[i].key != places[i - 1].key) starts.push_back(int64_t(i));
    starts.push_back(int64_t(order.size()));
  }
};

template <class E>
int64_t run_by_category(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                        int64_t* out, int threads) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  const Groups groups(idxs, order);
  std::vector<uint8_t> keep(order.size());
  const int64_t group_count = int64_t(groups.starts.size()) - 1;
  parallel_for(group_count, group_count * kGrain / count, threads, [&](int64_t begin, int64_t end) {
    int64_t most = 0;
    for (int64_t g = begin; g < end; ++g)
      most = std::max(most, groups.starts[size_t(g) + 1] - groups.starts[size_t(g)]);
    Suppressor<E> suppressor(threshold, most);
    std::vector<uint32_t> members(static_cast<size_t>(most));
    std::vector<uint8_t> kept(static_cast<size_t>(most));
    for (int64_t g = begin; g < end; ++g) {
      const int64_t start = groups.starts[size_t(g)], size = groups.starts[size_t(g) + 1] - start;
      const auto* places = groups.places.data() + start;
      for (int64_t i = 0; i < size; ++i) members[size_t(i)] = order[places[i].index];
      suppressor.run(boxes, members.data(), size, kept.data());
      for (int64_t i = 0; i < size; ++i) keep[places[i].index] = kept[size_t(i)];
    }
  });
  return write_kept(order, keep, out);
}

// Calls `work` with the boxes and scores in their type.
template <class Work>
int64_t by_type(const NmsArguments& a, Work work) {
  if (a.count == 0) return 0;
  if (a.boxes.dtype == Dtype::float32)
    return work(static_cast<const float*>(a.boxes.data), static_cast<const float*>(a.scores.data));
  return work(static_cast<const double*>(a.boxes.data), static_cast<const double*>(a.scores.data));
}

// Each writes the kept indices to the front of `keep`, which has room for all, and returns how many.
int64_t bind_nms(py::handle boxes, py::handle scores, double threshold, py::handle keep, int) {
  const NmsArguments a = check_nms(boxes, scores, threshold, keep);
  return by_type(a, [&](auto* b, auto* s) {
    return without_gil([&] { return run(b, s, a.count, threshold, a.keep.data); });
  });
}

int64_t bind_batched_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                         py::handle keep, int threads) {
  const NmsArguments a = check_nms(boxes, scores, threshold, keep);
  const auto categories = check_idxs(idxs, a.count);
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
