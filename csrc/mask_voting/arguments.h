// What the bindings of both modules share: the checked arguments.
#pragma once

#include <limits>
#include <string>

#include "core/bind.h"
#include "mask_voting/convention.h"

namespace pyifcn {

struct VotingArguments {
  View<const float, 3> masks;          // (N, M, M)
  View<const float, 2> boxes, scores;  // (N, 4), (N, C)
  VotingOptions options;
};

inline void check_threshold(const char* name, double value, double least) {
  require(value >= least && value <= 1, name, " is ", value, ", expected ",
          least > 0 ? "more than 0 and at most 1" : "0 to 1");
}

inline VotingArguments check_mask_voting(py::handle masks, py::handle boxes, py::handle scores,
                                         int64_t height, int64_t width, double nms_threshold,
                                         double merge_threshold, double binary_threshold, int64_t most,
                                         const std::string& convention) {
  const auto soft = as_array(masks, "masks").view<const float, 3>();
  const auto corners = as_array(boxes, "boxes").view<const float, 2>();
  const auto classes = as_array(scores, "scores").view<const float, 2>();
  const int64_t count = corners.shape[0];
  require(corners.shape[1] == 4, "boxes has shape (", count, ", ", corners.shape[1],
          "), expected (N, 4): x1, y1, x2, y2");
  require(soft.shape[0] == count && soft.shape[1] == soft.shape[2] && soft.shape[1] > 0, "masks has shape (",
          soft.shape[0], ", ", soft.shape[1], ", ", soft.shape[2], "), expected (N, M, M) for ", count,
          " boxes");
  require(classes.shape[0] == count && classes.shape[1] > 0, "scores has shape (", classes.shape[0], ", ",
          classes.shape[1], "), expected (N, C) for ", count, " boxes");
  require(count <= 1 << 30, "boxes has ", count, " rows, expected at most ", 1 << 30);
  require(classes.shape[1] <= 1 << 30, "scores has ", classes.shape[1], " columns, expected at most ",
          1 << 30);
  require(soft.shape[1] <= 1 << 15, "masks has a side of ", soft.shape[1], ", expected at most ", 1 << 15);
  require(height > 0 && width > 0 && height < 1 << 30 && width < 1 << 30, "image_size is (", height, ", ",
          width, "), expected sides of 1 to ", (1 << 30) - 1, " pixels");
  check_threshold("nms_threshold", nms_threshold, 0);
  check_threshold("merge_threshold", merge_threshold, 0);
  check_threshold("binary_threshold", binary_threshold, std::numeric_limits<double>::min());
  return {soft,
          corners,
          classes,
          {height, width, nms_threshold, merge_threshold, binary_threshold, most, convention_of(convention)}};
}

struct VoteArguments {
  View<const double, 1> scores;
  View<const int64_t, 1> groups;
};

// `count` masks, `scores` and `groups` one for each.
inline VoteArguments check_vote(int64_t count, py::handle scores, py::handle groups, double threshold) {
  const auto weights = as_array(scores, "scores").view<const double, 1>();
  const auto indices = as_array(groups, "groups").view<const int64_t, 1>();
  require(weights.shape[0] == count, "scores has ", weights.shape[0],
          " elements, expected one for each of the ", count, " masks");
  require(indices.shape[0] == count, "groups has ", indices.shape[0],
          " elements, expected one for each of the ", count, " masks");
  require(threshold > 0 && threshold <= 1, "threshold is ", threshold,
          ", expected more than 0 and at most 1");
  return {weights, indices};
}

}  // namespace pyifcn
