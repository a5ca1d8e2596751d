// Conversions of 16 bits, exhaustively; strided rows; norms at the ends of float; shares of tasks.
#include <limits>
#include <vector>

#include "check.h"
#include "matrix_view.h"
#include "parallel.h"

using namespace fairloss;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// IEEE binary16 by its definition, in double.
double float16_value(uint32_t bits) {
  const double sign = bits & 0x8000 ? -1 : 1;
  const int exponent = (bits >> 10) & 31, fraction = bits & 0x3ff;
  if (exponent == 31) return fraction ? std::nan("") : sign * HUGE_VAL;
  return exponent == 0 ? sign * std::ldexp(fraction, -24)
                       : sign * std::ldexp(1024 + fraction, exponent - 25);
}

void every_float16_reads_and_writes_back() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float16_to_float(uint16_t(bits));
    CHECK_CLOSE(value, float16_value(bits), 0);
    if (std::isnan(value)) {
      CHECK(std::isnan(float16_to_float(float_to_float16(value))));
    } else {
      CHECK(float_to_float16(value) == bits);
      CHECK(std::signbit(value) == bool(bits & 0x8000));
    }
  }
}

void every_bfloat16_reads_and_writes_back() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = bfloat16_to_float(uint16_t(bits));
    CHECK(std::bit_cast<uint32_t>(value) == bits << 16);
    if (std::isnan(value)) {
      CHECK(std::isnan(bfloat16_to_float(float_to_bfloat16(value))));
    } else {
      CHECK(float_to_bfloat16(value) == bits);
    }
  }
}

// Between neighbors `low` and low + 1, the middle goes to the even one, its neighbors to theirs.
template <typename Write>
void check_rounding(uint32_t low, float middle, const Write& write) {
  const uint32_t even = low % 2 == 0 ? low : low + 1;
  for (float sign : {1.0f, -1.0f}) {
    const uint32_t bit = sign < 0 ? 0x8000 : 0;
    CHECK(write(sign * middle) == (even | bit));
    CHECK(write(sign * std::nextafter(middle, 0.0f)) == (low | bit));
    CHECK(write(sign * std::nextafter(middle, kInfinity)) == ((low + 1) | bit));
  }
}

void rounding_is_to_nearest_even() {
  for (uint32_t low = 0; low < 0x7c00; ++low) {  // the last neighbor is infinity, at 65520
    const double next = low == 0x7bff ? 65536 : float16_value(low + 1);
    check_rounding(low, float((float16_value(low) + next) / 2), float_to_float16);
  }
  for (uint32_t low = 0; low < 0x7f80; ++low) {
    check_rounding(low, std::bit_cast<float>(low << 16 | 0x8000), float_to_bfloat16);
  }
  CHECK(float_to_float16(1e30f) == 0x7c00 && float_to_float16(kInfinity) == 0x7c00);
  CHECK(float_to_bfloat16(std::numeric_limits<float>::max()) == 0x7f80);
}

void rows_are_strided_and_typed() {
  const float values[] = {1, 2, 9, -3, 0.5f, 9};
  const float expected[] = {-3, 0.5f};
  float out[2];
  MatrixView{values, Precision::float32, 2, 3}.load(1, out);
  CHECK(out[0] == expected[0] && out[1] == expected[1]);
  for (Precision precision : {Precision::bfloat16, Precision::float16, Precision::float32}) {
    uint32_t store[4] = {};  // holds (2, 2) of any of them
    MutableMatrixView{store, precision, 2}.store(1, expected);
    MatrixView{store, precision, 2, 2}.load(1, out);
    CHECK(out[0] == expected[0] && out[1] == expected[1]);
    MatrixView{store, precision, 2, 2}.load(0, out);
    CHECK(out[0] == 0 && out[1] == 0);
  }
}

float inverse_norm_of(float value, int64_t columns) {
  return careful_inverse_norm(std::vector<float>(columns, value).data(), columns);
}

void norms_survive_extremes() {
  CHECK_CLOSE(inverse_norm_of(3, 4), 1.0 / 6, 1e-8);
  CHECK_CLOSE(inverse_norm_of(3e38f, 4) * 6e38, 1, 1e-6);  // its square is infinite in float
  CHECK_CLOSE(inverse_norm_of(1e-11f, 4) * 2e-11, 1, 1e-6);
  CHECK(inverse_norm_of(0.49e-12f, 4) == 0);  // shorter than 1e-12: no direction
  CHECK(inverse_norm_of(0.51e-12f, 4) > 0);
  CHECK(inverse_norm_of(1e-30f, 4) == 0 && inverse_norm_of(0, 4) == 0 &&
        inverse_norm_of(1, 0) == 0);
  CHECK(std::isnan(inverse_norm_of(std::nanf(""), 4)));
}

void shares_cover_everything_once() {
  for (int64_t total : {0, 1, 63, 64, 65, 1000}) {
    for (int tasks : {1, 3, 7}) {
      int64_t begin = 0;
      for (int task = 0; task < tasks; ++task) {
        const Share share = share_of(task, tasks, total, 64);
        CHECK(share.begin == begin && share.end >= share.begin);
        CHECK(share.end == total || share.end % 64 == 0);
        begin = share.end;
      }
      CHECK(begin == total);
    }
  }
}

}  // namespace

int main() {
  every_float16_reads_and_writes_back();
  every_bfloat16_reads_and_writes_back();
  rounding_is_to_nearest_even();
  rows_are_strided_and_typed();
  norms_survive_extremes();
  shares_cover_everything_once();
  return failures();
}
