// Weighted boxes fusion (Solovyev et al. 2021): boxes of several models become clusters, each with the mean
// of its boxes weighted by their scores.
#pragma once

#include <cstdint>
#include <vector>

#include "core/view.h"

namespace pyifcn {

class Clusters {
public:
  // Boxes (N, 4) with their scores (N), which are taken in order.
  Clusters(View<const double, 2> boxes, View<const double, 1> scores) : boxes_(boxes), scores_(scores) {}

  // Each box joins the cluster whose mean overlaps it most, if their IoU is more than the threshold, the
  // first of equals; else it is a new one. Returns of each box its cluster.
  std::vector<int64_t> join(double iou_threshold);

  int64_t count() const { return int64_t(x1_.size()); }

  // The mean of cluster i; of a single box that box itself.
  void mean(int64_t i, double* box) const;

private:
  // As ensemble_boxes does, the sums of boxes in float32 and that of the scores in float64.
  struct Sum {
    float box[4];
    double score;
  };

  int64_t best(const double* box, double iou_threshold) const;
  void open(const double* box, double score);
  void add(int64_t i, const double* box, double score);

  View<const double, 2> boxes_;
  View<const double, 1> scores_;
  std::vector<Sum> sums_;
  std::vector<double> x1_, y1_, x2_, y2_;  // the means, side by side to be compared
};

}  // namespace pyifcn
