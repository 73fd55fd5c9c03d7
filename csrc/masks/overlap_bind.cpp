#include <algorithm>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/box_tree.h"
#include "masks/packed.h"
#include "masks/ratio.h"
#include "masks/strips.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

void bind_area(py::handle boxes, py::handle offsets, py::handle words, py::handle out, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto area = as_array(out, "out").view<int64_t, 1>();
  const auto kernel = dispatch([]<Target T>() { return &count_bits<T>; });
  without_gil([&] {
    parallel_for(masks.count(), 256, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const MaskView m = masks[i];
        area.data[i] = kernel(m.words, m.rows() * m.across());
      }
    });
  });
}

// Fills in `out` (N, M), which is all zeros, where masks share pixels.
void bind_iou(py::handle boxes, py::handle offsets, py::handle words, py::handle other_boxes,
              py::handle other_offsets, py::handle other_words, const std::string& kind, py::handle out,
              int threads) {
  const MasksView mine(boxes, offsets, words), yours(other_boxes, other_offsets, other_words);
  const auto result = as_array(out, "out").view<double, 2>();
  const Kind divisor = kind_of(kind);
  const bool same = mine.same_as(yours);  // then each pair is counted once
  without_gil([&] {
    const Strips my_strips(mine, threads);
    std::optional<Strips> other_strips;
    if (!same) other_strips.emplace(yours, threads);
    const Strips& your_strips = same ? my_strips : *other_strips;
    const BoxTree tree(yours, BoxTree::At::on);
    const int64_t count = yours.count();
    parallel_for(mine.count(), 16, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const StripedMask& a = my_strips[i];
        tree.find(mine[i], [&](int64_t j) {
          if (same && j < i) return false;
          const StripedMask& b = your_strips[j];
          const int64_t shared = my_strips.shared(a, b);
          if (shared > 0) {
            result.data[i * count + j] = ratio_of(divisor, a.area, b.area, shared);
            if (same) result.data[j * count + i] = ratio_of(divisor, b.area, a.area, shared);
          }
          return false;
        });
      }
    });
  });
}

// The pixels that two boxes share: no two masks in them share more.
int64_t box_intersection(const StripedMask& a, const StripedMask& b) {
  const int64_t width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const int64_t height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  return width > 0 && height > 0 ? width * height : 0;
}

// Greedy suppression: the masks come by falling score, and each is kept unless one kept before suppresses it.
class Suppression {
public:
  struct Job {
    const std::vector<uint32_t>& order;  // by falling score
    const int64_t* idxs;  // of each mask, or null: only masks with equal ones suppress each other
    double threshold;
    bool find_best;  // the best of the masks that suppress a mask, not any of them
    int threads;
  };

  Suppression(const MasksView& masks, const Job& job)
      : masks_(masks),
        job_(job),
        strips_(masks, job.threads),
        kept_(masks, BoxTree::At::off),
        ranks_(job.order.size()),
        suppressors_(job.order.size()) {
    for (size_t rank = 0; rank < job.order.size(); ++rank) ranks_[job.order[rank]] = uint32_t(rank);
  }

  // For each rank the rank of the mask that suppresses that mask, its own if it is kept.
  const std::vector<uint32_t>& run() {
    const auto count = uint32_t(ranks_.size());
    const uint32_t step = job_.threads > 1 ? kBlock : count;
    for (uint32_t begin = 0; begin < count; begin += step) run_block(begin, std::min(begin + step, count));
    return suppressors_;
  }

private:
  static constexpr uint32_t kBlock = 256;  // masks that threads compare with those kept before, all at once

  void run_block(uint32_t begin, uint32_t end) {
    if (begin > 0)
      parallel_for(end - begin, 16, job_.threads, [&](int64_t from, int64_t to) {
        for (auto rank = begin + uint32_t(from); rank < begin + uint32_t(to); ++rank) search(rank, 0);
      });
    for (uint32_t rank = begin; rank < end; ++rank) {
      if (begin > 0 && suppressors_[rank] != rank) continue;
      search(rank, begin);
      if (suppressors_[rank] == rank) kept_.turn_on(job_.order[rank]);
    }
  }

  // Finds what suppresses a mask among the kept ones from rank `first` on.
  void search(uint32_t rank, uint32_t first) {
    const uint32_t i = job_.order[rank];
    uint32_t found = rank;
    kept_.find(masks_[i], [&](int64_t j) {
      const uint32_t other = ranks_[size_t(j)];
      if (other < first || other > found || !suppresses(j, i)) return false;
      found = other;
      return !job_.find_best;
    });
    suppressors_[rank] = found;
  }

  bool suppresses(int64_t j, int64_t i) const {
    if (job_.idxs && job_.idxs[i] != job_.idxs[j]) return false;
    const StripedMask &a = strips_[j], &b = strips_[i];
    const int64_t most = std::min({box_intersection(a, b), a.area, b.area});
    return iou_of(a.area, b.area, most) > job_.threshold &&
           iou_of(a.area, b.area, strips_.shared(a, b)) > job_.threshold;
  }

  const MasksView& masks_;
  const Job job_;
  const Strips strips_;
  BoxTree kept_;
  std::vector<uint32_t> ranks_, suppressors_;
};

// With a negative threshold the best of each category suppresses all others, whether they meet or not.
std::vector<uint32_t> suppress_all(const std::vector<uint32_t>& order, const int64_t* idxs) {
  std::unordered_map<int64_t, uint32_t> best;
  std::vector<uint32_t> suppressors(order.size());
  for (uint32_t rank = 0; rank < order.size(); ++rank)
    suppressors[rank] = best.try_emplace(idxs ? idxs[order[rank]] : 0, rank).first->second;
  return suppressors;
}

// Writes the kept indices to the front of `keep`, which has room for all, and returns how many. `idxs` and
// `groups` may be None.
int64_t bind_nms(py::handle boxes, py::handle offsets, py::handle words, py::handle scores, py::handle idxs,
                 double iou_threshold, py::handle keep, py::handle groups, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto by_score = as_array(scores, "scores").view<const double, 1>();
  const auto kept = as_array(keep, "keep").view<int64_t, 1>();
  const int64_t* categories = idxs.is_none() ? nullptr : as_array(idxs, "idxs").view<const int64_t, 1>().data;
  int64_t* group_of = groups.is_none() ? nullptr : as_array(groups, "groups").view<int64_t, 1>().data;
  return without_gil([&] {
    const std::vector<uint32_t> order = order_by_score(by_score.data, masks.count());
    const std::vector<uint32_t> suppressors =
        iou_threshold < 0
            ? suppress_all(order, categories)
            : Suppression(masks, {order, categories, iou_threshold, group_of != nullptr, threads}).run();
    int64_t count = 0;
    for (uint32_t rank = 0; rank < order.size(); ++rank) {
      if (suppressors[rank] == rank) kept.data[count++] = order[rank];
      if (group_of) group_of[order[rank]] = order[suppressors[rank]];
    }
    return count;
  });
}

}  // namespace

void register_mask_overlap(py::module_& module) {
  module.def("masks_area", &bind_area);
  module.def("masks_iou", &bind_iou);
  module.def("masks_nms", &bind_nms);
}

}  // namespace pyifcn
