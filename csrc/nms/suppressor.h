// Non-maximum suppression around the kernels: the order by score, the tree, the memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "nms/curve.h"
#include "nms/nms.h"
#include "nms/radix.h"

namespace pyifcn {

// The indices of the scores, falling; equal ones in their order. As in torch.sort NaN comes first and -0
// equals 0.
template <class E>
std::vector<uint32_t> order_by_score(const E* scores, int64_t count);

// Who suppresses the boxes of lower score: those that are kept, or all, as in Fast NMS.
enum class Suppressing { kept, all };

// Suppresses again and again with one threshold, not NaN, on one thread.
template <class E>
class Suppressor {
public:
  Suppressor(double threshold, int64_t most_boxes, Suppressing who = Suppressing::kept);

  // Writes keep[i] = 1 where the box order[i] of `boxes`, rows of x1, y1, x2, y2, is kept, else 0. `order` is
  // by falling score. Where `owners` is not null, owners[i] is the place in `order` of the box that was kept
  // and took box order[i], its own where it is kept.
  void run(const E* boxes, const uint32_t* order, int64_t count, uint8_t* keep, uint32_t* owners = nullptr);

private:
  size_t lay_out(std::byte* memory, int64_t boxes);
  void run_in_list(int64_t count, uint8_t* keep, uint32_t* owners);
  void run_in_tree(int64_t count, uint8_t* keep, uint32_t* owners);
  NmsJob<E> fill_leaves(int64_t count);
  void fill_bounds(NmsJob<E>& job);

  const double threshold_;
  const Suppressing who_;
  void (*const in_list_)(const NmsJob<E>&);
  void (*const in_tree_)(const NmsJob<E>&);

  // All of it lies in one piece, which the system's allocator gives again to the next call.
  std::unique_ptr<std::byte[]> memory_;
  Box<E>* boxes_;  // by falling score
  Keyed<uint32_t>*places_, *scratch_;
  uint32_t *slots_, *owners_, *frontiers_[2];
  BoxBlock<E>* leaves_;
  BoundsBlock<E>* bounds_;
  uint16_t* alive_;
};

}  // namespace pyifcn
