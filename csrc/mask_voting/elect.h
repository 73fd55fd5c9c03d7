// Which detections of an image are returned, and which boxes vote on the mask of each.
#pragma once

#include <cstdint>
#include <vector>

#include "core/view.h"
#include "mask_voting/convention.h"

namespace pyifcn {

struct Detection {
  int32_t label;
  int32_t box;
  float score;
};

struct Ballot {
  std::vector<int32_t> boxes;  // rising
  std::vector<double> scores;
};

class Electorate {
public:
  // `boxes` (N, 4), `scores` (N, C). Boxes with a corner that is not finite, or beyond 2^30, overlap nothing.
  Electorate(View<const float, 2> boxes, View<const float, 2> scores, const Convention& convention);

  // NMS in each class but the first, of which at most `most` go on, and of all classes the best `most`. By
  // class, the best first, equal scores by box.
  std::vector<Detection> detect(float threshold, int64_t most, int threads) const;

  // The boxes that overlap a detection's at least by `merge_threshold`, and their scores in its class, where
  // they are more than 0.
  Ballot ballot(const Detection& detection, double merge_threshold) const;

private:
  template <class E>
  struct Table {
    std::vector<E> columns;
    Corners<E> corners;
    Table(const View<const float, 2>& boxes, float last);
  };

  std::vector<Detection> suppress(int32_t label, float threshold, int64_t most) const;

  View<const float, 2> scores_;
  const Convention& convention_;
  const Table<float> single_;
  const Table<double> double_;
};

}  // namespace pyifcn
