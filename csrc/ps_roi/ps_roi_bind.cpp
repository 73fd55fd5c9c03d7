#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "core/bind.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "ps_roi/arguments.h"
#include "ps_roi/tables.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 13;  // pooled elements that are worth a thread

struct ByImage {
  std::vector<int64_t> order, starts;  // as in RoiLayout

  template <class E>
  ByImage(const Rois<E>& rois, int64_t images) : order(size_t(rois.count())), starts(size_t(images) + 1) {
    std::vector<int64_t> image(order.size());
    for (int64_t n = 0; n < rois.count(); ++n) {
      const E named = rois.rows.data[5 * n];
      require(rois.has_image(n, images), "boxes[", n, "] is of image ", named,
              ", expected a whole number below ", images, ", the number of images");
      image[size_t(n)] = int64_t(named);
      ++starts[size_t(image[size_t(n)]) + 1];
    }
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return image[size_t(a)] < image[size_t(b)]; });
  }
};

template <class E>
class Call {
public:
  // `pooled` is (N, C, pooled height, pooled width), what the forward pass makes or its gradient.
  Call(const PsRoiArguments& a, int threads)
      : maps_(a.maps),
        pooled_(a.pooled.view<E, 4>()),
        rule_(a.rule),
        threads_(threads),
        rois_(a.rois<E>()),
        by_image_(rois_, a.maps.shape[0]) {
    constexpr int64_t kLanes = kVectorBytes / sizeof(E);
    const int64_t classes = pooled_.shape[1],
                  width = classes < kFewestPacked ? classes : (classes + kLanes - 1) / kLanes * kLanes;
    layout_ = {by_image_.order.data(), by_image_.starts.data(), a.grid_height, a.grid_width,
               pooled_.shape[2],       pooled_.shape[3],        classes,       width};
    wide_ = {nullptr, {pooled_.shape[0], pooled_.shape[2] * pooled_.shape[3], width}};
  }

  void forward() {
    if (pyifcn::count(maps_.view<const E, 4>()) == 0) {
      std::fill_n(pooled_.data, pyifcn::count(pooled_), E(0));
      return;
    }
    const auto memory = take_wide();
    with_bins([&]<class Bins>(const Bins& bins) {
      const PsRoiJob<E, Bins> job{layout_, bins, maps_.view<const E, 4>(), wide_};
      each_task(dispatch([]<Target T>() { return &ps_roi<T, E, Bins>; }), job);
    });
    // (bins, width), as the kernels have it, to (C, bins).
    each_roi([&](auto turn_roi, int64_t n) {
      turn_roi(wide_of(n), layout_.width, bins(), layout_.classes, pooled_of(n), bins());
    });
  }

  void backward() {
    if (pyifcn::count(maps_.view<E, 4>()) == 0) return;
    const auto memory = take_wide();
    each_roi([&](auto turn_roi, int64_t n) {
      turn_roi(pooled_of(n), bins(), layout_.classes, bins(), wide_of(n), layout_.width);
    });
    with_bins([&]<class Bins>(const Bins& bins) {
      const View<const E, 3> wide{wide_.data, {wide_.shape[0], wide_.shape[1], wide_.shape[2]}};
      const PsRoiBackwardJob<E, Bins> job{layout_, bins, wide, maps_.view<E, 4>()};
      each_task(dispatch([]<Target T>() { return &ps_roi_backward<T, E, Bins>; }), job);
    });
  }

private:
  std::unique_ptr<E[]> take_wide() {
    std::unique_ptr<E[]> memory(
        new E[size_t(checked_count("workspace", {wide_.shape[0], wide_.shape[1], wide_.shape[2]}))]);
    wide_.data = memory.get();
    return memory;
  }

  E* wide_of(int64_t n) const { return wide_.data + n * bins() * wide_.shape[2]; }
  E* pooled_of(int64_t n) const { return pooled_.data + n * per_roi(); }

  template <class Run>
  void with_bins(Run run) const {
    by_rule<E>(rule_, [&]<class Rule>(std::type_identity<Rule>) {
      if constexpr (std::is_same_v<Rule, SampledBins<E>>)
        run(SampleTable<E>(rois_).view());
      else
        run(RectangleTable<Rule>(rois_).view());
    });
  }

  int64_t bins() const { return wide_.shape[1]; }
  int64_t per_roi() const { return bins() * layout_.classes; }

  template <class Work>
  void each_roi(Work work) const {
    const auto kernel = dispatch([]<Target T>() { return &turn<T, E>; });
    parallel_for(rois_.count(), kGrain / std::max<int64_t>(per_roi(), 1), threads_,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t n = begin; n < end; ++n) work(kernel, n);
                 });
  }

  template <class Kernel, class Job>
  void each_task(Kernel kernel, const Job& job) const {
    const int64_t tasks = maps_.shape[0] * layout_.grid_height * layout_.grid_width;
    const int64_t grain = kGrain * tasks / std::max<int64_t>(rois_.count() * per_roi(), 1);
    const int64_t buffer_size =
        checked_count("workspace", {maps_.shape[2], maps_.shape[3], kMostPackedBytes / int64_t(sizeof(E))});
    parallel_for(tasks, grain, threads_, [&](int64_t begin, int64_t end) {
      const std::unique_ptr<E[]> buffer(new E[size_t(buffer_size)]);
      kernel(job, buffer.get(), begin, end);
    });
  }

  const Array& maps_;
  View<E, 4> pooled_;
  const std::string& rule_;
  int threads_;
  Rois<E> rois_;
  ByImage by_image_;
  RoiLayout layout_;
  View<E, 3> wide_;
};

template <class Run>
void by_type(const PsRoiArguments& a, int threads, Run run) {
  without_gil([&] {
    if (a.maps.dtype == Dtype::float64)
      run(Call<double>(a, threads));
    else
      run(Call<float>(a, threads));
  });
}

void bind_ps_roi(py::handle input, py::handle boxes, const std::string& rule, int64_t grid_height,
                 int64_t grid_width, double scale, int64_t ratio, py::handle out, int threads) {
  const PsRoiArguments a{as_array(input, rule == "assemble" ? "score_maps" : "input"),
                         as_array(boxes, "boxes"),
                         as_array(out, "out"),
                         rule,
                         grid_height,
                         grid_width,
                         scale,
                         ratio};
  a.check(false);
  by_type(a, threads, [](auto call) { call.forward(); });
}

// grad_input holds zeros.
void bind_ps_roi_backward(py::handle grad_out, py::handle boxes, const std::string& rule, int64_t grid_height,
                          int64_t grid_width, double scale, int64_t ratio, py::handle grad_input,
                          int threads) {
  const PsRoiArguments a{as_array(grad_input, "grad_input"),
                         as_array(boxes, "boxes"),
                         as_array(grad_out, "grad_out"),
                         rule,
                         grid_height,
                         grid_width,
                         scale,
                         ratio};
  a.check(false);
  by_type(a, threads, [](auto call) { call.backward(); });
}

}  // namespace

void register_ps_roi(py::module_& module) {
  module.def("ps_roi", &bind_ps_roi);
  module.def("ps_roi_backward", &bind_ps_roi_backward);
}

}  // namespace pyifcn
