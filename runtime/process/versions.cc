#include "runtime/process/versions.h"

#include <mpi.h>
#include <torch/headeronly/version.h>

#include <array>
#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <cuda_runtime_api.h>
#include <nccl.h>
#endif

// LibTorch's own, of its stable C interface: major, minor and patch in the first three bytes.
extern "C" uint64_t aoti_torch_abi_version();

namespace fttrain {
namespace {

std::string TorchVersionText(uint64_t code) {
  return absl::StrCat(code >> 56, ".", (code >> 48) & 0xff, ".", (code >> 40) & 0xff);
}

std::string LoadedMpi() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text = {};
  int length = 0;
  if (MPI_Get_library_version(text.data(), &length) != MPI_SUCCESS) return "";
  return OpenMpiVersion(text.data());
}

#if defined(FTTRAIN_WITH_CUDA)
void AddCuda(Versions& versions) {
  versions.with_cuda = true;
  versions.cuda_compiled = CudaVersionText(CUDART_VERSION);
  versions.nccl_compiled = NcclVersionText(NCCL_VERSION_CODE);
  int code = 0;
  if (cudaRuntimeGetVersion(&code) == cudaSuccess) versions.cuda_loaded = CudaVersionText(code);
  if (cudaDriverGetVersion(&code) == cudaSuccess) versions.cuda_driver = CudaVersionText(code);
  if (ncclGetVersion(&code) == ncclSuccess) versions.nccl_loaded = NcclVersionText(code);
}
#else
void AddCuda(Versions&) {}
#endif

}  // namespace

std::string OpenMpiVersion(const std::string& library) {
  constexpr size_t kName = 10;  // "Open MPI v"
  if (!absl::StartsWith(library, "Open MPI v")) return "";
  return library.substr(kName, library.find_first_of(", ", kName) - kName);
}

std::string CudaVersionText(int code) {
  return code <= 0 ? "" : absl::StrCat(code / 1000, ".", code % 1000 / 10);
}

std::string NcclVersionText(int code) {
  return code <= 0 ? "" : absl::StrCat(code / 10000, ".", code % 10000 / 100, ".", code % 100);
}

Versions VersionsInUse() {
  Versions versions;
  versions.torch_compiled = TORCH_VERSION;
  versions.torch_loaded = TorchVersionText(aoti_torch_abi_version());
#if defined(OPEN_MPI)
  versions.mpi_compiled =
      absl::StrCat(OMPI_MAJOR_VERSION, ".", OMPI_MINOR_VERSION, ".", OMPI_RELEASE_VERSION);
#endif
  versions.mpi_loaded = LoadedMpi();
  AddCuda(versions);
  return versions;
}

}  // namespace fttrain
