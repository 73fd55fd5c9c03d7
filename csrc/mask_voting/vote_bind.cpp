#include <algorithm>
#include <cmath>
#include <vector>

#include "core/operators.h"
#include "core/parallel.h"
#include "mask_voting/arguments.h"
#include "mask_voting/tally.h"

namespace pyifcn {
namespace {

RunEnds edges_of(const MaskView& mask) {
  return {{mask.x1, mask.y1, mask.x2, mask.y2}, mask.words, mask.across(), mask.x1 / 64 * 64};
}

PackedMask copy_of(const MaskView& mask) {
  return {{int32_t(mask.x1), int32_t(mask.y1), int32_t(mask.x2), int32_t(mask.y2)},
          {mask.words, mask.words + mask.rows() * mask.across()}};
}

// The members of each group, those of the best representative first.
struct Groups {
  std::vector<int64_t> representatives;
  std::vector<std::vector<int64_t>> members;

  Groups(const View<const double, 1>& scores, const View<const int64_t, 1>& groups) {
    const int64_t count = groups.shape[0];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t group = groups.data[i];
      require(group >= 0 && group < count, "groups[", i, "] is ", group, ", expected an index below ", count,
              ", the number of masks");
      require(groups.data[group] == group, "groups[", i, "] is ", group, ", but groups[", group, "] is ",
              groups.data[group], ", expected itself: the one that was kept");
      if (group == i) representatives.push_back(i);
    }
    std::stable_sort(representatives.begin(), representatives.end(),
                     [&](int64_t a, int64_t b) { return scores.data[a] > scores.data[b]; });
    std::vector<size_t> places(static_cast<size_t>(count));
    for (size_t g = 0; g < representatives.size(); ++g) places[size_t(representatives[g])] = g;
    members.resize(representatives.size());
    for (int64_t i = 0; i < count; ++i) members[places[size_t(groups.data[i])]].push_back(i);
  }
};

PackedMask merge(const MasksView& masks, const View<const double, 1>& scores,
                 const std::vector<int64_t>& members, double threshold, Tally& tally) {
  if (members.size() == 1) return copy_of(masks[members[0]]);
  std::vector<RunEnds> edges;
  std::vector<double> shares;
  for (int64_t i : members) {
    edges.push_back(edges_of(masks[i]));
    shares.push_back(scores.data[i]);
  }
  std::vector<uint32_t> weights = weights_of(shares);
  if (weights.empty()) weights.assign(shares.size(), 1);
  std::vector<Vote> votes;
  for (size_t k = 0; k < edges.size(); ++k) votes.push_back({&edges[k], weights[k]});
  return tally.merge(votes, threshold);
}

// ((boxes, offsets, words) of the merged masks, their representatives).
py::tuple bind_vote(py::handle boxes, py::handle offsets, py::handle words, py::handle scores,
                    py::handle groups, double threshold, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto [weights, indices] = check_vote(masks.count(), scores, groups, threshold);
  for (int64_t i = 0; i < masks.count(); ++i)
    if (const double score = weights.data[i]; !(score >= 0 && std::isfinite(score)))
      require(false, "scores[", i, "] is ", score, ", expected a finite number of at least 0");
  const Groups voters(weights, indices);
  std::vector<PackedMask> merged(voters.members.size());
  without_gil([&] {
    parallel_for(int64_t(merged.size()), 1, threads, [&](int64_t begin, int64_t end) {
      Tally tally;
      for (int64_t g = begin; g < end; ++g)
        merged[size_t(g)] = merge(masks, weights, voters.members[size_t(g)], threshold, tally);
    });
  });
  py::array_t<int64_t> representatives(py::ssize_t(voters.representatives.size()));
  std::copy(voters.representatives.begin(), voters.representatives.end(), representatives.mutable_data());
  return py::make_tuple(to_arrays(merged), representatives);
}

}  // namespace

void register_vote(py::module_& module) { module.def("vote", &bind_vote); }

}  // namespace pyifcn
