#include "swap_align2nat/swap_align2nat.h"

#include <algorithm>
#include <memory>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "swap_align2nat/arguments.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

int64_t grain(int64_t elements) { return kGrain / std::max<int64_t>(elements, 1); }

// Runs tasks that each go over a row of all units, with scratch memory.
template <class E, class Job>
void each_row(const SwapArguments& a, int threads, void (*kernel)(const Job&, E*, int64_t, int64_t),
              const Job& job) {
  checked_count("workspace", {a.shape.out_side() + 1, a.shape.width + 2});
  const int64_t scratch = swap_scratch(a.shape);
  parallel_for(a.tasks(), grain(a.shape.side * a.shape.width), threads, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<E[]> memory(new E[size_t(scratch)]);
    kernel(job, memory.get(), begin, end);
  });
}

void bind_swap_align2nat(py::handle input, int64_t lambda, double pad, py::handle out, int threads) {
  const SwapArguments a(input, "input", out, "out", lambda);
  if (a.is_empty()) return;
  by_element(a.in, [&]<class E>(std::type_identity<E>) {
    const SwapJob<E> job{a.shape, static_cast<const E*>(a.in.data), E(pad), static_cast<E*>(a.out.data)};
    each_row(a, threads, dispatch([]<Target T>() { return &swap_align2nat<T, E>; }), job);
  });
}

void bind_swap_align2nat_backward(py::handle grad_out, int64_t lambda, py::handle grad_input, int threads) {
  const SwapArguments a(grad_input, "grad_input", grad_out, "grad_out", lambda);
  if (a.is_empty()) return;
  const int64_t between = checked_count("workspace", {a.tasks(), a.shape.side, a.shape.width});
  by_element(a.in, [&]<class E>(std::type_identity<E>) {
    const std::unique_ptr<E[]> rows(new E[size_t(between)]);
    const SwapColumnsJob<E> columns{a.shape, static_cast<const E*>(a.out.data), rows.get()};
    each_row(a, threads, dispatch([]<Target T>() { return &swap_align2nat_columns<T, E>; }), columns);
    const SwapRowsJob<E> job{a.shape, rows.get(), static_cast<E*>(a.in.data)};
    const auto kernel = dispatch([]<Target T>() { return &swap_align2nat_rows<T, E>; });
    parallel_for(a.images() * a.shape.side * a.shape.height, grain(a.shape.side * a.shape.width), threads,
                 [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
  });
}

}  // namespace

void register_swap_align2nat(py::module_& module) {
  module.def("swap_align2nat", &bind_swap_align2nat);
  module.def("swap_align2nat_backward", &bind_swap_align2nat_backward);
}

}  // namespace pyifcn
