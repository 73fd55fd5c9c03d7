// What bindings of NMS share: suppressing boxes, all together or each category by itself, and writing down
// what is kept.
#pragma once

#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "nms/arguments.h"
#include "nms/categories.h"
#include "nms/suppressor.h"

namespace pyifcn {

struct Suppression {
  double threshold;
  Suppressing who = Suppressing::kept;
};

// Where the answers go. `keep` has room for all boxes; `groups` may be null.
struct SuppressionOut {
  int64_t* keep;
  int64_t* groups;
};

inline int64_t write_kept(const std::vector<uint32_t>& order, const std::vector<uint8_t>& keep,
                          int64_t* out) {
  int64_t kept = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    out[kept] = order[i];
    kept += keep[i];
  }
  return kept;
}

// `owners` as Suppressor writes them.
inline void write_groups(const uint32_t* order, const std::vector<uint32_t>& owners, int64_t count,
                         int64_t* groups) {
  for (int64_t i = 0; i < count; ++i) groups[order[i]] = order[owners[size_t(i)]];
}

// Returns how many are kept, as all that follow.
template <class E>
int64_t suppress_together(const E* boxes, const E* scores, int64_t count, const Suppression& how,
                          const SuppressionOut& out) {
  const std::vector<uint32_t> order = order_by_score(scores, count);
  std::vector<uint8_t> keep(static_cast<size_t>(count));
  std::vector<uint32_t> owners(out.groups ? size_t(count) : 0);
  Suppressor<E>(how.threshold, count, how.who)
      .run(boxes, order.data(), count, keep.data(), out.groups ? owners.data() : nullptr);
  if (out.groups) write_groups(order.data(), owners, count, out.groups);
  return write_kept(order, keep, out.keep);
}

template <class E>
int64_t suppress_by_category(const E* boxes, const E* scores, const int64_t* idxs, int64_t count,
                             const Suppression& how, const SuppressionOut& out, int threads) {
  constexpr int64_t kGrain = 1 << 12;  // boxes that are worth a thread
  const std::vector<uint32_t> order = order_by_score(scores, count);
  const Categories categories(idxs, order);
  std::vector<uint8_t> keep(order.size());
  parallel_for(
      categories.count(), categories.count() * kGrain / count, threads, [&](int64_t begin, int64_t end) {
        const int64_t most = categories.most(begin, end);
        Suppressor<E> suppressor(how.threshold, most, how.who);
        std::vector<uint32_t> members(static_cast<size_t>(most)), owners(out.groups ? size_t(most) : 0);
        std::vector<uint8_t> kept(static_cast<size_t>(most));
        for (int64_t c = begin; c < end; ++c) {
          const int64_t size = categories.size(c);
          const auto* places = categories.begin(c);
          for (int64_t i = 0; i < size; ++i) members[size_t(i)] = order[places[i].index];
          suppressor.run(boxes, members.data(), size, kept.data(), out.groups ? owners.data() : nullptr);
          for (int64_t i = 0; i < size; ++i) keep[places[i].index] = kept[size_t(i)];
          if (out.groups) write_groups(members.data(), owners, size, out.groups);
        }
      });
  return write_kept(order, keep, out.keep);
}

// Calls `work` with the boxes and scores in their type, if there are any.
template <class Work>
int64_t by_box_type(const NmsArguments& a, Work work) {
  if (a.count == 0) return 0;
  if (a.boxes.dtype == Dtype::float32)
    return work(static_cast<const float*>(a.boxes.data), static_cast<const float*>(a.scores.data));
  return work(static_cast<const double*>(a.boxes.data), static_cast<const double*>(a.scores.data));
}

}  // namespace pyifcn
