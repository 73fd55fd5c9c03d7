// What the bindings of both modules share: the checked arguments, and the rule by its name.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <type_traits>

#include "core/bind.h"
#include "ps_roi/bins.h"

namespace pyifcn {

struct PsRoiArguments {
  Array maps, boxes, pooled;  // the maps and what is pooled from them, or the gradients of both
  const std::string& rule;    // "pool", "pool_whole", "align" or "assemble"
  int64_t grid_height, grid_width;
  double scale;
  int64_t ratio;  // samples of a bin along each axis, for "align": less than 2^31

  // The CPU computes in the maps' type; a GPU reads half types, and their boxes in float32.
  void check(bool reads_half) const {
    const bool is_half = maps.dtype == Dtype::float16 || maps.dtype == Dtype::bfloat16;
    if (maps.dtype != Dtype::float32 && maps.dtype != Dtype::float64 && !(reads_half && is_half))
      throw type_error(
          sentence(maps.name, " is ", maps.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
    maps.check_rank(4);
    boxes.check(is_half ? Dtype::float32 : maps.dtype, 2);
    pooled.check(maps.dtype, 4);
    require(boxes.shape[1] == 5, "boxes has shape (", boxes.shape[0], ", ", boxes.shape[1],
            "), expected (N, 5): image, x1, y1, x2, y2");
    const double rounded = maps.dtype == Dtype::float64 ? scale : double(float(scale));
    require(std::isfinite(rounded) && rounded > 0, "spatial_scale is ", scale,
            ", expected a positive number of the maps' type");
    for (const Array* array : {&maps, &pooled})
      for (int axis : {2, 3})
        require(array->shape[axis] <= 1 << 30, array->name, " has a side of ", array->shape[axis],
                " elements, expected at most ", 1 << 30);
    require(rule == "pool" || rule == "pool_whole" || rule == "align" || rule == "assemble", "rule is '",
            rule, "', expected 'pool', 'pool_whole', 'align' or 'assemble'");
    require(ratio < int64_t(1) << 31, "sampling_ratio is ", ratio, ", expected less than 2^31");
    require(grid_height > 0 && grid_width > 0 && pooled.shape[2] % grid_height == 0 &&
                pooled.shape[3] % grid_width == 0,
            "the grid is ", grid_height, " x ", grid_width, ", expected to divide ", pooled.name, ", ",
            pooled.shape[2], " x ", pooled.shape[3]);
    const int64_t cells = grid_height * grid_width;  // each at most 2^30
    require(pooled.shape[0] == boxes.shape[0] && maps.shape[1] % cells == 0 &&
                maps.shape[1] / cells == pooled.shape[1],
            maps.name, " with ", maps.shape[1], " channels, ", boxes.shape[0], " boxes and ", pooled.name,
            " of ", pooled.shape[0], " with ", pooled.shape[1], " channels do not fit together");
  }

  template <class E>
  Rois<E> rois() const {
    // torchvision's bins leave out the last row and column.
    const int64_t unread = rule == "pool" ? 1 : 0;
    return {boxes.view<const E, 2>(),
            E(scale),
            {pooled.shape[2], std::max<int64_t>(maps.shape[2] - unread, 0), ratio},
            {pooled.shape[3], std::max<int64_t>(maps.shape[3] - unread, 0), ratio}};
  }
};

// Calls `work` with std::type_identity of the rule's class.
template <class E, class Work>
void by_rule(const std::string& rule, Work work) {
  if (rule == "align")
    work(std::type_identity<SampledBins<E>>());
  else if (rule == "assemble")
    work(std::type_identity<AssembleBins<E>>());
  else
    work(std::type_identity<PoolBins<E>>());
}

}  // namespace pyifcn
