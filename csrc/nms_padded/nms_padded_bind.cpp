#include <limits>
#include <optional>
#include <vector>

#include "core/bind.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "nms/categories.h"
#include "nms/suppressor.h"
#include "nms_padded/arguments.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 12;  // boxes that are worth a thread

// The boxes that take part, by falling score.
template <class E>
std::vector<uint32_t> order_of(const E* scores, int64_t count, const std::optional<double>& least) {
  if (!least) return order_by_score(scores, count);
  std::vector<uint32_t> there;
  std::vector<E> there_scores;
  for (int64_t i = 0; i < count; ++i)
    if (double(scores[i]) > *least) there.push_back(uint32_t(i)), there_scores.push_back(scores[i]);
  std::vector<uint32_t> order = order_by_score(there_scores.data(), int64_t(there.size()));
  for (uint32_t& i : order) i = there[i];
  return order;
}

// For each of `order` whether it is kept.
template <class E>
std::vector<uint8_t> suppress(const E* boxes, const int64_t* idxs, const std::vector<uint32_t>& order,
                              double threshold) {
  std::vector<uint8_t> keep(order.size());
  if (!idxs) {
    Suppressor<E>(threshold, int64_t(order.size()))
        .run(boxes, order.data(), int64_t(order.size()), keep.data());
    return keep;
  }
  const Categories categories(idxs, order);
  const int64_t most = categories.most(0, categories.count());
  Suppressor<E> suppressor(threshold, most);
  std::vector<uint32_t> members(static_cast<size_t>(most));
  std::vector<uint8_t> kept(static_cast<size_t>(most));
  for (int64_t c = 0; c < categories.count(); ++c) {
    const auto* places = categories.begin(c);
    for (int64_t i = 0; i < categories.size(c); ++i) members[size_t(i)] = order[places[i].index];
    suppressor.run(boxes, members.data(), categories.size(c), kept.data());
    for (int64_t i = 0; i < categories.size(c); ++i) keep[places[i].index] = kept[size_t(i)];
  }
  return keep;
}

// One image. Only better boxes decide whether a box is kept, so that the best of them are suppressed by
// themselves, and twice as many if too few of these are kept.
template <class E>
void run(const PaddedArguments& a, int64_t image) {
  const auto* boxes = static_cast<const E*>(a.boxes.data) + 4 * image * a.count;
  const auto* scores = static_cast<const E*>(a.scores.data) + image * a.count;
  const int64_t* idxs = a.idxs ? a.idxs + image * a.count : nullptr;
  const int64_t most = a.indices.shape[1];
  int64_t* indices = a.indices.data + image * most;
  const std::vector<uint32_t> order = order_of(scores, a.count, a.least);
  int64_t count = 0;
  for (size_t size = 4 * size_t(most);; size *= 2) {
    const std::vector<uint32_t> best(order.begin(), order.begin() + int64_t(std::min(size, order.size())));
    const std::vector<uint8_t> keep = suppress(boxes, idxs, best, a.threshold);
    count = 0;
    for (size_t i = 0; i < best.size() && count < most; ++i)
      if (keep[i]) indices[count++] = best[i];
    if (count == most || size >= order.size()) break;
  }
  std::fill(indices + count, indices + most, int64_t(-1));
  a.counts[image] = count;
}

// Fills in `indices` (B, max_output) and `counts` (B,). `idxs` and `score_threshold` may be None.
void bind_nms_padded(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                     const py::object& score_threshold, py::handle indices, py::handle counts, int threads) {
  std::optional<double> least;
  if (!score_threshold.is_none()) least = score_threshold.cast<double>();
  const PaddedArguments a = check_nms_padded(boxes, scores, idxs, threshold, least, indices, counts);
  const auto work = a.boxes.dtype == Dtype::float32 ? &run<float> : &run<double>;
  without_gil([&] {
    parallel_for(a.images, kGrain / (a.count + 1), threads, [&](int64_t begin, int64_t end) {
      for (int64_t image = begin; image < end; ++image) work(a, image);
    });
  });
}

}  // namespace

void register_nms_padded(py::module_& module) { module.def("nms_padded", &bind_nms_padded); }

}  // namespace pyifcn
