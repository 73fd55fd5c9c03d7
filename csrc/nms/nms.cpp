#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/dispatch.h"
#include "nms/suppressor.h"

namespace pyifcn {
namespace {

constexpr int64_t kListBoxes = 256;  // so few are compared all with all sooner than a tree is built
constexpr int kBlock = BoxBlock<float>::kSize;

// An unsigned integer that rises as the score falls.
template <class E>
auto falling(E score) {
  using K = std::conditional_t<sizeof(E) == 4, uint32_t, uint64_t>;
  if (std::isnan(score)) return K(0);
  score += E(0);  // -0 becomes 0
  K bits;
  std::memcpy(&bits, &score, sizeof bits);
  constexpr K kSign = K(1) << (8 * sizeof(K) - 1);
  return K(bits & kSign ? bits : K(~bits) & ~kSign);
}

// The largest E that is not above `threshold`.
template <class E>
E round_down(double threshold) {
  const E rounded = E(threshold);
  return double(rounded) > threshold ? std::nextafter(rounded, -std::numeric_limits<E>::infinity()) : rounded;
}

template <class E, class Box>
bool can_overlap(const Box& b) {
  const E width = b.x2 - b.x1, height = b.y2 - b.y1, area = width * height;
  return width > 0 && height > 0 && area > 0 && area <= std::numeric_limits<E>::max();
}

// The bits of a byte, each three places from the next.
constexpr auto kSpread = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte)
    for (uint32_t bit = 0; bit < 8; ++bit) table[byte] |= (byte >> bit & 1) << (4 * bit);
  return table;
}();

// One coordinate's range, cut into 256 steps. Halves, so that no difference overflows.
struct Steps {
  double low = std::numeric_limits<double>::infinity(), high = -low, scale = 0;

  void widen(double value) {
    low = std::min(low, value / 2);
    high = std::max(high, value / 2);
  }
  void cut() {
    scale = 256 / (high - low);
    if (!(scale <= std::numeric_limits<double>::max())) scale = 0;
  }
  uint32_t operator()(double value) const {
    return kSpread[size_t(std::min(255, int((value / 2 - low) * scale)))];
  }
};

}  // namespace

template <class E>
std::vector<uint32_t> order_by_score(const E* scores, int64_t count) {
  using K = decltype(falling(E(0)));
  std::vector<Keyed<K>> items(static_cast<size_t>(count)), scratch(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) items[size_t(i)] = {falling(scores[i]), uint32_t(i)};
  sort_by_key(items.data(), scratch.data(), count);
  std::vector<uint32_t> order(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) order[size_t(i)] = items[size_t(i)].index;
  return order;
}

template <class E>
Suppressor<E>::Suppressor(double threshold)
    : threshold_(threshold),
      in_list_(dispatch([]<Target T>() { return &nms_in_list<T, E>; })),
      in_tree_(dispatch([]<Target T>() { return &nms_in_tree<T, E>; })) {}

template <class E>
void Suppressor<E>::run(const E* boxes, const uint32_t* order, int64_t count, uint8_t* keep) {
  if (threshold_ >= 1) {  // the intersection is never more than the union, not even rounded
    std::fill_n(keep, count, uint8_t(1));
    return;
  }
  boxes_.resize(size_t(count));
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(&boxes_[size_t(i)], boxes + 4 * int64_t(order[i]), sizeof(Box));
  if (threshold_ < 0 || count <= kListBoxes)
    run_in_list(count, keep);
  else
    run_in_tree(count, keep);
}

template <class E>
void Suppressor<E>::run_in_list(int64_t count, uint8_t* keep) {
  places_.resize(size_t(count));
  for (int64_t i = 0; i < count; ++i) places_[size_t(i)].index = uint32_t(i);
  fill_leaves(count);
  NmsJob<E> job{};
  job.count = count;
  job.threshold = round_down<E>(threshold_);
  job.leaves = leaves_.data();
  job.leaf_count = int64_t(leaves_.size());
  job.levels = 1;
  job.alive[0] = alive_.data();
  job.keep = keep;
  in_list_(job);
}

template <class E>
void Suppressor<E>::run_in_tree(int64_t count, uint8_t* keep) {
  slots_.assign(size_t(count), NmsJob<E>::kNoSlot);
  places_.clear();
  for (int64_t i = 0; i < count; ++i)
    if (can_overlap<E>(boxes_[size_t(i)])) places_.push_back({0, uint32_t(i)});
  const int64_t placed = int64_t(places_.size());
  scratch_.resize(size_t(placed));
  arrange(0, placed);
  for (int64_t i = 0; i < placed; ++i) slots_[places_[size_t(i)].index] = uint32_t(i);
  fill_leaves(placed);
  NmsJob<E> job{};
  job.count = count;
  job.slots = slots_.data();
  job.threshold = round_down<E>(threshold_);
  job.leaves = leaves_.data();
  job.leaf_count = int64_t(leaves_.size());
  fill_bounds(job);
  frontiers_.resize(2 * leaves_.size());
  job.frontiers[0] = frontiers_.data();
  job.frontiers[1] = frontiers_.data() + leaves_.size();
  job.keep = keep;
  in_tree_(job);
}

// Puts places [begin, end) along a space-filling curve through the space of boxes, x1 y1 x2 y2: the bits of
// the four steps interleaved. Boxes in one step of all four are arranged again among themselves, so that one
// far outlier does not make a heap of all others.
template <class E>
void Suppressor<E>::arrange(int64_t begin, int64_t end) {
  if (end - begin <= kBlock) return;
  Steps x1, y1, x2, y2;
  for (int64_t i = begin; i < end; ++i) {
    const Box& box = boxes_[places_[size_t(i)].index];
    x1.widen(box.x1), y1.widen(box.y1), x2.widen(box.x2), y2.widen(box.y2);
  }
  for (Steps* steps : {&x1, &y1, &x2, &y2}) steps->cut();
  for (int64_t i = begin; i < end; ++i) {
    const Box& box = boxes_[places_[size_t(i)].index];
    places_[size_t(i)].key = x1(box.x1) << 3 | y1(box.y1) << 2 | x2(box.x2) << 1 | y2(box.y2);
  }
  sort_by_key(places_.data() + begin, scratch_.data() + begin, end - begin);
  for (int64_t i = begin; i < end;) {
    int64_t next = i + 1;
    while (next < end && places_[size_t(next)].key == places_[size_t(i)].key) ++next;
    if (next - i < end - begin) arrange(i, next);
    i = next;
  }
}

template <class E>
void Suppressor<E>::fill_leaves(int64_t count) {
  leaves_.resize(size_t((count + kBlock - 1) / kBlock));
  alive_.assign(leaves_.size(), 0xffff);
  for (int64_t i = 0; i < count; ++i) {
    BoxBlock<E>& leaf = leaves_[size_t(i / kBlock)];
    const auto lane = i % kBlock;
    const Box& box = boxes_[places_[size_t(i)].index];
    leaf.x1[lane] = box.x1;
    leaf.y1[lane] = box.y1;
    leaf.x2[lane] = box.x2;
    leaf.y2[lane] = box.y2;
    leaf.area[lane] = (box.x2 - box.x1) * (box.y2 - box.y1);
  }
  if (count % kBlock != 0) alive_.back() = uint16_t((1u << count % kBlock) - 1);
}

template <class E>
void Suppressor<E>::fill_bounds(NmsJob<E>& job) {
  int64_t inner = 0;
  job.levels = 1;
  for (int64_t blocks = job.leaf_count; blocks > 1; ++job.levels)
    inner += blocks = (blocks + kBlock - 1) / kBlock;
  bounds_.resize(size_t(inner));
  alive_.resize(leaves_.size() + size_t(inner), 0);
  job.alive[0] = alive_.data();
  BoundsBlock<E>* next = bounds_.data();
  int64_t below_count = job.leaf_count;
  for (int level = 1; level < job.levels; ++level) {
    const int64_t blocks = (below_count + kBlock - 1) / kBlock;
    job.bounds[level] = next;
    job.alive[level] = job.alive[level - 1] + below_count;
    next += blocks;
    for (int64_t i = 0; i < below_count; ++i) {
      BoundsBlock<E>& into = job.bounds[level][i / kBlock];
      const auto entry = i % kBlock;
      const uint32_t lanes = job.alive[level - 1][i];
      const BoxBlock<E>& from = level == 1 ? job.leaves[i] : job.bounds[level - 1][i];
      const E* most = level == 1 ? from.area : job.bounds[level - 1][i].most_area;
      const auto last = 31 - __builtin_clz(lanes);
      into.x1[entry] = *std::min_element(from.x1, from.x1 + last + 1);
      into.y1[entry] = *std::min_element(from.y1, from.y1 + last + 1);
      into.x2[entry] = *std::max_element(from.x2, from.x2 + last + 1);
      into.y2[entry] = *std::max_element(from.y2, from.y2 + last + 1);
      into.area[entry] = *std::min_element(from.area, from.area + last + 1);
      into.most_area[entry] = *std::max_element(most, most + last + 1);
      job.alive[level][i / kBlock] |= uint16_t(1u << entry);
    }
    below_count = blocks;
  }
}

template std::vector<uint32_t> order_by_score(const float*, int64_t);
template std::vector<uint32_t> order_by_score(const double*, int64_t);
template class Suppressor<float>;
template class Suppressor<double>;

}  // namespace pyifcn
