// A pointer and a shape: what a kernel knows of an array. Always C-contiguous, never owning.
#pragma once

#include <cstdint>

namespace pyifcn {

template <class T, int R>
struct View {
  T* data;
  int64_t shape[R];
};

template <class T, int R>
constexpr int64_t count(const View<T, R>& view) {
  int64_t n = 1;
  for (int i = 0; i < R; ++i) n *= view.shape[i];
  return n;
}

}  // namespace pyifcn
