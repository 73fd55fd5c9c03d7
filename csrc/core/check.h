// Errors that a user can act on: one sentence with the argument's name and value.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace pyifcn {

// Wrong dtype, rank, layout or device: Python's TypeError.
struct type_error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
std::string sentence(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

// Throws what becomes Python's ValueError unless `holds`.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) [[unlikely]]
    throw std::invalid_argument(sentence(parts...));
}

}  // namespace pyifcn
