#include "rle/rle.h"

#include <algorithm>
#include <limits>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/packed.h"
#include "rle/packed_runs.h"
#include "rle/runs_arrays.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 16;  // masks that are worth a thread

ImageSize checked_size(int64_t height, int64_t width) {
  const ImageSize size{height, width};
  check_size(size);
  return size;
}

class Sizes {
public:
  Sizes(py::handle sizes, int64_t count) : sizes_(as_array(sizes, "sizes").view<const int64_t, 2>()) {
    require(sizes_.shape[0] == count && sizes_.shape[1] == 2, "sizes has shape (", sizes_.shape[0], ", ",
            sizes_.shape[1], "), expected (", count, ", 2)");
  }

  ImageSize operator[](int64_t i) const { return {sizes_.data[2 * i], sizes_.data[2 * i + 1]}; }

private:
  View<const int64_t, 2> sizes_;
};

// Calls body(i, made[i]) for each i, on threads.
template <class Made, class Body>
std::vector<Made> make_each(int64_t count, int64_t grain, int threads, Body body) {
  std::vector<Made> made(static_cast<size_t>(count));
  without_gil([&] {
    parallel_for(count, grain, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i, made[size_t(i)]);
    });
  });
  return made;
}

// Of each mask either the text is given or the numbers; the other is empty.
py::tuple bind_parse(py::handle text, py::handle text_offsets, py::handle numbers, py::handle number_offsets,
                     py::handle sizes, const std::string& name, int threads) {
  const Parts<uint8_t> codes(text, "text", text_offsets);
  const Parts<int64_t> lists(numbers, "numbers", number_offsets);
  const Sizes each(sizes, codes.count());
  require(lists.count() == codes.count(), "there are ", codes.count(), " codes and ", lists.count(),
          " lists");
  return to_arrays(make_each<Runs>(codes.count(), kGrain, threads, [&](int64_t i, Runs& runs) {
    try {
      check_size(each[i]);
      if (!lists[i].empty()) return check_runs(lists[i], each[i], runs);
      parse_runs({reinterpret_cast<const char*>(codes[i].data()), codes[i].size()}, each[i], runs);
    } catch (const std::invalid_argument& error) {
      require(false, name, "[", i, "] is malformed: ", error.what());
    }
  }));
}

py::tuple bind_write(py::handle runs, py::handle offsets, int threads) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  return to_arrays(make_each<std::string>(all.count(), kGrain, threads, [&](int64_t i, std::string& code) {
    code.reserve(2 * all[i].size());
    append_code(all[i], code);
  }));
}

// `dense` (N, W, H): columns lie in one piece.
py::tuple bind_encode(py::handle dense, int threads) {
  constexpr int64_t kBlock = 1 << 14;
  const auto pixels = as_array(dense, "mask").raw_view<const uint8_t, 3>();
  const int64_t count = checked_size(pixels.shape[2], pixels.shape[1]).pixels();
  const auto kernel = dispatch([]<Target T>() { return &find_edges<T>; });
  return to_arrays(make_each<Runs>(pixels.shape[0], 1, threads, [&](int64_t i, Runs& runs) {
    uint32_t edges[kBlock];
    uint32_t last = 0;
    bool inside = false;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
      const int64_t found = kernel(pixels.data + i * count + begin, std::min(kBlock, count - begin),
                                   uint32_t(begin), &inside, edges);
      for (int64_t k = 0; k < found; ++k) runs.push_back(edges[k] - last), last = edges[k];
    }
    runs.push_back(uint32_t(count) - last);
  }));
}

// Writes the foreground of `out` (N, W, H), which is all zeros.
void bind_fill(py::handle runs, py::handle offsets, py::handle out, int threads) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  const auto pixels = as_array(out, "out").view<uint8_t, 3>();
  const int64_t count = pixels.shape[1] * pixels.shape[2];
  require(pixels.shape[0] == all.count(), "out is for ", pixels.shape[0], " masks, expected ", all.count());
  for (int64_t i = 0; i < all.count(); ++i) {
    int64_t sum = 0;
    for (const uint32_t run : all[i]) sum += run;
    require(sum <= count, "runs[", i, "] sum to ", sum, ", more than ", count);
  }
  without_gil([&] {
    parallel_for(all.count(), 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) fill_runs(all[i], pixels.data + i * count);
    });
  });
}

void bind_area(py::handle runs, py::handle offsets, py::handle out) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  const auto area = as_array(out, "out").view<uint32_t, 1>();
  for (int64_t i = 0; i < all.count(); ++i) area.data[i] = uint32_t(area_of(all[i]));
}

// `out` (N, 4): x, y, width, height.
void bind_boxes(py::handle runs, py::handle offsets, py::handle sizes, py::handle out) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  const Sizes each(sizes, all.count());
  const auto boxes = as_array(out, "out").view<double, 2>();
  for (int64_t i = 0; i < all.count(); ++i) {
    const RunsBox box = box_of(all[i], each[i].height);
    const int64_t corner_and_sides[] = {box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1};
    std::copy_n(corner_and_sides, 4, boxes.data + 4 * i);
  }
}

// The union or the intersection of all masks, which are of one image; at least one.
py::tuple bind_merge(py::handle runs, py::handle offsets, bool intersect) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  require(all.count() > 0, "there is no mask to merge");
  Runs so_far(all[0].begin(), all[0].end()), merged;
  without_gil([&] {
    for (int64_t i = 1; i < all.count(); ++i) {
      merge_runs(so_far, all[i], intersect, merged);
      std::swap(so_far, merged);
    }
  });
  return to_arrays(std::vector<Runs>{so_far});
}

// C's fmin and fmax, but never a call: NaN loses.
double least(double a, double b) { return b != b || a < b ? a : b; }
double most(double a, double b) { return b != b || a > b ? a : b; }

// `boxes` (M, 4) and `others` (N, 4): x, y, width, height. Writes `out` (N, M): the intersection over the
// union, or where `crowd` (N) over the box of `boxes` alone.
void bind_box_iou(py::handle boxes, py::handle others, py::handle crowd, py::handle out, int threads) {
  const auto mine = as_array(boxes, "dt").view<const double, 2>(),
             yours = as_array(others, "gt").view<const double, 2>();
  const auto is_crowd = as_array(crowd, "pyiscrowd").view<const bool, 1>();
  const auto result = as_array(out, "out").view<double, 2>();
  const int64_t count = mine.shape[0];
  require(mine.shape[1] == 4 && yours.shape[1] == 4 && is_crowd.shape[0] == yours.shape[0] &&
              result.shape[0] == yours.shape[0] && result.shape[1] == count,
          "dt, gt, pyiscrowd and out do not fit together");
  without_gil([&] {
    parallel_for(yours.shape[0], 1 + (1 << 14) / (count + 1), threads, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        const double* b = yours.data + 4 * j;
        const double b_right = b[2] + b[0], b_foot = b[3] + b[1], b_area = b[2] * b[3];
        for (int64_t i = 0; i < count; ++i) {
          const double* a = mine.data + 4 * i;
          const double width = least(a[2] + a[0], b_right) - most(a[0], b[0]);
          const double height = least(a[3] + a[1], b_foot) - most(a[1], b[1]);
          const double inter = width * height, area = a[2] * a[3];
          const double iou = inter / (is_crowd.data[j] ? area : area + b_area - inter);
          result.data[j * count + i] = width <= 0 || height <= 0 ? 0 : iou;
        }
      }
    });
  });
}

// (boxes, offsets, words) of a Masks.
py::tuple bind_pack(py::handle runs, py::handle offsets, int64_t height, int64_t width, int threads) {
  const Parts<uint32_t> all(runs, "runs", offsets);
  const ImageSize size = checked_size(height, width);
  require(std::max(height, width) <= std::numeric_limits<int32_t>::max(), "size is (", height, ", ", width,
          "), expected sides below 2^31");
  return to_arrays(make_each<PackedMask>(
      all.count(), kGrain, threads, [&](int64_t i, PackedMask& mask) { mask = pack_runs(all[i], size); }));
}

py::tuple bind_unpack(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                      int threads) {
  const MasksView masks(boxes, offsets, words);
  const ImageSize size = checked_size(height, width);
  std::vector<Runs> runs(size_t(masks.count()));
  without_gil([&] {
    parallel_for(masks.count(), kGrain, threads, [&](int64_t begin, int64_t end) {
      RunsOfPacked runs_of(size);
      for (int64_t i = begin; i < end; ++i) runs_of(masks[i], runs[size_t(i)]);
    });
  });
  return to_arrays(runs);
}

}  // namespace

void register_rle(py::module_& module) {
  module.def("rle_parse", &bind_parse);
  module.def("rle_write", &bind_write);
  module.def("rle_encode", &bind_encode);
  module.def("rle_fill", &bind_fill);
  module.def("rle_area", &bind_area);
  module.def("rle_boxes", &bind_boxes);
  module.def("rle_merge", &bind_merge);
  module.def("rle_box_iou", &bind_box_iou);
  module.def("rle_pack", &bind_pack);
  module.def("rle_unpack", &bind_unpack);
}

}  // namespace pyifcn
