// Between run-length codes and the packed bits of Masks.
#pragma once

#include "masks/mask_view.h"
#include "rle/runs.h"

namespace pyifcn {

class RunsOfPacked {
public:
  explicit RunsOfPacked(ImageSize size) : edges_(size) {}

  void operator()(const MaskView& mask, Runs& runs);

private:
  Edges edges_;
};

// The mask of runs that sum to the image's pixels.
PackedMask pack_runs(RunsSpan runs, ImageSize size);

}  // namespace pyifcn
