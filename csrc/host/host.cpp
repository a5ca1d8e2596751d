// Facts about the build and the kernels, for Python. No tensors.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../cpu/isa.h"
#include "../include/fairloss/saved_cosines.h"

namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("clang ") + __clang_version__;
#elif defined(__GNUC__)
  return std::string("gcc ") + __VERSION__;
#else
  return "unknown";
#endif
}

std::vector<std::string> built_isas() {
#if FAIRLOSS_X86
  return {"portable", "avx2", "avx512"};
#else
  return {"portable"};
#endif
}

}  // namespace

PYBIND11_MODULE(_host, m) {
  m.def("compiler", &compiler, "Name and version of the C++ compiler that built the ops.");
  m.def("built_isas", &built_isas, "Instruction sets the CPU kernels were compiled for.");
  m.def(
      "selected_isa", [] { return std::string(fairloss::isa_name(fairloss::selected_isa())); },
      "The one that runs on this CPU.");
  // The layout of saved cosines.
  m.attr("SAMPLE_STEP") = fairloss::kSampleStep;
  m.attr("CPU_TILE_CLASSES") = fairloss::kCpuTileClasses;
  m.attr("CUDA_TILE_CLASSES") = fairloss::kCudaTileClasses;
}
