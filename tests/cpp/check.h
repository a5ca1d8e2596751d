// The few lines of a test framework that these tests need. A test is a program; main() ends with
// `return failures();`.
#pragma once

#include <cmath>
#include <cstdio>

inline int& failure_count() {
  static int count = 0;
  return count;
}

inline int failures() {
  if (failure_count() == 0) std::puts("passed");
  return failure_count() == 0 ? 0 : 1;
}

#define CHECK(condition)                                                  \
  do {                                                                    \
    if (!(condition)) {                                                   \
      ++failure_count();                                                  \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                     \
  } while (0)

// |actual - expected| <= tolerance; two NaNs or two equal infinities agree as well.
#define CHECK_CLOSE(actual, expected, tolerance)                                                  \
  do {                                                                                            \
    const double a_ = double(actual), e_ = double(expected);                                      \
    const bool same_ = a_ == e_ || (std::isnan(a_) && std::isnan(e_));                            \
    if (!same_ && !(std::fabs(a_ - e_) <= (tolerance))) {                                         \
      ++failure_count();                                                                          \
      std::printf("%s:%d: %s = %.17g, expected %.17g +- %.3g\n", __FILE__, __LINE__, #actual, a_, \
                  e_, double(tolerance));                                                         \
    }                                                                                             \
  } while (0)
