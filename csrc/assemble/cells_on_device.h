// The checked cells of score maps, for the CUDA bindings.
#pragma once

#include <cstdint>
#include <string>

#include "assemble/cells.h"
#include "assemble/cells_cuda.h"
#include "core/bind.h"

namespace pyifcn {

inline Cells cells_on_device(const std::string& cells, const Array& maps, int64_t size) {
  const int64_t grid = grid_of(maps);
  require(size <= Cells::kMostSize, "size is ", size, ", expected at most ", Cells::kMostSize, " on a GPU");
  cells_of(cells, grid, size);  // for its checks
  for (int axis : {2, 3})
    require(maps.shape[axis] <= 1 << 30, maps.name, " has a side of ", maps.shape[axis],
            " pixels, expected at most ", 1 << 30);
  return {int32_t(grid), int32_t(size), cells == "nearest"};
}

}  // namespace pyifcn
