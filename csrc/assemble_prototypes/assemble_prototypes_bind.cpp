#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "assemble_prototypes/arguments.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 16;  // products that are worth a thread

class DetectionTable {
public:
  explicit DetectionTable(const PrototypesArguments& a) {
    const int64_t count = a.coefficients.shape[0], images = a.prototypes.shape[0];
    const int64_t height = a.prototypes.shape[2], width = a.prototypes.shape[3];
    const Crop whole{0, 0, int32_t(width), int32_t(height)};
    crops_.assign(size_t(count), height > 0 && width > 0 ? whole : Crop{});
    if (const double* boxes = a.box_data())
      for (int64_t n = 0; n < count; ++n) crops_[size_t(n)] = crop_of(boxes + 4 * n, height, width);
    images_.assign(size_t(count), 0);
    if (const int64_t* data = a.image_data()) std::copy_n(data, count, images_.begin());
    starts_.assign(size_t(images) + 1, 0);
    for (int64_t n = 0; n < count; ++n) {
      const int64_t image = images_[size_t(n)];
      require(0 <= image && image < images, "images[", n, "] is ", image, ", expected 0 to ", images - 1);
      ++starts_[size_t(image) + 1];
    }
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    order_.resize(size_t(count));
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](int64_t i, int64_t j) { return images_[size_t(i)] < images_[size_t(j)]; });
  }

  Detections view() const { return {crops_.data(), images_.data(), order_.data(), starts_.data()}; }

  int64_t pixels() const {
    int64_t sum = 0;
    for (const Crop& crop : crops_) sum += int64_t(crop.x2 - crop.x1) * (crop.y2 - crop.y1);
    return sum;
  }

private:
  std::vector<Crop> crops_;
  std::vector<int64_t> images_, order_, starts_;
};

// Of `tasks` that do all products together, how many are worth a thread.
int64_t grain(int64_t tasks, const DetectionTable& table, int64_t channels) {
  return kGrain * tasks / std::max<int64_t>(table.pixels() * channels, 1);
}

void bind_assemble_prototypes(py::handle prototypes, py::handle coefficients, const py::object& boxes,
                              const py::object& images, bool with_sigmoid, py::handle out, int threads) {
  const PrototypesArguments a(prototypes, coefficients, boxes, images);
  const Array result = as_array(out, "out");
  a.check_result(result);
  const DetectionTable table(a);
  by_element(a.prototypes, [&]<class E>(std::type_identity<E>) {
    const PrototypesJob<E> job{a.prototypes.view<const E, 4>(), a.coefficients.view<const E, 2>(),
                               table.view(), with_sigmoid, static_cast<E*>(result.data)};
    const auto kernel = dispatch([]<Target T>() { return &assemble_prototypes<T, E>; });
    const int64_t tasks = a.prototypes.shape[0] * a.prototypes.shape[2];
    parallel_for(tasks, grain(tasks, table, a.prototypes.shape[1]), threads,
                 [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
  });
}

// `out` is None without sigmoid; grad_prototypes holds zeros.
void bind_assemble_prototypes_backward(py::handle grad_out, const py::object& out, py::handle prototypes,
                                       py::handle coefficients, const py::object& boxes,
                                       const py::object& images, py::handle grad_prototypes,
                                       py::handle grad_coefficients, int threads) {
  const PrototypesArguments a(prototypes, coefficients, boxes, images);
  const Array grad = as_array(grad_out, "grad_out"), of_maps = as_array(grad_prototypes, "grad_prototypes"),
              of_coefficients = as_array(grad_coefficients, "grad_coefficients");
  a.check_result(grad);
  const void* values = a.values_of(out);
  const DetectionTable table(a);
  by_element(a.prototypes, [&]<class E>(std::type_identity<E>) {
    const int64_t tasks = a.prototypes.shape[0] * a.prototypes.shape[2], channels = a.prototypes.shape[1],
                  width = a.prototypes.shape[3], count = a.coefficients.shape[0];
    const PrototypesBackwardJob<E> job{
        a.prototypes.view<const E, 4>(),  a.coefficients.view<const E, 2>(), table.view(),
        static_cast<const E*>(grad.data), static_cast<const E*>(values),     of_maps.view<E, 4>().data,
        of_coefficients.view<E, 2>().data};
    const auto to_maps = dispatch([]<Target T>() { return &assemble_prototypes_backward<T, E>; });
    parallel_for(tasks, grain(tasks, table, channels), threads, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<E[]> row(new E[size_t(width)]);
      to_maps(job, row.get(), begin, end);
    });
    const int64_t sums_size = checked_count("workspace", {channels, kSums});
    const auto to_coefficients = dispatch([]<Target T>() { return &assemble_coefficients_backward<T, E>; });
    parallel_for(count, grain(count, table, channels), threads, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<E[]> row(new E[size_t(width)]), sums(new E[size_t(sums_size)]);
      to_coefficients(job, row.get(), sums.get(), begin, end);
    });
  });
}

}  // namespace

void register_assemble_prototypes(py::module_& module) {
  module.def("assemble_prototypes", &bind_assemble_prototypes);
  module.def("assemble_prototypes_backward", &bind_assemble_prototypes_backward);
}

}  // namespace pyifcn
