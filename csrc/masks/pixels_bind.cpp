// Masks from bytes and back.
#include <algorithm>
#include <string>
#include <vector>

#include "core/dispatch.h"
#include "core/operators.h"
#include "masks/build.h"
#include "masks/masks.h"

namespace pyifcn {
namespace {

// Bytes of an array of Python's, however they lie in memory.
struct Pixels {
  const uint8_t* data;
  int64_t rows, width, row_step, column_step;
};

// A mask whose first pixel lies at column `left` and row `top` of an image that cuts it.
class PlacedPixels {
public:
  PlacedPixels(const Pixels& pixels, int64_t left, int64_t top, int64_t height, int64_t width)
      : pixels_(pixels), left_(left), top_(top) {
    extent_ = {std::max<int64_t>(left, 0), std::max<int64_t>(top, 0), std::min(left + pixels.width, width),
               std::min(top + pixels.rows, height), false};
  }

  Extent extent() const { return extent_; }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const int64_t x1 = std::max(64 * first, extent_.x1), x2 = std::min(64 * (first + across), extent_.x2);
    const uint8_t* from =
        pixels_.data + (begin - top_) * pixels_.row_step + (x1 - left_) * pixels_.column_step;
    pack_(from, pixels_.row_step, pixels_.column_step, end - begin, x2 - x1, x1 - 64 * first, to);
  }

private:
  Pixels pixels_;
  int64_t left_, top_;
  Extent extent_;
  decltype(&pack_rows<Target::scalar>) pack_ = dispatch([]<Target T>() { return &pack_rows<T>; });
};

// `array`: bool or uint8 (N, H, W).
py::tuple bind_from_dense(const py::array& array, int threads) {
  const auto* data = static_cast<const uint8_t*>(array.data());
  const int64_t height = array.shape(1), width = array.shape(2), step = array.strides(0);
  const int64_t row_step = array.strides(1), column_step = array.strides(2);
  return build_masks(array.shape(0), threads, [=](int64_t i) {
    return PlacedPixels({data + i * step, height, width, row_step, column_step}, 0, 0, height, width);
  });
}

// `corners` (N, 2): x, y of each patch's first pixel.
py::tuple bind_from_patches(const py::tuple& patches, py::handle corners, int64_t height, int64_t width,
                            int threads) {
  const auto places = as_array(corners, "boxes").view<const int64_t, 2>();
  std::vector<Pixels> pixels;
  pixels.reserve(patches.size());
  for (const py::handle patch : patches) {
    const auto refuse = [&](const std::string& what) {
      throw type_error(
          sentence("patches[", pixels.size(), "] is ", what, ", expected a bool array of 2 dimensions"));
    };
    if (!py::isinstance<py::array>(patch)) refuse(sentence("a ", Py_TYPE(patch.ptr())->tp_name));
    const auto array = py::reinterpret_borrow<py::array>(patch);
    if (array.dtype().char_() != '?' || array.ndim() != 2)
      refuse(sentence("a ", std::string(py::str(array.dtype())), " array of ", array.ndim(), " dimensions"));
    pixels.push_back({static_cast<const uint8_t*>(array.data()), array.shape(0), array.shape(1),
                      array.strides(0), array.strides(1)});
  }
  return build_masks(int64_t(pixels.size()), threads, [&](int64_t i) {
    return PlacedPixels(pixels[size_t(i)], places.data[2 * i], places.data[2 * i + 1], height, width);
  });
}

// Fills in the boxes of `out` (N, H, W), which is all zeros.
void bind_to_dense(py::handle boxes, py::handle offsets, py::handle words, py::handle out, int threads) {
  constexpr int64_t kGrain = 1 << 16;  // bytes that are worth a thread
  const MasksView masks(boxes, offsets, words);
  const auto dense = as_array(out, "out").view<bool, 3>();
  const int64_t height = dense.shape[1], width = dense.shape[2];
  const int64_t grain = kGrain / std::max<int64_t>(height * width, 1);
  const auto kernel = dispatch([]<Target T>() { return &unpack_rows<T>; });
  without_gil([&] {
    parallel_for(masks.count(), grain, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const MaskView m = masks[i];
        auto* to = reinterpret_cast<uint8_t*>(dense.data + (i * height + m.y1) * width + m.x1);
        kernel(m.words, m.rows(), m.x2 - m.x1, m.x1 % 64, to, width);
      }
    });
  });
}

// Fills in `out`, of the size of mask i's box.
void bind_patch(py::handle boxes, py::handle offsets, py::handle words, int64_t i, py::handle out) {
  const MaskView m = MasksView(boxes, offsets, words)[i];
  const auto patch = as_array(out, "out").view<bool, 2>();
  const auto kernel = dispatch([]<Target T>() { return &unpack_rows<T>; });
  kernel(m.words, m.rows(), m.x2 - m.x1, m.x1 % 64, reinterpret_cast<uint8_t*>(patch.data), patch.shape[1]);
}

}  // namespace

void register_mask_pixels(py::module_& module) {
  module.def("masks_from_dense", &bind_from_dense);
  module.def("masks_from_patches", &bind_from_patches);
  module.def("masks_to_dense", &bind_to_dense);
  module.def("masks_patch", &bind_patch);
}

}  // namespace pyifcn
