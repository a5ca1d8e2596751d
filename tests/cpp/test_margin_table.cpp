// fairloss/margin_table.h: which row a sample uses, the margin in it, and the derivatives stored.
#include <vector>

#include "check.h"
#include "fairloss/margin_table.h"

using namespace fairloss;

namespace {

const std::vector<double> kValues = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6};
const std::vector<int64_t> kGroups = {2, 0, 5, -1};

MarginTable<double> table(Layout layout, const int64_t* groups, int64_t rows, int64_t classes,
                          Kind kind = Kind::arc) {
  return {kValues.data(), groups, rows, classes, layout, kind, Extension::linear, false};
}

void each_layout_has_its_row() {
  CHECK(table(Layout::one, nullptr, 1, INT64_MAX).row(7, 4) == 0);
  CHECK(table(Layout::per_class, nullptr, 6, 6).row(7, 4) == 4);
  CHECK(table(Layout::per_sample, nullptr, 6, INT64_MAX).row(3, 4) == 3);
  CHECK(table(Layout::per_class, kGroups.data(), 3, 4).row(7, 0) == 2);
  CHECK(table(Layout::per_class, kGroups.data(), 3, 4).row(7, 1) == 0);
}

void labels_and_groups_out_of_range_are_invalid() {
  for (Layout layout : {Layout::one, Layout::per_class, Layout::per_sample}) {
    const MarginTable<double> four = table(layout, nullptr, 4, 4);
    CHECK(four.row(0, -1) == kIgnored);
    CHECK(four.row(0, -2) == kInvalid && four.row(0, 4) == kInvalid);
    CHECK(four.row(0, 3) >= 0);
  }
  const MarginTable<double> grouped = table(Layout::per_class, kGroups.data(), 3, 4);
  CHECK(grouped.row(0, 2) == kInvalid && grouped.row(0, 3) == kInvalid);
  CHECK(table(Layout::per_sample, nullptr, 4, INT64_MAX).row(4, 0) == kInvalid);
}

void a_row_is_one_margin_or_three() {
  CHECK(table(Layout::per_class, nullptr, 6, 6).margin(4).m2 == 0.5);
  CHECK(table(Layout::per_class, nullptr, 6, 6, Kind::cos).margin(5).m3 == 0.6);
  const MarginTable<double> combined = table(Layout::per_class, nullptr, 2, 2, Kind::combined);
  const Margin<double> margin = combined.margin(1);
  CHECK(combined.columns() == 3 && margin.m1 == 0.4 && margin.m2 == 0.5 && margin.m3 == 0.6);
}

void the_derivatives_of_a_kind_are_stored() {
  const auto stored = [](Kind kind) {
    std::vector<double> out(5, -1);
    table(Layout::one, nullptr, 1, 1, kind).store(1, 2, 3, out.data(), 2);
    return out;
  };
  CHECK(stored(Kind::sphere) == std::vector<double>({1, -1, -1, -1, -1}));
  CHECK(stored(Kind::arc) == std::vector<double>({2, -1, -1, -1, -1}));
  CHECK(stored(Kind::cos) == std::vector<double>({3, -1, -1, -1, -1}));
  CHECK(stored(Kind::combined) == std::vector<double>({1, -1, 2, -1, 3}));
}

}  // namespace

int main() {
  each_layout_has_its_row();
  labels_and_groups_out_of_range_are_invalid();
  a_row_is_one_margin_or_three();
  the_derivatives_of_a_kind_are_stored();
  return failures();
}
