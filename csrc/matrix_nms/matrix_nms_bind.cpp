#include <algorithm>
#include <string>
#include <vector>

#include "core/bind.h"
#include "core/exp.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/box_tree.h"
#include "masks/packed.h"
#include "masks/ratio.h"
#include "masks/strips.h"
#include "matrix_nms/decay.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kBlock = 256;  // masks whose overlaps are held at once

// A better mask of the same label, by rank, and the IoU with it.
struct Overlap {
  uint32_t rank;
  double iou;
};

// By how much a mask's score falls. `most` is, for each rank, the greatest IoU with a better mask of the
// same label. Overlaps of 0 change nothing and are not listed.
double gaussian_decay(const std::vector<Overlap>& overlaps, const std::vector<double>& most, double sigma) {
  double power = 0;
  for (const Overlap& o : overlaps) power = std::max(power, o.iou * o.iou - most[o.rank] * most[o.rank]);
  return exp(Scalar<double>{-sigma * power}).v;
}

// One that is itself a copy of a better mask leaves it to that to decay others.
double linear_decay(const std::vector<Overlap>& overlaps, const std::vector<double>& most, double) {
  double decay = 1;
  for (const Overlap& o : overlaps)
    if (most[o.rank] < 1) decay = std::min(decay, (1 - o.iou) / (1 - most[o.rank]));
  return decay;
}

// Writes each mask's lowered score. Masks are taken by falling score, a block of them at once: threads
// count what they share with better ones, and then each factor follows from those before.
void run(const MasksView& masks, const double* scores, const int64_t* labels, bool gaussian, double sigma,
         double* lowered, int threads) {
  const int64_t count = masks.count();
  const std::vector<uint32_t> order = order_by_score(scores, count);
  std::vector<uint32_t> ranks(order.size());
  for (uint32_t rank = 0; rank < order.size(); ++rank) ranks[order[rank]] = rank;
  const Strips strips(masks, threads);
  const BoxTree tree(masks, BoxTree::At::on);
  const auto decay_of = gaussian ? &gaussian_decay : &linear_decay;
  std::vector<std::vector<Overlap>> block(size_t(std::min(count, kBlock)));
  std::vector<double> most(order.size());
  for (int64_t first = 0; first < count; first += kBlock) {
    const int64_t size = std::min(kBlock, count - first);
    parallel_for(size, 16, threads, [&](int64_t begin, int64_t end) {
      for (int64_t n = begin; n < end; ++n) {
        const uint32_t rank = uint32_t(first + n), i = order[rank];
        std::vector<Overlap>& overlaps = block[size_t(n)];
        overlaps.clear();
        tree.find(masks[i], [&](int64_t j) {
          const StripedMask &a = strips[j], &b = strips[i];
          if (ranks[size_t(j)] >= rank || labels[j] != labels[i]) return false;
          if (const int64_t shared = strips.shared(a, b))
            overlaps.push_back({ranks[size_t(j)], iou_of(a.area, b.area, shared)});
          return false;
        });
      }
    });
    for (int64_t n = 0; n < size; ++n) {
      const std::vector<Overlap>& overlaps = block[size_t(n)];
      const size_t rank = size_t(first + n), i = order[rank];
      for (const Overlap& o : overlaps) most[rank] = std::max(most[rank], o.iou);
      lowered[i] = scores[i] * decay_of(overlaps, most, sigma);
    }
  }
}

// Fills in `lowered` (N,).
void bind_matrix_nms(py::handle boxes, py::handle offsets, py::handle words, py::handle scores,
                     py::handle labels, const std::string& kernel, double sigma, py::handle lowered,
                     int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto by_score = as_array(scores, "scores").view<const double, 1>();
  const auto label_of = as_array(labels, "labels").view<const int64_t, 1>();
  const auto out = as_array(lowered, "lowered").view<double, 1>();
  const bool gaussian = is_gaussian(kernel, sigma);
  without_gil([&] { run(masks, by_score.data, label_of.data, gaussian, sigma, out.data, threads); });
}

}  // namespace

void register_matrix_nms(py::module_& module) { module.def("matrix_nms", &bind_matrix_nms); }

}  // namespace pyifcn
