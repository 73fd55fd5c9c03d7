#include <cmath>
#include <numeric>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "nms/categories.h"
#include "nms/suppressor.h"
#include "soft_nms/arguments.h"
#include "soft_nms/soft_suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 256;  // boxes that are worth a thread

template <class E>
void run_by_category(const SoftNmsRule& rule, const E* boxes, const E* scores, const int64_t* idxs,
                     const std::vector<uint32_t>& all, E* kept, int threads) {
  const Categories categories(idxs, all);
  const int64_t grain = categories.count() * kGrain / int64_t(all.size());
  parallel_for(categories.count(), grain, threads, [&](int64_t begin, int64_t end) {
    SoftSuppressor<E> suppressor(rule);
    std::vector<uint32_t> members;
    for (int64_t c = begin; c < end; ++c) {
      members.clear();
      for (int64_t i = 0; i < categories.size(c); ++i) members.push_back(categories.begin(c)[i].index);
      suppressor.run(boxes, scores, members, kept);
    }
  });
}

// `idxs` may be null.
template <class E>
int64_t run(const SoftNmsRule& rule, const NmsArguments& a, const int64_t* idxs, E* kept_scores,
            int threads) {
  const auto *boxes = static_cast<const E*>(a.boxes.data), *scores = static_cast<const E*>(a.scores.data);
  std::vector<uint32_t> all(static_cast<size_t>(a.count));
  std::iota(all.begin(), all.end(), 0u);
  std::vector<E> kept(all.size(), ScoredBlock<E>::kNone);  // by index; NaN where it is not
  if (idxs && a.count > 0)
    run_by_category(rule, boxes, scores, idxs, all, kept.data(), threads);
  else
    SoftSuppressor<E>(rule).run(boxes, scores, all, kept.data());
  std::vector<uint32_t> indices;
  std::vector<E> unordered;
  for (const uint32_t i : all)
    if (!std::isnan(kept[i])) indices.push_back(i), unordered.push_back(kept[i]);
  const std::vector<uint32_t> order = order_by_score(unordered.data(), int64_t(unordered.size()));
  for (size_t i = 0; i < order.size(); ++i) {
    a.keep.data[i] = indices[order[i]];
    kept_scores[i] = unordered[order[i]];
  }
  return int64_t(order.size());
}

// Writes the kept indices and their scores, best first, to the front of `keep` and `kept_scores`, which have
// room for all, and returns how many. `idxs` may be None; `kept_scores` is of the type of `scores`.
int64_t bind_soft_nms(py::handle boxes, py::handle scores, py::handle idxs, double iou_threshold,
                      double sigma, double min_score, const std::string& method, py::handle keep,
                      py::handle kept_scores, int threads) {
  const SoftNmsArguments a =
      check_soft_nms(boxes, scores, idxs, iou_threshold, sigma, min_score, method, keep, kept_scores);
  return without_gil([&] {
    if (a.nms.boxes.dtype == Dtype::float32)
      return run(a.rule, a.nms, a.idxs, static_cast<float*>(a.kept_scores), threads);
    return run(a.rule, a.nms, a.idxs, static_cast<double*>(a.kept_scores), threads);
  });
}

}  // namespace

void register_soft_nms(py::module_& module) { module.def("soft_nms", &bind_soft_nms); }

}  // namespace pyifcn
