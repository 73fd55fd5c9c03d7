"""The exponential of csrc/core/exp.h, operation by operation: references are equal bit for bit."""

from math import factorial

import numpy as np

# Of each type: the least and the most argument, what rounds to whole numbers, log2(e), ln 2 in two
# parts, and the terms of the series.
CONSTANTS = {
    np.float32: (-104, 89, "0x1.8p23", "0x1.715476p0", "0x1.63p-1", "-0x1.bd0106p-13", 8),
    np.float64: (
        *(-746, 710, "0x1.8p52", "0x1.71547652b82fep0"),
        *("0x1.62e42feep-1", "0x1.a39ef35793c76p-33", 14),
    ),
}


def exp(x):
    kind = x.dtype.type
    least, most, *numbers, terms = CONSTANTS[kind]
    whole, log2e, high, low = (kind(float.fromhex(number)) for number in numbers)
    x = np.minimum(kind(most), np.maximum(kind(least), x))
    k = (x * log2e + whole) - whole
    r = (x - k * high) - k * low
    q = np.zeros_like(r)
    for term in range(terms - 1, 1, -1):
        q = q * r + kind(1) / kind(factorial(term))
    power = (q * (r * r) + r) + kind(1)
    first = (k * kind(0.5) + whole) - whole
    for part in (first, k - first):
        power = np.ldexp(power, np.nan_to_num(part).astype(int))
    return power


def sigmoid(x):
    with np.errstate(over="ignore"):
        return 1 / (1 + exp(0 - x))
