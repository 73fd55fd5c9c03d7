#include "core/operators.h"
#include "mask_voting/arguments.h"
#include "mask_voting/ballots_bind_cuda.h"
#include "mask_voting/mask_voting_cuda.h"

namespace pyifcn {
namespace {

// (masks, boxes, scores, height, width, the three thresholds, most, convention), as mask_voting takes them.
VotingInput input_of(const py::tuple& given) {
  const auto number = [&](size_t i) { return given[i].cast<double>(); };
  const auto whole = [&](size_t i) { return given[i].cast<int64_t>(); };
  const VotingArguments a = check_mask_voting(given[0], given[1], given[2], whole(3), whole(4), number(5),
                                              number(6), number(7), whole(8), given[9].cast<std::string>());
  return {a.masks, a.boxes, a.scores, a.options};
}

// The arguments are those of ElectJob. Without a class or a box there is nothing to do.
void bind_elect(const py::tuple& given, py::handle keys, py::handle kept, py::handle elections,
                py::handle mask_boxes, py::handle mask_starts, py::handle sizes, const py::tuple& stream) {
  const VotingInput in = input_of(given);
  // torch has few operators on uint32, and so lends int32.
  const auto workspace = as_array(keys, "keys").view<int32_t, 2>();
  const auto winners = as_array(kept, "kept").view<int32_t, 3>();
  const ElectJob job{
      in,
      in.options.suppressing(),
      {reinterpret_cast<uint32_t*>(workspace.data), {workspace.shape[0], workspace.shape[1]}},
      {reinterpret_cast<uint32_t*>(winners.data), {winners.shape[0], winners.shape[1], winners.shape[2]}},
      elections_of(elections),
      as_array(mask_boxes, "mask_boxes").view<int32_t, 2>(),
      as_array(mask_starts, "mask_starts").view<int64_t, 1>(),
      sizes_of(sizes)};
  if (job.elections.shape[0] == 0) return;
  const Stream where = stream_of(stream);
  without_gil([&] { elect_cuda(job, where); });
}

// `found` and what is the largest are of the sizes that the first step wrote; the others are those of
// MergeJob.
void bind_voting_merge(const py::tuple& given, int64_t found, int64_t results, int64_t largest_region,
                       int64_t largest_mask, py::handle elections, py::handle mask_boxes,
                       py::handle mask_starts, py::handle voters, py::handle mask_words, py::handle regions,
                       py::handle places, py::handle ends, py::handle boxes, py::handle masks,
                       py::handle scores, py::handle labels, const py::tuple& stream) {
  const auto words = as_array(mask_words, "mask_words").view<uint64_t, 1>();
  const View<Voter, 1> ballots = voters_of(voters);
  const TallyJob tally{elections_of(elections),
                       found,
                       read_only(ballots),
                       {as_array(mask_boxes, "mask_boxes").view<const int32_t, 2>(),
                        as_array(mask_starts, "mask_starts").view<const int64_t, 1>(), read_only(words)},
                       largest_region,
                       as_array(regions, "regions").view<uint64_t, 1>()};
  const MergeJob job{input_of(given),
                     found,
                     largest_mask,
                     tally,
                     ballots,
                     words,
                     as_array(places, "places").view<int32_t, 1>(),
                     as_array(ends, "ends").view<int64_t, 1>().data + results + 1,
                     as_array(boxes, "boxes").view<float, 2>(),
                     as_array(masks, "masks").view<float, 3>(),
                     as_array(scores, "scores").view<float, 1>(),
                     as_array(labels, "labels").view<int64_t, 1>()};
  const Stream where = stream_of(stream);
  without_gil([&] { merge_cuda(job, where); });
}

MergedMasksJob merged_of(py::handle elections, py::handle places, py::handle regions, int64_t largest) {
  return {{elections_of(elections).data, {elections_of(elections).shape[0]}},
          as_array(places, "places").view<const int32_t, 1>(),
          as_array(regions, "regions").view<const uint64_t, 1>(),
          largest};
}

void bind_box_merged(py::handle elections, py::handle places, py::handle regions, int64_t largest,
                     py::handle boxes, py::handle offsets, const py::tuple& stream) {
  const MergedMasksJob job = merged_of(elections, places, regions, largest);
  const auto corners = as_array(boxes, "boxes").view<int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { box_merged_cuda(job, corners, starts, where); });
}

void bind_fill_merged(py::handle elections, py::handle places, py::handle regions, int64_t largest,
                      py::handle boxes, py::handle offsets, py::handle words, const py::tuple& stream) {
  const MergedMasksJob job = merged_of(elections, places, regions, largest);
  const auto corners = as_array(boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const auto to = as_array(words, "words").view<uint64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { fill_merged_cuda(job, corners, starts, to, where); });
}

}  // namespace

void register_mask_voting(py::module_& module) {
  module.attr("ELECTION_BYTES") = sizeof(Election);
  module.attr("VOTER_BYTES") = sizeof(Voter);
  module.attr("BALLOT_SIZES") = sizeof(BallotSizes) / sizeof(int64_t);
  module.def("mask_voting_elect", &bind_elect);
  module.def("mask_voting_merge", &bind_voting_merge);
  module.def("masks_box_merged", &bind_box_merged);
  module.def("masks_fill_merged", &bind_fill_merged);
}

}  // namespace pyifcn
