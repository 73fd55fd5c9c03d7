#include "paste/paste.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/bind.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/packed.h"
#include "paste/arguments.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 8;  // rows of pixels that are worth a thread

struct Image {
  int64_t height, width;
};

// Pixel begin + i lies between cells[i] and the next one, whose weight is weights[i].
template <class E>
struct Sampling {
  int64_t begin = 0;
  std::vector<int32_t> cells;
  std::vector<E> weights;

  int64_t count() const { return int64_t(cells.size()); }

  void read(const PasteAxis<E>& axis) {
    begin = axis.begin;
    cells.resize(size_t(axis.end - axis.begin));
    weights.resize(cells.size());
    for (int32_t pixel = axis.begin; pixel < axis.end; ++pixel) {
      const PasteTap<E> tap = axis.tap(pixel);
      cells[size_t(pixel - axis.begin)] = tap.cell;
      weights[size_t(pixel - axis.begin)] = tap.weight;
    }
  }
};

// The masks and boxes of a call; makes one mask's job after the other. E is the type of the masks.
template <class E>
class Pasting {
public:
  Pasting(const Array& masks, const Array& boxes, Image image, double threshold, PasteConvention convention)
      : masks_(masks.view<const E, 3>()),
        boxes_(boxes),
        image_(image),
        above_(paste_threshold<E>(threshold, convention)),
        convention_(convention) {}

  int64_t count() const { return masks_.shape[0]; }
  const Image& image() const { return image_; }

  // Calls body(i, job) for each mask that has pixels in the image.
  template <class Body>
  void each(int threads, Body body) const {
    const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(image_.height, 1));
    parallel_for(count(), grain, threads, [&](int64_t begin, int64_t end) {
      Job job;
      for (int64_t i = begin; i < end; ++i)
        if (make(i, job)) body(i, job);
    });
  }

private:
  struct Job : PasteJob<E> {
    Sampling<E> of_rows, of_columns;
    std::vector<int32_t> all_starts, all_cells;
    std::vector<E> firsts, lasts, memory;
  };

  bool make(int64_t i, Job& job) const {
    if (boxes_.dtype == Dtype::float64)
      sample(static_cast<const double*>(boxes_.data) + 4 * i, job);
    else
      sample(static_cast<const float*>(boxes_.data) + 4 * i, job);
    if (job.of_rows.count() == 0 || job.of_columns.count() == 0) return false;
    find_spans(job);
    job.mask = masks_.data + i * masks_.shape[1] * masks_.shape[2];
    job.height = masks_.shape[1];
    job.width = masks_.shape[2];
    job.above = above_;
    job.top = job.of_rows.begin;
    job.rows = job.of_rows.count();
    job.row_cells = job.of_rows.cells.data();
    job.row_weights = job.of_rows.weights.data();
    job.memory.resize(size_t(paste_scratch(job.width, job.spans)));
    job.scratch = job.memory.data();
    return true;
  }

  template <class B>
  void sample(const B* box, Job& job) const {
    constexpr bool wide = sizeof(B) == 8;
    const PasteSides across{box[0], box[2], wide}, down{box[1], box[3], wide};
    job.of_columns.read(PasteAxis<E>(convention_, across, masks_.shape[2], image_.width));
    job.of_rows.read(PasteAxis<E>(convention_, down, masks_.shape[1], image_.height));
  }

  static void find_spans(Job& job) {
    Sampling<E>& columns = job.of_columns;
    const int64_t count = columns.count();
    job.all_starts.clear(), job.all_cells.clear(), job.firsts.clear(), job.lasts.clear();
    for (int64_t x = 0; x < count; ++x) {
      const int32_t cell = columns.cells[size_t(x)];
      const E weight = columns.weights[size_t(x)];
      if (x == 0 || cell != job.all_cells.back()) {
        job.all_starts.push_back(int32_t(columns.begin + x));
        job.all_cells.push_back(cell);
        job.firsts.push_back(weight);
        job.lasts.push_back(weight);
      }
      job.lasts.back() = weight;
    }
    job.spans = int64_t(job.all_cells.size());
    job.all_starts.push_back(int32_t(columns.begin + count));
    for (std::vector<E>* weights : {&columns.weights, &job.firsts, &job.lasts})
      weights->resize(weights->size() + kPasteSlack);
    job.starts = job.all_starts.data();
    job.span_cells = job.all_cells.data();
    job.first_weights = job.firsts.data();
    job.last_weights = job.lasts.data();
    job.weights = columns.weights.data();
  }

  View<const E, 3> masks_;
  const Array& boxes_;
  Image image_;
  E above_;
  PasteConvention convention_;
};

template <class Body>
void by_type(const Array& masks, Body body) {
  if (masks.dtype == Dtype::float64) return body(double());
  body(float());
}

// (boxes, offsets, words), the arrays of a Masks. The masks are pasted twice, first to learn how much there
// is to hold: nothing else of the result's size is.
py::tuple bind_paste_masks(py::handle masks, py::handle boxes, int64_t height, int64_t width,
                           double threshold, const std::string& convention, int threads) {
  const Array soft = as_array(masks, "masks"), places = as_array(boxes, "boxes");
  check_paste(soft, places, false);
  const int64_t count = soft.shape[0];
  py::array_t<int32_t> out_boxes({py::ssize_t(count), py::ssize_t(4)});
  py::array_t<int64_t> out_offsets(count + 1);
  py::array_t<uint64_t> out_words;
  by_type(soft, [&]<class E>(E) {
    const Pasting<E> pasting(soft, places, {height, width}, threshold, paste_convention_of(convention));
    int32_t* corners = out_boxes.mutable_data();
    int64_t* offsets = out_offsets.mutable_data();
    without_gil([&] {
      std::fill_n(corners, 4 * count, 0);
      const auto kernel = dispatch([]<Target T>() { return &paste_extent<T, E>; });
      pasting.each(threads, [&](int64_t i, const PasteJob<E>& job) {
        const PastedBox extent = kernel(job);
        const int32_t sides[] = {extent.x1, extent.y1, extent.x2, extent.y2};
        std::copy_n(sides, 4, corners + 4 * i);
      });
    });
    offsets[0] = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int32_t* box = corners + 4 * i;
      offsets[i + 1] = offsets[i] + (box[3] - box[1]) * words_across(box[0], box[2]);
      checked_count("words", {offsets[i + 1]});
    }
    out_words = py::array_t<uint64_t>(offsets[count]);
    uint64_t* words = out_words.mutable_data();
    without_gil([&] {
      const auto kernel = dispatch([]<Target T>() { return &paste_bits<T, E>; });
      pasting.each(threads, [&](int64_t i, const PasteJob<E>& job) {
        const int32_t* box = corners + 4 * i;
        std::fill(words + offsets[i], words + offsets[i + 1], uint64_t(0));
        kernel(job, {box[0], box[1], box[2], box[3]}, words + offsets[i]);
      });
    });
  });
  return py::make_tuple(out_boxes, out_offsets, out_words);
}

// `out` (N, H, W) holds zeros. No threshold: the values times 255, into bytes.
void bind_paste_dense(py::handle masks, py::handle boxes, std::optional<double> threshold,
                      const std::string& convention, py::handle out, int threads) {
  const Array soft = as_array(masks, "masks"), places = as_array(boxes, "boxes");
  check_paste(soft, places, false);
  const auto images = as_array(out, "out").raw_view<uint8_t, 3>();
  const Image image{images.shape[1], images.shape[2]};
  by_type(soft, [&]<class E>(E) {
    const Pasting<E> pasting(soft, places, image, threshold.value_or(0), paste_convention_of(convention));
    const auto kernel = threshold ? dispatch([]<Target T>() { return &paste_bytes<T, E>; })
                                  : dispatch([]<Target T>() { return &paste_soft<T, E>; });
    without_gil([&] {
      pasting.each(threads, [&](int64_t i, const PasteJob<E>& job) {
        kernel(job, images.data + i * image.height * image.width, image.width);
      });
    });
  });
}

// `out` (N, H, W) is of the masks' type and holds zeros.
void bind_paste_values(py::handle masks, py::handle boxes, const std::string& convention, py::handle out,
                       int threads) {
  const Array soft = as_array(masks, "masks"), places = as_array(boxes, "boxes");
  check_paste(soft, places, false);
  by_type(soft, [&]<class E>(E) {
    const auto images = as_array(out, "out").view<E, 3>();
    const Image image{images.shape[1], images.shape[2]};
    const Pasting<E> pasting(soft, places, image, 0, paste_convention_of(convention));
    const auto kernel = dispatch([]<Target T>() { return &paste_values<T, E>; });
    without_gil([&] {
      pasting.each(threads, [&](int64_t i, const PasteJob<E>& job) {
        kernel(job, images.data + i * image.height * image.width, image.width);
      });
    });
  });
}

}  // namespace

void register_paste(py::module_& module) {
  module.def("paste_masks", &bind_paste_masks);
  module.def("paste_dense", &bind_paste_dense);
  module.def("paste_values", &bind_paste_values);
}

}  // namespace pyifcn
