#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/elements.h"
#include "core/operators.h"
#include "ps_roi/arguments.h"
#include "ps_roi/ps_roi_cuda.h"

namespace pyifcn {
namespace {

// Calls `run` with a rule and an element, both as std::type_identity.
template <class Run>
void by_rule_and_element(const PsRoiArguments& a, Run run) {
  by_element(a.maps, [&]<class S>(std::type_identity<S> element) {
    by_rule<Computed<S>>(a.rule, [&](auto rule) { run(rule, element); });
  });
}

void check(const PsRoiArguments& a) {
  a.check(true);
  const int64_t elements = checked_count("out", {a.pooled.shape[1], a.pooled.shape[2], a.pooled.shape[3]});
  require(elements <= INT32_MAX, a.pooled.name, " has ", elements, " elements of each box, expected at most ",
          INT32_MAX, " on a GPU");
}

// Of which images the boxes are is for the kernels to see: looking at it here would make the CPU wait.
void bind_ps_roi(py::handle input, py::handle boxes, const std::string& rule, int64_t grid_height,
                 int64_t grid_width, double scale, int64_t ratio, py::handle out, const py::tuple& stream) {
  const PsRoiArguments a{as_array(input, rule == "assemble" ? "score_maps" : "input"),
                         as_array(boxes, "boxes"),
                         as_array(out, "out"),
                         rule,
                         grid_height,
                         grid_width,
                         scale,
                         ratio};
  check(a);
  const Stream where = stream_of(stream);
  by_rule_and_element(a, [&]<class Rule, class S>(std::type_identity<Rule>, std::type_identity<S>) {
    const PsRoiCudaJob<S> job{a.rois<Computed<S>>(), grid_height, grid_width, a.maps.raw_view<const S, 4>(),
                              a.pooled.raw_view<S, 4>()};
    ps_roi_cuda<Rule>(job, where);
  });
}

void bind_ps_roi_backward(py::handle grad_out, py::handle boxes, const std::string& rule, int64_t grid_height,
                          int64_t grid_width, double scale, int64_t ratio, py::handle grad_input,
                          const py::tuple& stream) {
  const PsRoiArguments a{as_array(grad_input, "grad_input"),
                         as_array(boxes, "boxes"),
                         as_array(grad_out, "grad_out"),
                         rule,
                         grid_height,
                         grid_width,
                         scale,
                         ratio};
  check(a);
  const Stream where = stream_of(stream);
  by_rule_and_element(a, [&]<class Rule, class S>(std::type_identity<Rule>, std::type_identity<S>) {
    const PsRoiBackwardCudaJob<S> job{a.rois<Computed<S>>(), grid_height, grid_width,
                                      a.pooled.raw_view<const S, 4>(), a.maps.raw_view<S, 4>()};
    ps_roi_backward_cuda<Rule>(job, where);
  });
}

}  // namespace

void register_ps_roi(py::module_& module) {
  module.def("ps_roi", &bind_ps_roi);
  module.def("ps_roi_backward", &bind_ps_roi_backward);
}

}  // namespace pyifcn
