// What tells one implementation of mask voting from another. Coordinates of pixels count from 0; a box covers
// `side` pixels along an axis. CUDA kernels compute with the very same functions.
#pragma once

#include <cfloat>
#include <cmath>
#include <string>

#include "core/at_most.h"
#include "core/check.h"
#include "core/target.h"
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

struct VotingOptions {
  int64_t height, width;  // of the image
  double nms_threshold, merge_threshold, binary_threshold;
  int64_t most;
  Convention convention;

  // What values are compared with, as float32 as in the originals; above 0, however small the double.
  PYIFCN_INLINE float foreground() const {
    const float threshold = float(binary_threshold);
    return threshold > 0 ? threshold : FLT_TRUE_MIN;
  }

  // What NMS compares with, as float32 as in the originals; else what says the same of all float32.
  float suppressing() const { return convention.last ? float(nms_threshold) : at_most<float>(nms_threshold); }
};

template <class E>
PYIFCN_INLINE E between(E value, E low, E high) {
  return value < low ? low : high < value ? high : value;
}

// Pixels [first, end) along one axis.
struct PixelRange {
  int64_t first = 0, end = 0;
  PYIFCN_INLINE int64_t size() const { return end - first; }
};

// One axis of a box: where it starts, how many pixels it covers, and those whose sample lies inside both it
// and the image.
struct BoxAxis {
  double start, side;
  PixelRange pixels;

  PYIFCN_INLINE BoxAxis(const Convention& convention, double low, double high, int64_t image_side)
      : start(convention.rounded ? nearbyint(low) : low) {
    const double end = convention.rounded ? nearbyint(high) : high;
    side = end - start + double(convention.last);
    const double first = convention.last != 0 ? ceil(start) : ceil(start - 0.5);
    const double past = convention.last != 0 ? floor(end) + 1 : ceil(end - 0.5);
    pixels.first = int64_t(between(first, 0.0, double(image_side)));
    pixels.end = int64_t(between(past, 0.0, double(image_side)));
    if (pixels.end < pixels.first) pixels.end = pixels.first;
  }
};

// Both axes of box (x1, y1, x2, y2).
struct BoxAxes {
  BoxAxis x, y;

  PYIFCN_INLINE BoxAxes(const VotingOptions& options, const float* box)
      : x(options.convention, box[0], box[2], options.width),
        y(options.convention, box[1], box[3], options.height) {}
  PYIFCN_INLINE bool empty() const { return x.pixels.size() == 0 || y.pixels.size() == 0; }
};

// MNC's GPU version computes coordinates as float32, and it matters where it changes from mixing to the
// nearest.
PYIFCN_INLINE bool in_float32(const Convention& convention) { return convention.centre == 0; }

// The place moved into [0, last].
PYIFCN_INLINE Tap tap_at(double place, int64_t last) {
  const float at = between(float(place), 0.0f, float(last));
  const int64_t low = int64_t(at) < last ? int64_t(at) : last, high = low < last ? low + 1 : last;
  const float part = low == last ? 0 : at - float(low);
  return {int32_t(low), int32_t(high), 1 - part, part};
}

// Where the pixels of a box lie in its mask, computed in E.
template <class E>
struct RenderTaps {
  E start, scale, centre;
  int64_t last;

  RenderTaps() = default;
  PYIFCN_INLINE RenderTaps(const Convention& convention, const BoxAxis& span, int64_t mask_side)
      : start(E(span.start)),
        scale(E(mask_side) / E(span.side)),
        centre(E(convention.centre)),
        last(mask_side - 1) {}
  PYIFCN_INLINE Tap operator()(int64_t pixel) const {
    return tap_at((E(pixel) - start + centre) * scale - centre, last);
  }
};

// Where the elements of a merged mask lie in the image, computed in E.
template <class E>
struct ResampleTaps {
  int64_t origin, last;
  E start, scale, centre;

  PYIFCN_INLINE ResampleTaps(const Convention& convention, PixelRange box, int64_t mask_side,
                             int64_t image_side)
      : origin(convention.whole ? 0 : box.first),
        last(convention.whole ? image_side - 1 : box.size() - 1),
        start(E(box.first - origin)),
        scale(E(box.size()) / E(mask_side)),
        centre(E(convention.centre)) {}
  PYIFCN_INLINE Tap operator()(int64_t element) const {
    Tap tap = tap_at(start + (E(element) + centre) * scale - centre, last);
    tap.low += int32_t(origin);
    tap.high += int32_t(origin);
    return tap;
  }
};

}  // namespace pyifcn
