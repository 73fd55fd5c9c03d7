#include "core/operators.h"
#include "mask_voting/arguments.h"
#include "mask_voting/ballots_bind_cuda.h"
#include "mask_voting/vote_cuda.h"
#include "masks/bind_cuda.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses without a look at the elements.
void bind_check_vote(py::handle boxes, py::handle scores, py::handle groups, double threshold) {
  check_vote(as_array(boxes, "boxes").view<const int32_t, 2>().shape[0], scores, groups, threshold);
}

// The arguments are those of GroupsJob.
void bind_groups(py::handle boxes, py::handle offsets, py::handle words, py::handle scores,
                 py::handle members, py::handle starts, double threshold, py::handle elections,
                 py::handle voters, py::handle sizes, const py::tuple& stream) {
  const GroupsJob job{masks_on_device(boxes, offsets, words),
                      as_array(scores, "scores").view<const double, 1>(),
                      as_array(members, "members").view<const int64_t, 1>(),
                      as_array(starts, "starts").view<const int64_t, 1>(),
                      threshold,
                      elections_of(elections),
                      voters_of(voters),
                      sizes_of(sizes)};
  const Stream where = stream_of(stream);
  without_gil([&] { groups_cuda(job, where); });
}

// Counts the votes of the first `count` elections, whose largest region has `largest` words.
void bind_tally(py::handle boxes, py::handle offsets, py::handle words, py::handle elections, int64_t count,
                int64_t largest, py::handle voters, py::handle regions, const py::tuple& stream) {
  const TallyJob job{elections_of(elections),
                     count,
                     read_only(voters_of(voters)),
                     masks_on_device(boxes, offsets, words),
                     largest,
                     as_array(regions, "regions").view<uint64_t, 1>()};
  const Stream where = stream_of(stream);
  without_gil([&] { tally_cuda(job, where); });
}

}  // namespace

void register_vote(py::module_& module) {
  module.def("check_vote", &bind_check_vote);
  module.def("vote_groups", &bind_groups);
  module.def("vote_tally", &bind_tally);
}

}  // namespace pyifcn
