// Greedy non-maximum suppression around the kernels: the order by score, the tree, the memory.
#pragma once

#include <cstdint>
#include <vector>

#include "nms/nms.h"
#include "nms/radix.h"

namespace pyifcn {

// The indices of the scores, falling; equal ones in their order. As in torch.sort NaN comes first and -0
// equals 0.
template <class E>
std::vector<uint32_t> order_by_score(const E* scores, int64_t count);

// Suppresses again and again with one threshold, not NaN, on one thread. Its memory is linear in the largest
// number of boxes that it has met.
template <class E>
class Suppressor {
public:
  explicit Suppressor(double threshold);

  // Writes keep[i] = 1 where the box order[i] of `boxes`, rows of x1, y1, x2, y2, is kept, else 0. `order` is
  // by falling score.
  void run(const E* boxes, const uint32_t* order, int64_t count, uint8_t* keep);

private:
  struct Box {
    E x1, y1, x2, y2;
  };

  void run_in_list(int64_t count, uint8_t* keep);
  void run_in_tree(int64_t count, uint8_t* keep);
  void arrange(int64_t begin, int64_t end);
  void fill_leaves(int64_t count);
  void fill_bounds(NmsJob<E>& job);

  const double threshold_;
  std::vector<Box> boxes_;  // by falling score
  std::vector<Keyed<uint32_t>> places_, scratch_;
  std::vector<uint32_t> slots_, frontiers_;
  std::vector<BoxBlock<E>> leaves_;
  std::vector<BoundsBlock<E>> bounds_;
  std::vector<uint16_t> alive_;
  void (*in_list_)(const NmsJob<E>&);
  void (*in_tree_)(const NmsJob<E>&);
};

}  // namespace pyifcn
