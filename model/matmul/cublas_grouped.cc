#include "model/matmul/cublas_grouped.h"

#include <c10/util/Exception.h>

#ifdef FTTRAIN_WITH_CUDA
#include <ATen/Context.h>
#include <ATen/cuda/CUDAContextLight.h>
#include <c10/cuda/CUDAStream.h>
#include <cublas_v2.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "model/matmul/write_addresses.h"
#include "runtime/memory/uncounted.h"
#include "runtime/process/log.h"
#endif

namespace fttrain {

#ifdef FTTRAIN_WITH_CUDA
namespace {

// Of the libcublas that libtorch_cuda has loaded: a process that linked another would have two.
template <class Function>
Function* Find(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}
auto* GroupedCall() {
  static auto* const call =
      Find<decltype(cublasGemmGroupedBatchedEx)>("cublasGemmGroupedBatchedEx");
  return call;
}

// Split sums are added in float32 or not as ATen's own products are (Context), which set this in
// each call.
class SumsAsAten {
 public:
  explicit SumsAsAten(cublasHandle_t handle) : handle_(handle) {
    const bool narrow = at::globalContext().allowBF16ReductionCuBLAS() ==
                        at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
    Set(narrow ? CUBLAS_DEFAULT_MATH : CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
  }
  ~SumsAsAten() { Set(CUBLAS_DEFAULT_MATH); }

 private:
  void Set(unsigned mode) const {
    static auto* const set = Find<decltype(cublasSetMathMode)>("cublasSetMathMode");
    if (set != nullptr) set(handle_, static_cast<cublasMath_t>(mode));
  }
  cublasHandle_t handle_;
};

// From the first refusal on none of its kind is asked for: those with adapters' factors, which are
// narrow (an expert's few tokens may be, too), or those with weights.
std::atomic<bool>& Refused(const GroupedGemm& gemm) {
  static std::atomic<bool> narrow{false}, wide{false};
  return std::min(gemm.m.front(), gemm.k.front()) <= 64 ? narrow : wide;
}
bool Refuse(const GroupedGemm& gemm, const std::string& why) {
  if (!Refused(gemm).exchange(true)) {
    LogInfo(absl::StrCat("note       cuBLAS does not form products of several experts together (",
                         why, ", of ", gemm.m.front(), " x ", gemm.k.front(),
                         "): one after the other, which takes longer"));
  }
  return false;
}

bool IsWanted() {
  static const bool wanted = [] {
    const char* word = std::getenv("FTTRAIN_GROUPED_GEMM");
    return word == nullptr || std::string_view(word) != "0";
  }();
  return wanted;
}

std::vector<cublasOperation_t> Operations(const std::vector<bool>& transpose) {
  std::vector<cublasOperation_t> operations;
  for (const bool each : transpose) operations.push_back(each ? CUBLAS_OP_T : CUBLAS_OP_N);
  return operations;
}

}  // namespace

bool CublasHasGroupedGemm() { return GroupedCall() != nullptr; }

bool RunOnCublas(const GroupedGemm& gemm, const at::Tensor& table) {
  const int count = gemm.count();
  if (count == 0 || !IsWanted() || Refused(gemm)) return false;
  if (!CublasHasGroupedGemm()) return Refuse(gemm, "it is older than 12.5");
  const UncountedScope workspace;
  TORCH_CHECK(count <= kMostGrouped, count, " products in one call");
  cuda::Addresses addresses = {};
  std::copy(gemm.a.begin(), gemm.a.end(), addresses.at);
  std::copy(gemm.b.begin(), gemm.b.end(), addresses.at + count);
  std::copy(gemm.c.begin(), gemm.c.end(), addresses.at + 2 * count);
  auto** const on_device = static_cast<const void**>(table.mutable_data_ptr());
  const cublasHandle_t handle = at::cuda::getCurrentCUDABlasHandle();
  cuda::WriteAddresses(addresses, 3 * count, on_device,
                       c10::cuda::getCurrentCUDAStream(table.get_device()).stream());
  const std::vector<cublasOperation_t> a = Operations(gemm.transpose_a),
                                       b = Operations(gemm.transpose_b);
  const std::vector<int> ones(static_cast<size_t>(count), 1);
  const SumsAsAten sums(handle);
  const cublasStatus_t status = GroupedCall()(
      handle, a.data(), b.data(), gemm.m.data(), gemm.n.data(), gemm.k.data(), gemm.alpha.data(),
      on_device, CUDA_R_16BF, gemm.lda.data(), on_device + count, CUDA_R_16BF, gemm.ldb.data(),
      gemm.beta.data(), const_cast<void**>(on_device + 2 * count), CUDA_R_16BF, gemm.ldc.data(),
      count, ones.data(), CUBLAS_COMPUTE_32F);
  // These come of looking at the arguments and the card, before anything is formed.
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH ||
      status == CUBLAS_STATUS_INVALID_VALUE) {
    return Refuse(gemm, absl::StrCat("status ", static_cast<int>(status), " on this card"));
  }
  TORCH_CHECK(status == CUBLAS_STATUS_SUCCESS, "cublasGemmGroupedBatchedEx: status ",
              static_cast<int>(status), " for ", count,
              " products; FTTRAIN_GROUPED_GEMM=0 in the environment forms one after the other");
  return true;
}
#else
bool CublasHasGroupedGemm() { return false; }
bool RunOnCublas(const GroupedGemm&, const at::Tensor&) {
  TORCH_CHECK(false, "this build has no CUDA");
}
#endif

}  // namespace fttrain
