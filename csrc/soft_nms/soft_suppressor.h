// Soft non-maximum suppression around the kernel: the order along the curve, the blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "nms/curve.h"
#include "soft_nms/rule.h"
#include "soft_nms/soft_nms.h"

namespace pyifcn {

// Suppresses again and again by one rule, on one thread.
template <class E>
class SoftSuppressor {
public:
  explicit SoftSuppressor(const SoftNmsRule& rule);

  // Writes kept[i], the score with which box i is kept, for those of `members`, indices of rows of `boxes`
  // and `scores`, that are. The others' elements are left alone.
  void run(const E* boxes, const E* scores, const std::vector<uint32_t>& members, E* kept);

private:
  struct Scored {
    Box<E> box;
    E score;
    uint32_t index;
  };

  void place(std::vector<Scored>& there);
  void fill(std::vector<Scored>& there);
  std::vector<Scored> survivors() const;

  SoftNmsJob<E> job_;
  int64_t (*const kernel_)(const SoftNmsJob<E>&, int64_t, int64_t);
  std::vector<ScoredBlock<E>> blocks_;
  std::vector<BoxBlock<E>> bounds_;
  std::vector<E> best_;
  std::vector<uint32_t> best_index_;
};

}  // namespace pyifcn
