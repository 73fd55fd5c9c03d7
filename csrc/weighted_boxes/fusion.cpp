#include "weighted_boxes/fusion.h"

#include <algorithm>

namespace pyifcn {

std::vector<int64_t> Clusters::join(double iou_threshold) {
  std::vector<int64_t> cluster_of;
  for (int64_t n = 0; n < boxes_.shape[0]; ++n) {
    const double* box = boxes_.data + 4 * n;
    const int64_t found = best(box, iou_threshold);
    cluster_of.push_back(found < 0 ? count() : found);
    if (found < 0)
      open(box, scores_.data[n]);
    else
      add(found, box, scores_.data[n]);
  }
  return cluster_of;
}

void Clusters::mean(int64_t i, double* box) const {
  const auto k = size_t(i);
  box[0] = x1_[k], box[1] = y1_[k], box[2] = x2_[k], box[3] = y2_[k];
}

int64_t Clusters::best(const double* box, double iou_threshold) const {
  const double area = (box[2] - box[0]) * (box[3] - box[1]);
  int64_t found = -1;
  double most = iou_threshold;
  for (size_t i = 0; i < x1_.size(); ++i) {
    const double width = std::max(std::min(x2_[i], box[2]) - std::max(x1_[i], box[0]), 0.0);
    const double height = std::max(std::min(y2_[i], box[3]) - std::max(y1_[i], box[1]), 0.0);
    const double shared = width * height;
    const double iou = shared / ((x2_[i] - x1_[i]) * (y2_[i] - y1_[i]) + area - shared);
    if (iou > most) most = iou, found = int64_t(i);
  }
  return found;
}

void Clusters::open(const double* box, double score) {
  Sum sum{{}, score};
  for (int k = 0; k < 4; ++k) sum.box[k] = float(score * box[k]);
  sums_.push_back(sum);
  x1_.push_back(box[0]), y1_.push_back(box[1]), x2_.push_back(box[2]), y2_.push_back(box[3]);
}

void Clusters::add(int64_t i, const double* box, double score) {
  const auto k = size_t(i);
  Sum& sum = sums_[k];
  sum.score += score;
  double* const means[] = {&x1_[k], &y1_[k], &x2_[k], &y2_[k]};
  for (int side = 0; side < 4; ++side) {
    sum.box[side] = float(double(sum.box[side]) + score * box[side]);
    *means[side] = double(float(double(sum.box[side]) / sum.score));
  }
}

}  // namespace pyifcn
