#include "soft_nms/soft_suppressor.h"

#include <algorithm>
#include <cmath>

#include "core/dispatch.h"

namespace pyifcn {
namespace {

constexpr int64_t kBlock = BoxBlock<float>::kSize;

// Where so many are left or fewer, thinning them out again is not worth its while.
constexpr int64_t kFew = 4 * kBlock;

}  // namespace

template <class E>
SoftSuppressor<E>::SoftSuppressor(const SoftNmsRule& rule)
    : job_{}, kernel_(dispatch([]<Target T>() { return &soft_nms<T, E>; })) {
  const SoftNmsRuleIn<E> rounded(rule);
  job_.gaussian = rounded.gaussian;
  job_.threshold = rounded.threshold;
  job_.sigma = rounded.sigma;
  job_.min_score = rounded.min_score;
}

template <class E>
void SoftSuppressor<E>::run(const E* boxes, const E* scores, const std::vector<uint32_t>& members, E* kept) {
  job_.kept = kept;
  std::vector<Scored> there;
  for (const uint32_t i : members) {
    if (!(scores[i] >= job_.min_score)) continue;
    const E* b = boxes + 4 * int64_t(i);
    const Scored scored{{b[0], b[1], b[2], b[3]}, scores[i], i};
    if (can_overlap(scored.box))
      there.push_back(scored);
    else
      kept[i] = scored.score;
  }
  place(there);
  while (!there.empty()) {
    fill(there);
    const int64_t left = int64_t(there.size());
    kernel_(job_, left, left > kFew ? left / 2 : 0);
    there = survivors();
  }
}

// Puts the boxes in the order of their places along the curve.
template <class E>
void SoftSuppressor<E>::place(std::vector<Scored>& there) {
  const size_t count = there.size();
  std::vector<Box<E>> boxes(count);
  std::vector<Keyed<uint32_t>> places(count), scratch(count);
  for (size_t i = 0; i < count; ++i) {
    boxes[i] = there[i].box;
    places[i].index = uint32_t(i);
  }
  along_curve(boxes.data(), places.data(), scratch.data(), int64_t(count), kBlock);
  std::vector<Scored> placed(count);
  for (size_t i = 0; i < count; ++i) placed[i] = there[places[i].index];
  there = std::move(placed);
}

template <class E>
void SoftSuppressor<E>::fill(std::vector<Scored>& there) {
  const int64_t count = int64_t(there.size());
  const size_t blocks = size_t((count + kBlock - 1) / kBlock), groups = (blocks + kBlock - 1) / kBlock;
  constexpr E kInfinity = std::numeric_limits<E>::infinity();
  blocks_.assign(blocks, {});
  bounds_.resize(groups);
  best_.assign(groups * kBlock, ScoredBlock<E>::kNone);
  best_index_.resize(groups * kBlock);
  for (BoxBlock<E>& none : bounds_)
    for (int64_t i = 0; i < kBlock; ++i)
      none.x1[i] = none.y1[i] = kInfinity, none.x2[i] = none.y2[i] = -kInfinity;
  for (size_t b = 0; b < blocks; ++b) {
    const auto begin = there.begin() + int64_t(b) * kBlock;
    const auto end = there.begin() + std::min(count, int64_t(b + 1) * kBlock);
    std::sort(begin, end, [](const Scored& a, const Scored& z) { return a.index < z.index; });
    ScoredBlock<E>& block = blocks_[b];
    std::fill_n(block.scores, kBlock, block.kNone);
    BoxBlock<E>& bounds = bounds_[b / kBlock];
    const size_t entry = b % kBlock;
    for (auto scored = begin; scored != end; ++scored) {
      const auto lane = scored - begin;
      const Box<E>& box = scored->box;
      block.x1[lane] = box.x1, block.y1[lane] = box.y1, block.x2[lane] = box.x2, block.y2[lane] = box.y2;
      block.area[lane] = (box.x2 - box.x1) * (box.y2 - box.y1);
      block.scores[lane] = scored->score;
      block.index[lane] = scored->index;
      bounds.x1[entry] = std::min(bounds.x1[entry], box.x1);
      bounds.y1[entry] = std::min(bounds.y1[entry], box.y1);
      bounds.x2[entry] = std::max(bounds.x2[entry], box.x2);
      bounds.y2[entry] = std::max(bounds.y2[entry], box.y2);
      if (lane == 0 || scored->score > best_[b]) best_[b] = scored->score, best_index_[b] = scored->index;
    }
  }
  job_.block_count = int64_t(blocks);
  job_.blocks = blocks_.data();
  job_.bounds = bounds_.data();
  job_.best = best_.data();
  job_.best_index = best_index_.data();
}

template <class E>
auto SoftSuppressor<E>::survivors() const -> std::vector<Scored> {
  std::vector<Scored> there;
  for (const ScoredBlock<E>& block : blocks_)
    for (int64_t i = 0; i < kBlock; ++i)
      if (!std::isnan(block.scores[i]))
        there.push_back(
            {{block.x1[i], block.y1[i], block.x2[i], block.y2[i]}, block.scores[i], block.index[i]});
  return there;
}

template class SoftSuppressor<float>;
template class SoftSuppressor<double>;

}  // namespace pyifcn
