#include "mask_voting/elect.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/dispatch.h"
#include "core/parallel.h"
#include "nms/radix.h"

namespace pyifcn {
namespace {

// The detections that score most, in their order. Of those that score as the last of them, all, or where
// `exact` is set as many as there is room for, the first ones.
std::vector<Detection> best(const std::vector<std::vector<Detection>>& by_class, size_t most, bool exact) {
  std::vector<Detection> all;
  for (const auto& detections : by_class) all.insert(all.end(), detections.begin(), detections.end());
  if (all.size() <= most) return all;
  if (most == 0) return {};
  std::vector<float> scores;
  for (const Detection& detection : all) scores.push_back(detection.score);
  std::nth_element(scores.begin(), scores.begin() + int64_t(most) - 1, scores.end(), std::greater<>());
  const float least = scores[most - 1];
  size_t room = most;  // for those that score just that
  for (const Detection& detection : all) room -= detection.score > least;
  std::erase_if(all, [&](const Detection& detection) {
    if (detection.score != least || !exact) return detection.score < least;
    return room == 0 || room-- == 0;
  });
  return all;
}

}  // namespace

template <class E>
Electorate::Table<E>::Table(const View<const float, 2>& boxes, float last) {
  const int64_t count = boxes.shape[0], room = padded(count);
  columns.assign(size_t(5 * room), std::numeric_limits<E>::quiet_NaN());
  E* x1 = columns.data();
  E *y1 = x1 + room, *x2 = y1 + room, *y2 = x2 + room, *area = y2 + room;
  for (int64_t i = 0; i < count; ++i) {
    const float* box = boxes.data + 4 * i;
    if (!std::all_of(box, box + 4, [](float corner) { return std::abs(corner) <= kFarthest; })) continue;
    x1[i] = E(box[0]), y1[i] = E(box[1]), x2[i] = E(box[2]), y2[i] = E(box[3]);
    area[i] = (x2[i] - x1[i] + E(last)) * (y2[i] - y1[i] + E(last));
  }
  corners = {x1, y1, x2, y2, area, room / 64, E(last)};
}

Electorate::Electorate(View<const float, 2> boxes, View<const float, 2> scores, const Convention& convention)
    : scores_(scores),
      convention_(convention),
      single_(boxes, convention.last),
      double_(boxes, convention.last) {}

std::vector<Detection> Electorate::suppress(int32_t label, float threshold, int64_t most) const {
  const int64_t classes = scores_.shape[1];
  std::vector<Keyed<uint32_t>> places;
  for (int64_t i = 0; i < scores_.shape[0]; ++i) {
    const float score = scores_.data[i * classes + label] + 0.0f;  // -0 becomes 0
    if (score >= convention_.least_score) places.push_back({~std::bit_cast<uint32_t>(score), uint32_t(i)});
  }
  std::vector<Keyed<uint32_t>> scratch(places.size());
  sort_by_key(places.data(), scratch.data(), int64_t(places.size()));
  const auto kernel = dispatch([]<Target T>() { return &overlapping<T, float>; });
  std::vector<uint64_t> gone(size_t(single_.corners.words)), found(gone.size());
  std::vector<Detection> kept;
  for (const auto& place : places) {
    if (int64_t(kept.size()) == most) break;
    if (gone[place.index / 64] >> place.index % 64 & 1) continue;
    kept.push_back({label, int32_t(place.index), std::bit_cast<float>(~place.key)});
    kernel(single_.corners, place.index, threshold, found.data());
    for (size_t k = 0; k < gone.size(); ++k) gone[k] |= found[k];
  }
  return kept;
}

std::vector<Detection> Electorate::detect(float threshold, int64_t most, int threads) const {
  const int64_t classes = std::max<int64_t>(scores_.shape[1] - 1, 0);
  std::vector<std::vector<Detection>> by_class{size_t(classes)};
  parallel_for(classes, 1, threads, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) by_class[size_t(c)] = suppress(int32_t(c + 1), threshold, most);
  });
  return best(by_class, size_t(most), convention_.full);
}

Ballot Electorate::ballot(const Detection& detection, double merge_threshold) const {
  const auto kernel = dispatch([]<Target T>() { return &overlapping<T, double>; });
  std::vector<uint64_t> found(size_t(double_.corners.words));
  kernel(double_.corners, detection.box,
         std::nextafter(merge_threshold, -std::numeric_limits<double>::infinity()), found.data());
  Ballot ballot;
  for (size_t k = 0; k < found.size(); ++k)
    for (uint64_t bits = found[k]; bits; bits &= bits - 1) {
      const int64_t j = int64_t(64 * k) + std::countr_zero(bits);
      const float score = scores_.data[j * scores_.shape[1] + detection.label];
      if (!(score > 0)) continue;
      ballot.boxes.push_back(int32_t(j));
      ballot.scores.push_back(double(score));
    }
  return ballot;
}

}  // namespace pyifcn
