#include <cstring>
#include <limits>
#include <numeric>

#include "core/at_most.h"
#include "core/dispatch.h"
#include "nms/falling.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kListBoxes = 400;  // so few are compared all with all sooner than a tree is built
constexpr int64_t kTopBlocks = 4;    // as many are looked at one by one sooner than a level is put above them
constexpr int kBlock = BoxBlock<float>::kSize;

}  // namespace

template <class E>
std::vector<uint32_t> order_by_score(const E* scores, int64_t count) {
  using K = ScoreKey<E>;
  std::vector<Keyed<K>> items(static_cast<size_t>(count)), scratch(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) items[size_t(i)] = {falling(scores[i]), uint32_t(i)};
  sort_by_key(items.data(), scratch.data(), count);
  std::vector<uint32_t> order(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) order[size_t(i)] = items[size_t(i)].index;
  return order;
}

template <class E>
Suppressor<E>::Suppressor(double threshold, int64_t most_boxes, Suppressing who)
    : threshold_(threshold),
      who_(who),
      in_list_(dispatch([]<Target T>() { return &nms_in_list<T, E>; })),
      in_tree_(dispatch([]<Target T>() { return &nms_in_tree<T, E>; })),
      memory_(new std::byte[lay_out(nullptr, most_boxes)]) {
  lay_out(memory_.get(), most_boxes);
}

// Points into `memory` for the arrays that so many boxes need, and returns its size.
template <class E>
size_t Suppressor<E>::lay_out(std::byte* memory, int64_t boxes) {
  constexpr size_t kLine = 64;  // of the cache: a vector never straddles two
  const auto address = reinterpret_cast<uintptr_t>(memory);
  size_t size = (kLine - address % kLine) % kLine;
  const auto take = [&]<class T>(T*& array, int64_t count) {
    array = reinterpret_cast<T*>(address + size);
    size += (size_t(count) * sizeof(T) + kLine - 1) / kLine * kLine;
  };
  const int64_t leaves = boxes / kBlock + 1, inner = leaves / (kBlock - 1) + NmsJob<E>::kMaxLevels;
  take(boxes_, boxes);
  take(places_, boxes);
  take(scratch_, boxes);
  take(slots_, boxes);
  take(owners_, boxes);
  take(leaves_, leaves);
  take(bounds_, inner);
  take(alive_, leaves + inner);
  take(frontiers_[0], leaves + kBlock);
  take(frontiers_[1], leaves + kBlock);
  return size + kLine;
}

template <class E>
void Suppressor<E>::run(const E* boxes, const uint32_t* order, int64_t count, uint8_t* keep,
                        uint32_t* owners) {
  if (threshold_ >= 1) {  // the intersection is never more than the union, not even rounded
    std::fill_n(keep, count, uint8_t(1));
    if (owners) std::iota(owners, owners + count, 0u);
    return;
  }
  for (int64_t i = 0; i < count; ++i) std::memcpy(&boxes_[i], boxes + 4 * int64_t(order[i]), sizeof(Box<E>));
  if (threshold_ < 0 || count <= kListBoxes)
    run_in_list(count, keep, owners);
  else
    run_in_tree(count, keep, owners);
}

template <class E>
void Suppressor<E>::run_in_list(int64_t count, uint8_t* keep, uint32_t* owners) {
  for (int64_t i = 0; i < count; ++i) places_[i].index = uint32_t(i);
  NmsJob<E> job = fill_leaves(count);
  job.count = count;
  job.keep = keep;
  job.owners = owners;
  in_list_(job);
}

template <class E>
void Suppressor<E>::run_in_tree(int64_t count, uint8_t* keep, uint32_t* owners) {
  int64_t placed = 0;
  for (int64_t i = 0; i < count; ++i) {
    slots_[i] = NmsJob<E>::kNoSlot;
    if (can_overlap(boxes_[i])) places_[placed++].index = uint32_t(i);
  }
  along_curve(boxes_, places_, scratch_, placed, kBlock);
  for (int64_t i = 0; i < placed; ++i) slots_[places_[i].index] = uint32_t(i);
  NmsJob<E> job = fill_leaves(placed);
  fill_bounds(job);
  job.count = count;
  job.keep = keep;
  job.owners = owners ? owners_ : nullptr;
  in_tree_(job);
  if (!owners) return;
  for (int64_t i = 0; i < count; ++i)
    owners[i] = slots_[i] == NmsJob<E>::kNoSlot ? uint32_t(i) : owners_[slots_[i]];
}

// Puts the boxes into blocks in the order of their places.
template <class E>
NmsJob<E> Suppressor<E>::fill_leaves(int64_t count) {
  NmsJob<E> job{};
  job.slots = slots_;
  job.threshold = at_most<E>(threshold_);
  job.leaves = leaves_;
  job.leaf_count = (count + kBlock - 1) / kBlock;
  job.alive[0] = alive_;
  job.frontiers[0] = frontiers_[0];
  job.frontiers[1] = frontiers_[1];
  job.levels = 1;
  job.gone_suppress = who_ == Suppressing::all;
  std::fill_n(alive_, job.leaf_count, uint16_t(0xffff));
  if (count % kBlock != 0) alive_[job.leaf_count - 1] = uint16_t((1u << count % kBlock) - 1);
  for (int64_t i = 0; i < count; ++i) {
    BoxBlock<E>& leaf = leaves_[i / kBlock];
    const auto lane = i % kBlock;
    const Box<E>& box = boxes_[places_[i].index];
    leaf.x1[lane] = box.x1;
    leaf.y1[lane] = box.y1;
    leaf.x2[lane] = box.x2;
    leaf.y2[lane] = box.y2;
    leaf.area[lane] = (box.x2 - box.x1) * (box.y2 - box.y1);
  }
  return job;
}

// Builds the levels above the leaves.
template <class E>
void Suppressor<E>::fill_bounds(NmsJob<E>& job) {
  job.top_blocks = job.leaf_count;
  BoundsBlock<E>* next = bounds_;
  for (; job.top_blocks > kTopBlocks; ++job.levels) {
    const int level = job.levels;
    const int64_t below = job.top_blocks;
    job.top_blocks = (below + kBlock - 1) / kBlock;
    job.bounds[level] = next;
    job.alive[level] = job.alive[level - 1] + below;
    next += job.top_blocks;
    std::fill_n(job.alive[level], job.top_blocks, uint16_t(0));
    for (int64_t i = 0; i < below; ++i) {
      const BoxBlock<E>& from = level == 1 ? job.leaves[i] : job.bounds[level - 1][i];
      const E* most_area = level == 1 ? from.area : job.bounds[level - 1][i].most_area;
      const int size = 32 - __builtin_clz(job.alive[level - 1][i]);
      BoundsBlock<E>& into = job.bounds[level][i / kBlock];
      const auto entry = i % kBlock;
      into.x1[entry] = *std::min_element(from.x1, from.x1 + size);
      into.y1[entry] = *std::min_element(from.y1, from.y1 + size);
      into.x2[entry] = *std::max_element(from.x2, from.x2 + size);
      into.y2[entry] = *std::max_element(from.y2, from.y2 + size);
      into.area[entry] = *std::min_element(from.area, from.area + size);
      into.most_area[entry] = *std::max_element(most_area, most_area + size);
      job.alive[level][i / kBlock] |= uint16_t(1u << entry);
    }
  }
}

template std::vector<uint32_t> order_by_score(const float*, int64_t);
template std::vector<uint32_t> order_by_score(const double*, int64_t);
template class Suppressor<float>;
template class Suppressor<double>;

}  // namespace pyifcn
