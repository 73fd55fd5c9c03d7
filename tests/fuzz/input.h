// A fuzzer's bytes, read from the front.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "rle/runs.h"

// Holds in every build, unlike assert.
#define CHECK(condition) \
  if (!(condition)) std::abort()

class Input {
public:
  Input(const uint8_t* data, size_t size) : bytes_(data, size) {}

  // Zero once the bytes have run out.
  template <class T>
  T take() {
    T value{};
    const size_t count = sizeof(T) < bytes_.size() ? sizeof(T) : bytes_.size();
    if (count > 0) std::memcpy(&value, bytes_.data(), count);
    bytes_ = bytes_.subspan(count);
    return value;
  }

  std::span<const uint8_t> rest() const { return bytes_; }

  // The rest as whole numbers of another type.
  template <class T>
  std::vector<T> rest_as() const {
    std::vector<T> values(bytes_.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes_.data(), values.size() * sizeof(T));
    return values;
  }

private:
  std::span<const uint8_t> bytes_;
};

// The pixels of runs, down the columns.
inline std::vector<uint8_t> pixels_of(pyifcn::RunsSpan runs, pyifcn::ImageSize size) {
  std::vector<uint8_t> pixels(size_t(size.pixels()), 0);
  pyifcn::fill_runs(runs, pixels.data());
  return pixels;
}
