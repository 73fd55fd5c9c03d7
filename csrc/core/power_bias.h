// How power_of_two(k) makes a float of an exponent without converting to an integer: added to k, these leave
// k and the bias of exponents in the lowest bits of the sum.
#pragma once

namespace pyifcn {

inline constexpr float kPowerBias32 = 0x1.8p23f + 127;
inline constexpr double kPowerBias64 = 0x1.8p52 + 1023;

}  // namespace pyifcn
