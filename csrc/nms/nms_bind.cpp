#include <cmath>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "nms/arguments.h"
#include "nms/categories.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 12;  // boxes that are worth a thread

// Where the answers go. `keep` has room for all boxes; `groups` may be null.
struct Answers {
  int64_t* keep;
  int64_t* groups;
};

int64_t write_kept(const std::vector<uint32_t>& order, const std::vector<uint8_t>& keep, int64_t* out) {
  int64_t kept = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    out[kept] = order[i];
    kept += keep[i];
  }
  return kept;
}

// `owners` as Suppressor writes them.
void write_groups(const uint32_t* order, const std::vector<uint32_t>& owners, int64_t count,
                  int64_t* groups) {
  for (int64_t i = 0; i < count; ++i) groups[order[i]] = order[owners[size_t(i)]];
}

template <class E>
int64_t run(const E* boxes, const E* scores, int64_t count, double threshold, const Answers& out) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  std::vector<uint8_t> keep(static_cast<size_t>(count));
  std::vector<uint32_t> owners(out.groups ? size_t(count) : 0);
  Suppressor<E>(threshold, count)
      .run(boxes, order.data(), count, keep.data(), out.groups ? owners.data() : nullptr);
  if (out.groups) write_groups(order.data(), owners, count, out.groups);
  return write_kept(order, keep, out.keep);
}

// Each category moved by its number times the largest coordinate plus one, in E.
template <class E>
int64_t run_moved(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                  const Answers& out) {
  E largest = boxes[0];
  for (int64_t i = 1; i < 4 * count; ++i)
    if (boxes[i] > largest || std::isnan(boxes[i])) largest = boxes[i];
  std::vector<E> moved(boxes, boxes + 4 * count);
  for (int64_t i = 0; i < 4 * count; ++i) moved[size_t(i)] += E(idxs[i / 4]) * (largest + 1);
  return run(moved.data(), scores, count, threshold, out);
}

template <class E>
int64_t run_by_category(const E* boxes, const E* scores, const int64_t* idxs, int64_t count, double threshold,
                        const Answers& out, int threads) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  const Categories categories(idxs, order);
  std::vector<uint8_t> keep(order.size());
  parallel_for(
      categories.count(), categories.count() * kGrain / count, threads, [&](int64_t begin, int64_t end) {
        const int64_t most = categories.most(begin, end);
        Suppressor<E> suppressor(threshold, most);
        std::vector<uint32_t> members(static_cast<size_t>(most)), owners(out.groups ? size_t(most) : 0);
        std::vector<uint8_t> kept(static_cast<size_t>(most));
        for (int64_t c = begin; c < end; ++c) {
          const int64_t size = categories.size(c);
          const auto* places = categories.begin(c);
          for (int64_t i = 0; i < size; ++i) members[size_t(i)] = order[places[i].index];
          suppressor.run(boxes, members.data(), size, kept.data(), out.groups ? owners.data() : nullptr);
          for (int64_t i = 0; i < size; ++i) keep[places[i].index] = kept[size_t(i)];
          if (out.groups) write_groups(members.data(), owners, size, out.groups);
        }
      });
  return write_kept(order, keep, out.keep);
}

// Calls `work` with the boxes and scores in their type.
template <class Work>
int64_t by_type(const NmsArguments& a, Work work) {
  if (a.count == 0) return 0;
  if (a.boxes.dtype == Dtype::float32)
    return work(static_cast<const float*>(a.boxes.data), static_cast<const float*>(a.scores.data));
  return work(static_cast<const double*>(a.boxes.data), static_cast<const double*>(a.scores.data));
}

int64_t run_nms(const NmsArguments& a, double threshold, int64_t* groups) {
  return by_type(a, [&](auto* b, auto* s) {
    return without_gil([&] { return run(b, s, a.count, threshold, {a.keep.data, groups}); });
  });
}

int64_t run_batched_nms(const NmsArguments& a, py::handle idxs, double threshold, int64_t* groups,
                        int threads) {
  const int64_t* categories = check_idxs(idxs, a.count).data;
  const Answers out{a.keep.data, groups};
  return by_type(a, [&](auto* b, auto* s) {
    return without_gil([&] {
      if (a.count <= kMovedBoxes) return run_moved(b, s, categories, a.count, threshold, out);
      return run_by_category(b, s, categories, a.count, threshold, out, threads);
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
