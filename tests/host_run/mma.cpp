// ldmatrix and mma.sync of a warp: the exchange of rows, and a product of fragments.
#include "mma.h"

namespace fairloss::host_run {

namespace {

enum class Type { bf16, f16, tf32 };

struct Fragments {
  Type type;
  const uint32_t* a;
  uint32_t b[2];
  float* sum;
};

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The one of two 16-bit numbers in a word; of TF32 the bits that a tensor core reads.
float number(Type type, uint32_t word, int half) {
  if (type == Type::tf32) return from_bits(word & ~0x1fffu);
  const uint16_t bits = uint16_t(word >> 16 * half);
  if (type == Type::bf16) return from_bits(uint32_t(bits) << 16);
  return __half2float(__half(__half_raw{bits}));
}

void multiply(const uint64_t* lanes) {
  double a[16][16] = {}, b[16][8] = {}, product[16][8] = {};  // with k = 16, or 8 and zeros
  for (int lane = 0; lane < 32; ++lane) {
    const auto& mine = *reinterpret_cast<const Fragments*>(lanes[lane]);
    const int group = lane / 4, in_group = lane % 4;
    const int numbers = mine.type == Type::tf32 ? 1 : 2;  // in a word
    for (int i = 0; i < 4; ++i) {
      for (int half = 0; half < numbers; ++half) {
        const int k = in_group * numbers + half;
        a[group + i % 2 * 8][k + i / 2 * 4 * numbers] = number(mine.type, mine.a[i], half);
        if (i < 2) b[k + i * 4 * numbers][group] = number(mine.type, mine.b[i], half);
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) product[row][n] += a[row][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& mine = *reinterpret_cast<const Fragments*>(lanes[lane]);
    for (int i = 0; i < 4; ++i) {
      mine.sum[i] = float(mine.sum[i] + product[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
    }
  }
}

template <Type type>
void gather_fragments(const uint32_t (&a)[4], uint32_t b0, uint32_t b1, float (&sum)[4]) {
  const Fragments mine{type, a, {b0, b1}, sum};
  gather(reinterpret_cast<uint64_t>(&mine), [](const uint64_t* lanes) { multiply(lanes); });
}

}  // namespace

void exchange(RowExchange& rows) {
  gather(reinterpret_cast<uint64_t>(&rows), [](const uint64_t* lanes) {
    const auto exchange_of = [&](int lane) { return reinterpret_cast<RowExchange*>(lanes[lane]); };
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < 4; ++i)
        exchange_of(lane)->received[i] = exchange_of(8 * i + lane / 4)->given;
    }
  });
}

void multiply_add(const char* type, const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  float (&sum)[4]) {
  if (std::strcmp(type, "bf16") == 0) return gather_fragments<Type::bf16>(a, b0, b1, sum);
  if (std::strcmp(type, "f16") == 0) return gather_fragments<Type::f16>(a, b0, b1, sum);
  if (std::strcmp(type, "tf32") == 0) return gather_fragments<Type::tf32>(a, b0, b1, sum);
  fail(std::string("mma.sync of type ") + type);
}

}  // namespace fairloss::host_run
