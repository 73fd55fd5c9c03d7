// What tells one implementation of mask voting from another. Coordinates of pixels count from 0; a box covers
// `side` pixels along an axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/check.h"
#include "mask_voting/mask_voting.h"

namespace pyifcn {

struct Convention {
  const char* name;
  float last;         // 1: x2 and y2 are of the last pixel inside; 0: half-open
  bool rounded;       // boxes are rounded to whole pixels, halves to even, before they are rendered
  double centre;      // where in a pixel samples are taken
  bool binary;        // masks vote with their bits, not with their values
  bool whole;         // the merged mask is resampled from the image, not from its box alone
  bool drops_thin;    // results one pixel wide or high are dropped
  bool full;          // results are masks of the image, in half-open boxes
  float least_score;  // detections that score less are dropped
};

inline constexpr Convention kConventions[] = {
    {"fcis", 1, true, 0.5, true, true, true, false, 1e-3f},
    {"fcis_cpu", 1, true, 0.5, true, false, false, false, 1e-3f},
    {"mnc", 1, false, 0, false, true, false, false, 0},
    {"mnc_cpu", 1, true, 0.5, true, false, false, false, 0},
    {"pyifcn", 0, false, 0.5, true, true, false, true, 0},
};

inline const Convention& convention_of(const std::string& name) {
  for (const Convention& convention : kConventions)
    if (name == convention.name) return convention;
  throw std::invalid_argument(
      sentence("convention is '", name,
               "', expected 'fcis', 'fcis_gpu', 'fcis_cpu', 'mnc', 'mnc_gpu', 'mnc_cpu' or 'pyifcn'"));
}

// Pixels [first, end) along one axis.
struct PixelRange {
  int64_t first = 0, end = 0;
  int64_t size() const { return end - first; }
};

// One axis of a box: where it starts, how many pixels it covers, and those whose sample lies inside both it
// and the image.
struct BoxAxis {
  double start, side;
  PixelRange pixels;

  BoxAxis(const Convention& convention, double low, double high, int64_t image_side)
      : start(convention.rounded ? std::nearbyint(low) : low) {
    const double end = convention.rounded ? std::nearbyint(high) : high;
    side = end - start + double(convention.last);
    const double first = convention.last ? std::ceil(start) : std::ceil(start - 0.5);
    const double past = convention.last ? std::floor(end) + 1 : std::ceil(end - 0.5);
    pixels.first = int64_t(std::clamp(first, 0.0, double(image_side)));
    pixels.end = std::max(pixels.first, int64_t(std::clamp(past, 0.0, double(image_side))));
  }
};

// Calls fill(E()): MNC's GPU version computes coordinates as float32, and it matters where it changes from
// mixing to the nearest.
template <class Fill>
void in_arithmetic_of(const Convention& convention, Fill fill) {
  if (convention.centre == 0)
    fill(float());
  else
    fill(double());
}

// The place moved into [0, last].
inline Tap tap_at(double place, int64_t last) {
  const float at = std::clamp(float(place), 0.0f, float(last));
  const int64_t low = std::min(int64_t(at), last);
  const float part = low == last ? 0 : at - float(low);
  return {int32_t(low), int32_t(std::min(low + 1, last)), 1 - part, part};
}

// Where the pixels of a box lie in its mask.
inline void fill_render_taps(const Convention& convention, const BoxAxis& span, int64_t mask_side,
                             std::vector<Tap>& taps) {
  taps.resize(size_t(span.pixels.size()));
  in_arithmetic_of(convention, [&]<class E>(E) {
    const E start = E(span.start), scale = E(mask_side) / E(span.side), centre = E(convention.centre);
    for (size_t k = 0; k < taps.size(); ++k) {
      const E pixel = E(span.pixels.first + int64_t(k));
      taps[k] = tap_at((pixel - start + centre) * scale - centre, mask_side - 1);
    }
  });
}

// Where the elements of a merged mask lie in the image.
inline void fill_resample_taps(const Convention& convention, PixelRange box, int64_t mask_side,
                               int64_t image_side, std::vector<Tap>& taps) {
  taps.resize(size_t(mask_side));
  const int64_t origin = convention.whole ? 0 : box.first,
                last = convention.whole ? image_side - 1 : box.size() - 1;
  in_arithmetic_of(convention, [&]<class E>(E) {
    const E start = E(box.first - origin), scale = E(box.size()) / E(mask_side),
            centre = E(convention.centre);
    for (size_t k = 0; k < taps.size(); ++k) {
      taps[k] = tap_at(start + (E(k) + centre) * scale - centre, last);
      taps[k].low += int32_t(origin);
      taps[k].high += int32_t(origin);
    }
  });
}

}  // namespace pyifcn
