#include "blend/blend.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "blend/arguments.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 13;  // elements of bases that are worth a thread

template <class E>
std::vector<BlendTap<E>> taps_of(int64_t pixels, int64_t size) {
  std::vector<BlendTap<E>> taps(static_cast<size_t>(pixels));
  for (int64_t i = 0; i < pixels; ++i) taps[size_t(i)] = tap_of<E>(i, pixels, size);
  return taps;
}

// A call's tables; makes its job and splits its detections among threads.
template <class E>
class Blending {
public:
  explicit Blending(const BlendArguments& a)
      : bases_(a.bases.view<const E, 4>()),
        attention_(a.attention.view<const E, 4>()),
        rows_(taps_of<E>(bases_.shape[2], attention_.shape[2])),
        columns_(taps_of<E>(bases_.shape[3], attention_.shape[3])) {
    checked_count("workspace", {2, bases_.shape[1], attention_.shape[2] + kMostLanes, bases_.shape[3] + 1});
  }

  BlendJob<E> job(bool sigmoid, E* out) const {
    return {bases_, attention_, rows_.data(), columns_.data(), sigmoid, out};
  }

  // Calls work(scratch, begin, end) with `times` the scratch memory of the forward pass.
  template <class Work>
  void each(int64_t times, int threads, Work work) const {
    const int64_t elements = bases_.shape[1] * bases_.shape[2] * bases_.shape[3];
    const int64_t scratch = times * blend_scratch(bases_.shape[1], attention_.shape[2], bases_.shape[3]);
    parallel_for(bases_.shape[0], kGrain / std::max<int64_t>(elements, 1), threads,
                 [&](int64_t begin, int64_t end) {
                   const std::unique_ptr<E[]> memory(new E[size_t(scratch)]);
                   work(memory.get(), begin, end);
                 });
  }

private:
  View<const E, 4> bases_, attention_;
  std::vector<BlendTap<E>> rows_, columns_;
};

void bind_blend(py::handle bases, py::handle attention, bool with_sigmoid, py::handle out, int threads) {
  const BlendArguments a(bases, attention);
  const Array result = as_array(out, "out");
  a.check_result(result);
  by_element(a.bases, [&]<class E>(std::type_identity<E>) {
    const Blending<E> call(a);
    const BlendJob<E> job = call.job(with_sigmoid, static_cast<E*>(result.data));
    const auto kernel = dispatch([]<Target T>() { return &blend<T, E>; });
    call.each(1, threads, [&](E* scratch, int64_t begin, int64_t end) { kernel(job, scratch, begin, end); });
  });
}

// `out` is None without sigmoid.
void bind_blend_backward(py::handle grad_out, const py::object& out, py::handle bases, py::handle attention,
                         py::handle grad_bases, py::handle grad_attention, int threads) {
  const BlendArguments a(bases, attention);
  const Array grad = as_array(grad_out, "grad_out");
  const BlendArguments grads(grad_bases, grad_attention);
  a.check_result(grad);
  const void* values = a.values_of(out);
  by_element(a.bases, [&]<class E>(std::type_identity<E>) {
    const Blending<E> call(a);
    const BlendBackwardJob<E> job{call.job(values, static_cast<E*>(const_cast<void*>(values))),
                                  static_cast<const E*>(grad.data), static_cast<E*>(grads.bases.data),
                                  static_cast<E*>(grads.attention.data)};
    const auto kernel = dispatch([]<Target T>() { return &blend_backward<T, E>; });
    call.each(2, threads, [&](E* scratch, int64_t begin, int64_t end) { kernel(job, scratch, begin, end); });
  });
}

}  // namespace

void register_blend(py::module_& module) {
  module.def("blend", &bind_blend);
  module.def("blend_backward", &bind_blend_backward);
}

}  // namespace pyifcn
