// What the bindings of mask voting and of vote lend to the kernels.
#pragma once

#include "core/bind.h"
#include "core/bind_cuda.h"
#include "mask_voting/ballots_cuda.h"

namespace pyifcn {

// Elections are bytes to Python: (K, sizeof(Election)).
inline View<Election, 1> elections_of(py::handle bytes) {
  const auto view = as_array(bytes, "elections").view<uint8_t, 2>();
  return {reinterpret_cast<Election*>(view.data), {view.shape[0]}};
}

// So are voters: (V, sizeof(Voter)).
inline View<Voter, 1> voters_of(py::handle bytes) {
  const auto view = as_array(bytes, "voters").view<uint8_t, 2>();
  return {reinterpret_cast<Voter*>(view.data), {view.shape[0]}};
}

// int64, in the order of the fields.
inline BallotSizes* sizes_of(py::handle numbers) {
  return reinterpret_cast<BallotSizes*>(as_array(numbers, "sizes").view<int64_t, 1>().data);
}

template <class T>
View<const T, 1> read_only(const View<T, 1>& view) {
  return {view.data, {view.shape[0]}};
}

}  // namespace pyifcn
