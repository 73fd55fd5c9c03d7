#include "core/operators.h"
#include "core/parallel.h"
#include "masks/contours.h"

namespace pyifcn {
namespace {

// For each mask a list of float64 arrays.
py::list bind_to_polygons(py::handle boxes, py::handle offsets, py::handle words, int threads) {
  const MasksView masks(boxes, offsets, words);
  std::vector<Rings> outlines(size_t(masks.count()));
  without_gil([&] {
    parallel_for(masks.count(), 16, threads, [&](int64_t begin, int64_t end) {
      Tracer tracer;
      for (int64_t i = begin; i < end; ++i) outlines[size_t(i)] = tracer.trace(masks[i]);
    });
  });
  py::list lists(outlines.size());
  for (size_t i = 0; i < outlines.size(); ++i) {
    const Rings& rings = outlines[i];
    py::list polygons(rings.ends.size());
    size_t begin = 0;
    for (size_t k = 0; k < rings.ends.size(); ++k) {
      const size_t end = rings.ends[k];
      py::array_t<double> polygon(py::ssize_t(end - begin));
      std::copy(rings.numbers.begin() + int64_t(begin), rings.numbers.begin() + int64_t(end),
                polygon.mutable_data());
      polygons[k] = std::move(polygon);
      begin = end;
    }
    lists[i] = std::move(polygons);
  }
  return lists;
}

}  // namespace

void register_mask_contours(py::module_& module) { module.def("masks_to_polygons", &bind_to_polygons); }

}  // namespace pyifcn
